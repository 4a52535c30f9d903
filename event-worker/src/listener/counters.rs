//! What a listener counts since its process began.

use serde::{Deserialize, Serialize};

use super::{latency::Latency, table_counts::TableCounts};

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
    /// Handler calls that failed.
    pub(crate) failures: u64,
    /// Calls for events that had failed before.
    pub(crate) retries: u64,
    /// How long calls of the handler took, whatever came of them.
    pub(crate) calls: Latency,
    pub(crate) latency: Latency,
    pub(crate) tables: TableCounts,
}

impl Counters {
    /// Adds those of another process.
    pub(crate) fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.done += other.done;
        self.filtered += other.filtered;
        self.replayed += other.replayed;
        self.replay_left_out += other.replay_left_out;
        self.failures += other.failures;
        self.retries += other.retries;
        self.calls.merge(&other.calls);
        self.latency.merge(&other.latency);
        self.tables.merge(&other.tables);
    }
}
