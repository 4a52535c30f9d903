//! The control table in memory.

use std::sync::Arc;

use async_trait::async_trait;

use super::Shared;
use crate::{Control, ControlChange, Result, control::Told};

pub(super) struct MemoryControl {
    shared: Arc<Shared>,
    told: Told,
}

impl MemoryControl {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), told: Told::default() }
    }
}

#[async_trait]
impl Control for MemoryControl {
    async fn changes(&mut self) -> Result<Vec<ControlChange>> {
        loop {
            let changed = self.shared.changed.notified();
            let now = self.shared.lock().control.clone();
            if let Some(changes) = self.told.tell(now) {
                return Ok(changes);
            }
            changed.await;
        }
    }
}
