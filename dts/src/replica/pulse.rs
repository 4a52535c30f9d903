//! When the last byte of a connection came, for code that watches the connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Shared by the connection, which writes it, and by those that look.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    begun: Instant,
    /// Milliseconds from `begun` to the last byte.
    last_millis: Arc<AtomicU64>,
}

impl Pulse {
    /// For a connection that is made now.
    pub(crate) fn new(now: Instant) -> Self {
        Self { begun: now, last_millis: Arc::default() }
    }

    /// Bytes came in.
    pub(crate) fn beat(&self, now: Instant) {
        let since = now.saturating_duration_since(self.begun);
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.last_millis.store(millis, Ordering::Relaxed);
    }

    /// When the last bytes came.
    pub(crate) fn last(&self) -> Instant {
        self.begun + Duration::from_millis(self.last_millis.load(Ordering::Relaxed))
    }
}
