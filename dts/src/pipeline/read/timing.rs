//! When a batch is appended although it is not full.

use std::time::Duration;

use tokio::time::Instant;

/// How long an append that the bus left open may wait for more. A busy stream brings more sooner.
const MAX_OPEN_WAIT: Duration = Duration::from_millis(50);

/// The same while the stream is busy, perhaps with tables that are not captured.
const MAX_BUSY_WAIT: Duration = Duration::from_secs(1);

/// The checkpoint moves at least this often while anything is read, captured or not.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);

/// When a batch was last appended, and what waits since then.
#[derive(Debug)]
pub(super) struct Timing {
    handed_over: Instant,
    /// Whether the position moved.
    moved: bool,
    /// If the bus left an append open: when it must be finished.
    settle_by: Option<Instant>,
}

impl Timing {
    pub(super) fn new(now: Instant) -> Self {
        Self { handed_over: now, moved: false, settle_by: None }
    }

    /// The position moved.
    pub(super) fn moved(&mut self) {
        self.moved = true;
    }

    pub(super) fn handed_over(&mut self, now: Instant) {
        (self.handed_over, self.moved) = (now, false);
    }

    /// The appender is idle again; `is_open` says whether it left an append open.
    pub(super) fn finished(&mut self, now: Instant, is_open: bool) {
        self.settle_by = is_open.then(|| now + MAX_OPEN_WAIT);
    }

    /// Whether the bus left an append open.
    pub(super) fn has_open(&self) -> bool {
        self.settle_by.is_some()
    }

    /// When a batch must be appended, however empty, if nothing more comes.
    pub(super) fn idle_until(&self) -> Option<Instant> {
        let checkpoint = self.moved.then(|| self.handed_over + CHECKPOINT_INTERVAL);
        self.settle_by.into_iter().chain(checkpoint).min()
    }

    /// Whether a batch must be appended, however much comes.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.handed_over);
        (self.has_open() && since >= MAX_BUSY_WAIT) || (self.moved && since >= CHECKPOINT_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_position_that_moves_is_saved_even_if_the_stream_never_rests() {
        let start = Instant::now();
        let mut timing = Timing::new(start);
        assert!(!timing.is_overdue(start + 100 * SECOND) && timing.idle_until().is_none());
        timing.moved();
        assert_eq!(timing.idle_until(), Some(start + 5 * SECOND));
        assert!(!timing.is_overdue(start + 4 * SECOND));
        assert!(timing.is_overdue(start + 5 * SECOND));
        timing.handed_over(start + 6 * SECOND);
        assert!(!timing.is_overdue(start + 20 * SECOND), "it did not move since");
        timing.moved();
        assert!(timing.is_overdue(start + 11 * SECOND));
    }

    #[test]
    fn an_open_append_is_finished_soon_and_sooner_if_nothing_comes() {
        let start = Instant::now();
        let mut timing = Timing::new(start);
        timing.finished(start, true);
        assert_eq!(timing.idle_until(), Some(start + MAX_OPEN_WAIT));
        assert!(!timing.is_overdue(start + MAX_OPEN_WAIT));
        assert!(timing.is_overdue(start + SECOND));
        timing.finished(start, false);
        assert!(!timing.is_overdue(start + 100 * SECOND) && timing.idle_until().is_none());
    }
}
