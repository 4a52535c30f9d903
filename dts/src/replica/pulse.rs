//! When the last byte of a connection came, for whoever watches over it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Shared by the connection, which writes it, and those who look.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    begun: Instant,
    /// Milliseconds from `begun` to the last byte.
    heard: Arc<AtomicU64>,
}

impl Pulse {
    /// Of a connection that is made now.
    pub(crate) fn new(now: Instant) -> Self {
        Self { begun: now, heard: Arc::default() }
    }

    /// Bytes came.
    pub(crate) fn beat(&self, now: Instant) {
        let since = now.saturating_duration_since(self.begun);
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.heard.store(millis, Ordering::Relaxed);
    }

    /// When that was last.
    pub(crate) fn last(&self) -> Instant {
        self.begun + Duration::from_millis(self.heard.load(Ordering::Relaxed))
    }
}
