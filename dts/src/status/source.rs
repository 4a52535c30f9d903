//! The state of the source while it is read: whether bytes come from it, and whether the events are
//! finished.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::replica::Pulse;

/// Without a byte for this long, a source counts as silent.
const MAX_SILENCE: Duration = Duration::from_secs(20);

/// After this many starts from the checkpoint with nothing finished, nothing moves.
const MAX_FRUITLESS: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct SourceHealth {
    pub(super) last_event: Option<Instant>,
    /// The pulse of the connection that brings the binlog.
    pub(super) pulse: Option<Pulse>,
    /// Starts from the checkpoint since something was finished.
    fruitless: u32,
    /// How often something was finished.
    finished: u64,
    /// Since when and why the source answers no questions, although its binlog comes.
    pub(super) unanswered: Option<(SystemTime, String)>,
}

impl SourceHealth {
    /// The position moved, or the server has nothing else to send.
    pub(super) fn finish(&mut self) {
        self.finished += 1;
        self.fruitless = 0;
    }

    /// The source must be read from the checkpoint again.
    pub(super) fn fail(&mut self) {
        self.fruitless += 1;
        self.unanswered = None;
    }

    pub(super) fn finished(&self) -> u64 {
        self.finished
    }

    /// Whether bytes come, and events are finished. An event may take long to arrive.
    pub(super) fn is_moving(&self) -> bool {
        let since = self.pulse.as_ref().map(|pulse| pulse.last().elapsed());
        since.is_some_and(|since| since < MAX_SILENCE) && self.fruitless < MAX_FRUITLESS
    }

    /// Seconds since the last event, and since the last byte.
    pub(super) fn seconds_since(&self) -> (Option<f64>, Option<f64>) {
        let event = self.last_event.map(|at| at.elapsed().as_secs_f64());
        (event, self.pulse.as_ref().map(|pulse| pulse.last().elapsed().as_secs_f64()))
    }
}

/// A message, and when it was written.
pub(super) fn with_time((at, text): &(SystemTime, String)) -> Value {
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
