//! What happens to the work on partitions that go to another member of the group.

use std::time::Duration;

use event_bus::Partition;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Journey;
use crate::{error::Error, event::TakenEvent};

/// How long running calls may take when their partitions go to another member.
const REVOKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long dropped calls may take to end.
const ABORT_DEADLINE: Duration = Duration::from_secs(10);

/// Partitions that the next poll gives away. Until then they are ours: their running calls may end,
/// what is done is committed, and all other lanes go on.
pub(super) struct Leaving {
    partitions: Vec<Partition>,
    abort_at: Instant,
    is_aborted: bool,
}

impl Leaving {
    pub(super) fn holds(&self, partition: &Partition) -> bool {
        self.partitions.contains(partition)
    }

    /// When the running calls must be dropped; `None` when that is done.
    pub(super) fn abort_at(&self) -> Option<Instant> {
        (!self.is_aborted).then_some(self.abort_at)
    }
}

impl Journey {
    /// Partitions go to another member: their running calls may end, but no new calls begin.
    pub(super) fn give_up(&mut self, partitions: Vec<Partition>) {
        info!(count = partitions.len(), "partitions go to another member of the group");
        let held = |partition: &Partition, _| partitions.contains(partition);
        self.lanes.retain(|partition, generation| !held(partition, generation));
        for leash in self.lanes.leashes(held) {
            leash.no_retry.cancel();
        }
        let abort_at = Instant::now() + REVOKE_DEADLINE;
        self.leaving = Some(Leaving { partitions, abort_at, is_aborted: false });
    }

    /// The calls for these partitions did not end in time.
    pub(super) fn abort_leaving(&mut self) {
        let Some(leaving) = &mut self.leaving else { return };
        leaving.is_aborted = true;
        let leashes = self.lanes.leashes(|partition, _| leaving.partitions.contains(partition));
        if !leashes.is_empty() {
            warn!(calls = leashes.len(), "calls did not end in time and are dropped");
        }
        leashes.iter().for_each(|leash| leash.abort.cancel());
    }

    /// When no call runs any more for these partitions: commits what is done, and lets the
    /// partitions go. When the bus is away, the commit is tried again until the deadline of the
    /// calls.
    pub(super) async fn hand_over(&mut self) -> Result<(), Error> {
        let Some(leaving) = &self.leaving else { return Ok(()) };
        if !self.lanes.leashes(|partition, _| leaving.holds(partition)).is_empty() {
            return Ok(());
        }
        let committed = self.commit().await;
        let Some(leaving) = &self.leaving else { return committed };
        let is_saved = !self.tracker.uncommitted().iter().any(|(at, _)| leaving.holds(at))
            && !self.parking.changed_partitions().any(|at| leaving.holds(at));
        if committed.is_ok() && !is_saved && Instant::now() < leaving.abort_at {
            return Ok(());
        }
        for partition in self.leaving.take().into_iter().flat_map(|leaving| leaving.partitions) {
            self.tracker.remove(&partition);
        }
        self.parking.retain(|partition| self.tracker.generation(partition).is_some());
        self.show_state();
        committed
    }

    /// Partitions are gone: results of their calls do not count any more.
    pub(super) fn lost(&mut self, partitions: &[Partition]) {
        warn!(count = partitions.len(), "partitions were lost; their events are delivered again");
        for partition in partitions {
            self.tracker.remove(partition);
        }
        self.parking.retain(|partition| self.tracker.generation(partition).is_some());
        let tracker = &self.tracker;
        let is_lost =
            |partition: &Partition, generation| tracker.generation(partition) != Some(generation);
        for leash in self.lanes.leashes(is_lost) {
            leash.abort.cancel();
        }
        self.lanes.retain(|partition, generation| !is_lost(partition, generation));
    }

    /// Another process works in our place: no call may run next to it.
    pub(super) fn fenced(&mut self) {
        let all: Vec<Partition> = self.tracker.partitions().cloned().collect();
        if !all.is_empty() {
            self.lost(&all);
        }
    }

    /// Lets all calls end, and drops them at the deadline. A call that does not end after that is
    /// not waited for.
    pub(super) async fn settle(&mut self, deadline: Duration) -> Result<(), Error> {
        let abort_at = tokio::time::sleep(deadline);
        let leave_at = tokio::time::sleep(deadline + ABORT_DEADLINE);
        tokio::pin!(abort_at, leave_at);
        let mut settled = Ok(());
        loop {
            let leashes = self.lanes.leashes(|_, _| true);
            if leashes.is_empty() {
                return settled;
            }
            for leash in &leashes {
                leash.no_retry.cancel();
            }
            let is_ours = |event: &TakenEvent| self.tracker.holds(event);
            tokio::select! {
                finished = self.lanes.next_finished(is_ours) => match finished {
                    Ok(finished) => self.finished(finished),
                    // The other lanes end in the normal way.
                    Err(broken) => settled = Err(broken.into()),
                },
                () = &mut abort_at, if !abort_at.is_elapsed() => {
                    warn!(calls = leashes.len(), "calls did not end in time and are dropped");
                    leashes.iter().for_each(|leash| leash.abort.cancel());
                }
                () = &mut leave_at => {
                    warn!(calls = leashes.len(), "dropped calls have not ended; the listener ends");
                    return settled;
                }
            }
        }
    }
}
