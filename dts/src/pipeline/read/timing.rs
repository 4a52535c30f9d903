//! When a batch is handed over though nothing fills it.

use std::time::Duration;

use tokio::time::Instant;

/// How long a batch that the bus left open may wait for more. Busy means that more comes sooner.
const MAX_OPEN_WAIT: Duration = Duration::from_millis(50);

/// The same while the stream is busy, perhaps with what is not captured.
const MAX_BUSY_WAIT: Duration = Duration::from_secs(1);

/// The checkpoint moves at least this often while anything is read, captured or not.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);

/// When a batch was last handed over, and what waits since.
#[derive(Debug)]
pub(super) struct Timing {
    handed_over: Instant,
    /// Whether the position moved.
    moved: bool,
    /// The bus left something open: it is to be settled by this time.
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

    /// The appender is idle again; with what it left open, if it did.
    pub(super) fn finished(&mut self, now: Instant, is_open: bool) {
        self.settle_by = is_open.then(|| now + MAX_OPEN_WAIT);
    }

    /// Whether the bus left something open.
    pub(super) fn has_open(&self) -> bool {
        self.settle_by.is_some()
    }

    /// By when a batch is to be handed over, however empty, once nothing more comes.
    pub(super) fn idle_until(&self) -> Option<Instant> {
        let checkpoint = self.moved.then(|| self.handed_over + CHECKPOINT_INTERVAL);
        self.settle_by.into_iter().chain(checkpoint).min()
    }

    /// Whether that is to be done however much comes.
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
    fn a_position_that_moves_is_saved_though_the_stream_never_rests() {
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
    fn what_the_bus_left_open_is_settled_soon_and_sooner_where_nothing_comes() {
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
