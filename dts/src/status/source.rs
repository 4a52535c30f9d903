//! What is known of the source while it is read: whether it is heard, and whether what it sends is
//! finished.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::replica::Pulse;

/// A source from which no byte came for this long is not heard.
const MAX_SILENCE: Duration = Duration::from_secs(20);

/// After so many starts from the checkpoint without anything finished, nothing moves.
const MAX_FRUITLESS: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct SourceHealth {
    pub(super) last_event: Option<Instant>,
    /// Of the connection that the binlog comes over.
    pub(super) pulse: Option<Pulse>,
    /// Starts from the checkpoint since anything was finished.
    fruitless: u32,
    /// How often something was finished.
    finished: u64,
    /// Since when and why it cannot be asked, while its binlog comes.
    pub(super) unanswered: Option<(SystemTime, String)>,
}

impl SourceHealth {
    /// The position moved, or the server has nothing else to send.
    pub(super) fn finish(&mut self) {
        self.finished += 1;
        self.fruitless = 0;
    }

    /// It has to be read from the checkpoint again.
    pub(super) fn fail(&mut self) {
        self.fruitless += 1;
        self.unanswered = None;
    }

    pub(super) fn finished(&self) -> u64 {
        self.finished
    }

    /// Whether bytes come, and what they are is finished. An event may take long to arrive.
    pub(super) fn is_moving(&self) -> bool {
        let heard = self.pulse.as_ref().map(|pulse| pulse.last().elapsed());
        heard.is_some_and(|since| since < MAX_SILENCE) && self.fruitless < MAX_FRUITLESS
    }

    /// Seconds since the last event, and since the last byte.
    pub(super) fn heard(&self) -> (Option<f64>, Option<f64>) {
        let event = self.last_event.map(|at| at.elapsed().as_secs_f64());
        (event, self.pulse.as_ref().map(|pulse| pulse.last().elapsed().as_secs_f64()))
    }
}

/// Something that was said, and when.
pub(super) fn told((at, text): &(SystemTime, String)) -> Value {
    json!({"atMs": super::millis(*at), "message": text})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_after_several_starts_in_vain_until_something_is_finished() {
        let pulse = Some(Pulse::new(tokio::time::Instant::now()));
        let mut source = SourceHealth { pulse, ..SourceHealth::default() };
        for _ in 1..MAX_FRUITLESS {
            source.fail();
        }
        assert!(source.is_moving());
        source.fail();
        assert!(!source.is_moving());
        source.finish();
        assert!(source.is_moving());
    }
}
