//! How long each partition of a group has not moved. The sum over all partitions would hide this:
//! it changes as long as one partition moves.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use event_bus::{Partition, Progress};

/// A partition with unfinished records that does not move for longer than this is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default)]
pub(super) struct Stands(HashMap<Partition, Stand>);

/// The place of a group in a partition.
#[derive(Clone, Debug)]
struct Stand {
    committed: u64,
    end: u64,
    high: u64,
    /// When the group last moved here, or last had all records.
    since: Instant,
}

impl Stand {
    /// There are records that the group can read and has not finished.
    fn is_behind(&self) -> bool {
        self.committed < self.end
    }

    /// There are records that the group cannot read yet, because a transaction before them is open.
    fn is_held_back(&self) -> bool {
        !self.is_behind() && self.end < self.high
    }

    fn has_moved_since(&self, before: &Self) -> bool {
        self.committed != before.committed || (before.is_held_back() && self.end != before.end)
    }
}

impl Stands {
    /// Takes the partitions as they are now. A group that has never committed has not begun.
    pub(super) fn look(&mut self, partitions: &[Progress], now: Instant) {
        let has_run = partitions.iter().any(|at| at.committed.is_some());
        let stand = |at: &Progress| {
            let committed = at.committed.unwrap_or(0);
            let mut stand = Stand { committed, end: at.end, high: at.high, since: now };
            let is_level = !stand.is_behind() && !stand.is_held_back();
            match self.0.get(&at.partition) {
                Some(before) if !is_level && !stand.has_moved_since(before) => {
                    stand.since = before.since;
                }
                _ => {}
            }
            (at.partition.clone(), stand)
        };
        self.0 = partitions.iter().filter(|_| has_run).map(stand).collect();
    }

    /// Whether there are records that the group can read and has not finished.
    pub(super) fn are_behind(&self) -> bool {
        self.0.values().any(Stand::is_behind)
    }

    /// For how long we have seen the oldest open transaction hold back records.
    pub(super) fn held_back(&self, now: Instant) -> Duration {
        let held = self.0.values().filter(|stand| stand.is_held_back());
        held.map(|stand| now.saturating_duration_since(stand.since)).max().unwrap_or_default()
    }

    /// If a partition is stuck: which one has not moved for longest, and why.
    pub(super) fn stuck(&self, now: Instant) -> Option<String> {
        let still = |stand: &Stand| now.saturating_duration_since(stand.since);
        let waiting = self.0.iter().filter(|(_, stand)| stand.is_behind() || stand.is_held_back());
        let (Partition { topic, number }, stand) = waiting
            .filter(|(_, stand)| still(stand) > STUCK_AFTER)
            .max_by_key(|(_, stand)| still(stand))?;
        let (records, seconds) = (stand.high - stand.committed, still(stand).as_secs());
        let why = if stand.is_behind() {
            "none has been finished"
        } else {
            "a transaction before them has been open"
        };
        Some(format!(
            "partition {number} of {topic} does not move: {records} records wait there, and {why} \
             for {seconds} s"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u32, committed: u64, end: u64, high: u64) -> Progress {
        let partition = Partition { topic: "t".into(), number };
        Progress { partition, committed: Some(committed), end, high }
    }

    #[test]
    fn one_partition_that_stands_still_is_seen_beside_others_that_move() {
        let (mut stands, began) = (Stands::default(), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        for second in 0..=61 {
            stands.look(&[at(0, 5, 9, 9), at(1, second, second + 1, second + 1)], after(second));
        }
        assert_eq!(stands.stuck(after(60)), None);
        let stuck = stands.stuck(after(61)).unwrap();
        assert!(stuck.contains("partition 0 of t") && stuck.contains("4 records"), "{stuck}");
        stands.look(&[at(0, 6, 9, 9)], after(62));
        assert_eq!(stands.stuck(after(70)), None, "it moves");
    }

    #[test]
    fn a_transaction_that_nobody_ends_is_seen() {
        let (mut stands, began) = (Stands::default(), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        for second in 0..=100 {
            // This transaction ends after a second each time.
            stands
                .look(&[at(0, 5, 5, 9 + second), at(1, second, second, second + 3)], after(second));
        }
        assert_eq!(stands.held_back(after(100)), Duration::from_secs(100));
        assert!(!stands.are_behind());
        let stuck = stands.stuck(after(100)).unwrap();
        assert!(stuck.contains("partition 0 of t") && stuck.contains("transaction"), "{stuck}");
    }
}
