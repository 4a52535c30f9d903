//! The control table in memory.

use std::sync::Arc;

use async_trait::async_trait;

use super::SharedBus;
use crate::{Control, ControlChange, Result, control::ToldTable};

pub(super) struct MemoryControl {
    shared: Arc<SharedBus>,
    told: ToldTable,
}

impl MemoryControl {
    pub(super) fn new(shared: &Arc<SharedBus>) -> Self {
        Self { shared: Arc::clone(shared), told: ToldTable::default() }
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
