//! Live changes go first: while they come, rows are read a quarter of the time only, and in small
//! chunks.
//!
//! Reading at full speed keeps the source, `dts` and the listener's handler busy. On a small
//! machine a live change then waits until all of a chunk is merged, sent and handled.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// This long after the last change, changes still count as coming.
const RECENT_MILLIS: u64 = 100;

/// A rest is this many times as long as the work before it.
const REST: u32 = 3;

/// Chunks are this many times smaller while changes come.
const SMALLER: u64 = 8;

/// The shortest rest: timers are no finer.
const MIN_REST: Duration = Duration::from_millis(1);

/// When the last live change was published.
#[derive(Debug)]
pub(crate) struct Live {
    begun: Instant,
    /// In milliseconds since `begun`, plus one; 0 for none.
    last: AtomicU64,
}

impl Live {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), last: AtomicU64::new(0) }
    }

    /// A live change was published.
    pub(crate) fn passed(&self) {
        self.last.store(self.now() + 1, Ordering::Relaxed);
    }

    /// After work that took this long: rests if changes come.
    pub(crate) async fn rest_after(&self, took: Duration) {
        if self.is_busy() {
            tokio::time::sleep((took * REST).max(MIN_REST)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }

    /// How many rows to read, of at most `rows`.
    pub(crate) fn limit(&self, rows: u64) -> u64 {
        if self.is_busy() { rows.div_ceil(SMALLER) } else { rows }
    }

    fn is_busy(&self) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        last > 0 && self.now() < last + RECENT_MILLIS
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_rests_while_changes_come() {
        let (live, took) = (Live::new(), Duration::from_millis(20));
        assert!(!live.is_busy(), "none has come yet");
        live.rest_after(took).await;
        assert_eq!(live.limit(7), 7);
        live.passed();
        assert_eq!((live.limit(1), live.limit(8), live.limit(9)), (1, 1, 2));
        let begun = Instant::now();
        live.rest_after(took).await;
        assert!(begun.elapsed() >= took * REST);
        tokio::time::sleep(Duration::from_millis(RECENT_MILLIS)).await;
        assert!(!live.is_busy(), "none comes any more");
    }
}
