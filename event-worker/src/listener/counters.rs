//! What a listener counts since its process began.

use serde::{Deserialize, Serialize};

use super::{books::Differences, latency::Latency, table_counts::TableCounts};

/// Figures that only grow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counters {
    /// Deliveries from the bus.
    pub(crate) received: u64,
    /// Events that the handler has done.
    pub(crate) done: u64,
    /// Deliveries that the listener does not want.
    pub(crate) filtered: u64,
    /// Past events that the handler has done once more. They do not count as done.
    pub(crate) replayed: u64,
    /// Past events that were left out, because a newer event of their key was done.
    pub(crate) replay_left_out: u64,
    /// Deliveries that are not for this process any more: another one gets them.
    pub(crate) returned: u64,
    /// Deliveries that wait aside, or did: they are kept on the bus.
    pub(crate) aside: u64,
    /// Events that are done, and had waited aside before: these are counted in `aside`, perhaps of
    /// an earlier process.
    pub(crate) from_aside: u64,
    /// Deliveries that were found to be missing.
    pub(crate) lost: u64,
    /// Handler calls that failed.
    pub(crate) failures: u64,
    /// Calls for events that had failed before.
    pub(crate) retries: u64,
    /// How long calls of the handler took, whatever came of them.
    pub(crate) calls: Latency,
    pub(crate) latency: Latency,
    pub(crate) tables: TableCounts,
    /// What does not agree.
    pub(crate) differences: Differences,
}

impl Counters {
    /// Events that are not done yet, and do not wait aside:
    /// `received = (done - from aside) + filtered + returned + aside + lost + waiting`.
    pub(crate) fn waiting(&self) -> u64 {
        let Self { received, filtered, done, returned, aside, from_aside, lost, .. } = self;
        (received + from_aside).saturating_sub(filtered + done + returned + aside + lost)
    }

    /// The process has ended: what waited in it goes to another.
    pub(crate) fn end(&mut self) {
        self.returned += self.waiting();
        self.tables.end();
    }

    /// Nothing waits: gives the tables of which something does, and how much. That is lost.
    pub(super) fn settle(&mut self) -> Vec<(String, u64)> {
        let mut stray = self.tables.settle();
        let all = self.waiting();
        let rest = all.saturating_sub(stray.iter().map(|(_, lost)| lost).sum());
        if rest > 0 {
            stray.push(("a table that is not counted by itself".to_owned(), rest));
        }
        self.lost += all;
        stray
    }

    /// Adds those of another process.
    pub(crate) fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.done += other.done;
        self.filtered += other.filtered;
        self.replayed += other.replayed;
        self.replay_left_out += other.replay_left_out;
        self.returned += other.returned;
        self.aside += other.aside;
        self.from_aside += other.from_aside;
        self.lost += other.lost;
        self.failures += other.failures;
        self.retries += other.retries;
        self.calls.merge(&other.calls);
        self.latency.merge(&other.latency);
        self.tables.merge(&other.tables);
        self.differences.merge(&other.differences);
    }
}
