//! The table of a group on a log: a checkpoint that only the active member of the group changes.
//!
//! The log asks at each change whether the place in the group is still ours. So a member that was
//! asleep cannot change what its successor has read.

use super::{LogBus, control, membership::Membership};
use crate::{Bus as _, Checkpoint, GroupTable, Kept, KeptChange, Result, kept};

/// The table of a consumer's group.
#[derive(Clone)]
pub(super) struct LogTable {
    bus: LogBus,
    /// The name of the checkpoint.
    name: String,
    is_optional: bool,
}

impl LogTable {
    pub(super) fn new(bus: LogBus, table: &GroupTable) -> Self {
        let name = control::own_producer(&table.name);
        Self { bus, name, is_optional: table.is_optional }
    }

    /// What the table holds. From then on only this membership can change it.
    pub(super) async fn entries(self, membership: Membership) -> Result<Vec<Kept>> {
        // A server of an older version cannot be asked for more.
        if self.is_optional && self.bus.checkpoint(&self.name).await?.is_empty() {
            return Ok(Vec::new());
        }
        membership.change_table(&self.name, Vec::new()).await?;
        Ok(entries(self.bus.checkpoint(&self.name).await?))
    }

    /// Saves the changes.
    pub(super) async fn change(
        &self,
        membership: &Membership,
        changes: Vec<KeptChange>,
    ) -> Result<()> {
        membership.change_table(&self.name, kept::named(changes)).await
    }
}

/// The entries of a checkpoint.
pub(super) fn entries(checkpoint: Checkpoint) -> Vec<Kept> {
    checkpoint.into_iter().filter_map(|(name, value)| kept::entry(&name, value)).collect()
}
