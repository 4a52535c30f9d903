//! Commits what is done, while the rest of the listener goes on.

use std::time::Duration;

use event_bus::{Committing, KeptChange, Partition};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use super::{BUS_DEADLINE, Journey};
use crate::error::Error;

/// What is done is committed at least so often.
const COMMIT_EVERY: Duration = Duration::from_millis(200);

/// While rows of a full sync are done, they are committed so often, because the next rows wait for
/// the commit. An event log does not save offsets more often: a more frequent commit would wait.
const COMMIT_FULL_SYNC_EVERY: Duration = Duration::from_millis(25);

/// After a commit that the bus has refused, the next one comes so much later.
const COMMIT_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A commit that is under way.
pub(super) struct Saving {
    offsets: Vec<(Partition, u64)>,
    /// Changes of what is parked, saved with the offsets.
    changes: Vec<KeptChange>,
    /// Assignments with this number or a higher one came after the commit began.
    next_generation: u64,
    answer: Committing,
    /// When to log that the commit takes long.
    warn_at: Option<Instant>,
}

/// Whether the rest can be committed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextCommit {
    AtOnce,
    Later,
}

impl Saving {
    /// Waits for the end of the commit, however long that takes: the bus may still carry it out,
    /// and a later commit must come after it. Cancel-safe.
    pub(super) async fn end(&mut self) -> event_bus::Result<()> {
        if let Some(warn_at) = self.warn_at {
            if let Ok(answer) = timeout_at(warn_at, &mut self.answer).await {
                return answer;
            }
            warn!("the bus has not committed within {BUS_DEADLINE:?}; the listener waits for it");
            self.warn_at = None;
        }
        (&mut self.answer).await
    }
}

impl Journey {
    /// Rows of a full sync are done.
    pub(super) fn hurry(&mut self) {
        self.commit_at = self.commit_at.min(self.began_commit_at + COMMIT_FULL_SYNC_EVERY);
    }

    /// Begins to commit what is done, unless a commit is under way.
    pub(super) fn begin_commit(&mut self) {
        if self.saving.is_some() {
            return;
        }
        self.began_commit_at = Instant::now();
        self.commit_at = self.began_commit_at + COMMIT_EVERY;
        let offsets = self.offsets_to_commit();
        if offsets.is_empty() || self.began_commit_at < self.ask_bus_at {
            return;
        }
        let changes = self.parking.take_changes();
        let next_generation = self.tracker.next_generation();
        let answer = self.consumer.commit_with(&offsets, changes.clone());
        let warn_at = Some(self.began_commit_at + BUS_DEADLINE);
        self.saving = Some(Saving { offsets, changes, next_generation, answer, warn_at });
    }

    /// How far each partition is, if it moved or if what is parked of it has changed.
    fn offsets_to_commit(&mut self) -> Vec<(Partition, u64)> {
        self.parking.forget_all_but(|partition| self.tracker.generation(partition).is_some());
        let mut offsets = self.tracker.uncommitted();
        for partition in self.parking.changed_partitions() {
            if offsets.iter().all(|(moved, _)| moved != partition) {
                let position = self.tracker.position(partition);
                offsets.extend(position.map(|position| (partition.clone(), position)));
            }
        }
        offsets
    }

    pub(super) fn end_commit(&mut self, saved: event_bus::Result<()>) -> Result<NextCommit, Error> {
        let Some(saving) = self.saving.take() else { return Ok(NextCommit::Later) };
        match saved {
            Ok(()) => {
                self.parking.is_saved();
                self.tracker.committed(&saving.offsets);
                self.bus_answers();
                return Ok(NextCommit::AtOnce);
            }
            Err(event_bus::Error::PartitionLost(partition)) => {
                self.parking.not_saved(saving.changes);
                debug!(topic = %partition.topic, partition = partition.number, "lost in a commit");
                // A poll says this too, and is the better source: the partition may still be ours,
                // or ours again. But nothing polls while partitions go away, and at the end.
                let is_of = |generation| generation < saving.next_generation;
                let is_polled = self.leaving.is_none() && !self.flow.is_stopping;
                if !is_polled && self.tracker.generation(&partition).is_some_and(is_of) {
                    self.lost(&[partition]);
                    return Ok(NextCommit::AtOnce);
                }
            }
            Err(event_bus::Error::Unsaved { partitions, reason }) => {
                debug!(count = partitions.len(), reason, "not all offsets are saved");
                let mut saved = saving.offsets;
                saved.retain(|(partition, _)| !partitions.contains(partition));
                self.tracker.committed(&saved);
            }
            // Nothing is saved, and nothing is lost: there may be room later.
            Err(event_bus::Error::Rejected(reason)) if !saving.changes.is_empty() => {
                warn!(reason, "the bus cannot keep what is set aside; no more events are taken");
                self.parking.not_saved(saving.changes);
                self.parking.refused(&reason);
                self.commit_at = Instant::now() + COMMIT_AGAIN_AFTER;
            }
            Err(error) => {
                self.parking.not_saved(saving.changes);
                self.bus_failed(error)?;
            }
        }
        Ok(NextCommit::Later)
    }

    /// Commits all that is done, if the bus takes it in time.
    pub(super) async fn commit(&mut self) -> Result<(), Error> {
        loop {
            self.begin_commit();
            let Some(saving) = &mut self.saving else { return Ok(()) };
            let Ok(saved) = timeout(BUS_DEADLINE, saving.end()).await else { return Ok(()) };
            if self.end_commit(saved)? == NextCommit::Later {
                return Ok(());
            }
        }
    }
}
