//! Whether MySQL has let us in: then the config was right, and a refusal may pass by itself.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// Whether a server has let us in; its copies know it together.
#[derive(Clone, Debug, Default)]
pub struct LetIn(Arc<AtomicBool>);

impl LetIn {
    /// A server lets us in.
    pub fn note(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether one has.
    pub fn is_noted(&self) -> bool {
        self.0.load(Relaxed)
    }
}
