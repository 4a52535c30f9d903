//! A place in a group of the log: what a consumer commits with.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use event_log::{Error as LogError, proto};

use super::{Access, StreamAddress};
use crate::{CheckpointChange, Result};

/// A place in the group: what it may save.
pub(super) struct Membership {
    pub(super) access: Access,
    pub(super) address: StreamAddress,
    pub(super) group: String,
    pub(super) member: u64,
    /// Set when the log says that the place is another's.
    pub(super) is_superseded: Arc<AtomicBool>,
}

impl Membership {
    /// Saves how far the group is, if the place is still ours.
    pub(super) async fn commit(&self, offset: u64) -> Result<()> {
        let group = self.group.clone();
        self.told(match &self.access {
            Access::Local(stream) => stream.commit(&group, self.member, offset).await,
            Access::Network(client) => {
                let (stream, member) = (self.address.stream.to_string(), self.member);
                client.commit(proto::CommitRequest { stream, group, member, offset }).await
            }
        })
    }

    /// Changes the table of the group, if the place is still ours.
    pub(super) async fn change_table(
        &self,
        table: &str,
        changes: Vec<CheckpointChange>,
    ) -> Result<()> {
        let place = (&*self.group, self.member);
        self.told(match &self.access {
            Access::Local(stream) => stream.change_table(place, table, &changes).await,
            Access::Network(client) => {
                client.change_table(&self.address.stream, place, (table, changes)).await
            }
        })
    }

    fn told(&self, answer: std::result::Result<(), LogError>) -> Result<()> {
        if matches!(answer, Err(LogError::NotMember(_))) {
            self.is_superseded.store(true, Relaxed);
        }
        answer.map_err(|error| self.address.error(error))
    }
}
