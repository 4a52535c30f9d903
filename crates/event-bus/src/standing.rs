//! What a process shows in its status while it waits to become the writer of a name: when it last
//! heard from the bus, and what went wrong since.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Told by a bus while [`Bus::lead`](crate::Bus::lead) waits. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Standing(Arc<Mutex<LastHeard>>);

#[derive(Debug, Default)]
struct LastHeard {
    last: Option<Instant>,
    trouble: Option<String>,
}

impl Standing {
    /// The bus was heard of, just now.
    pub fn hear(&self) {
        *self.lock() = LastHeard { last: Some(Instant::now()), trouble: None };
    }

    /// Something went wrong between us and the bus, which may pass by itself.
    pub fn fail(&self, trouble: &str) {
        self.lock().trouble = Some(trouble.to_owned());
    }

    /// For how long the bus has not been heard of; `None` before it was reached at all.
    pub fn silence(&self) -> Option<Duration> {
        self.lock().last.map(|last| last.elapsed())
    }

    /// What went wrong last since the bus was heard of.
    pub fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    fn lock(&self) -> MutexGuard<'_, LastHeard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
