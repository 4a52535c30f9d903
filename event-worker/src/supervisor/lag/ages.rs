//! How long the oldest unfinished record of each partition has waited, as far as it was seen: since
//! the end of the partition was first seen after the place that the group has committed.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use event_bus::{Partition, Progress};

/// The distance between two remembered looks is this part of the age of the oldest one. So the age
/// is too high by at most this part, and a partition that does not move for days has a hundred
/// looks.
const PART: u32 = 8;

#[derive(Clone, Debug, Default)]
pub(super) struct Ages {
    looks: HashMap<Partition, VecDeque<Look>>,
    last: Option<Instant>,
}

/// The end of a partition, and the time of the look before, when the end was lower.
#[derive(Clone, Copy, Debug)]
struct Look {
    end: u64,
    after: Instant,
}

impl Ages {
    /// Takes the partitions as they are now. A group that has never committed has not begun.
    pub(super) fn look(&mut self, partitions: &[Progress], now: Instant) {
        let has_run = partitions.iter().any(|at| at.committed.is_some());
        let after = self.last.replace(now).unwrap_or(now);
        let before = &mut self.looks;
        let looks = |at: &Progress| {
            let mut looks = before.remove(&at.partition).unwrap_or_default();
            let committed = at.committed.unwrap_or(0);
            looks.retain(|look| look.end > committed);
            let age = |look: &Look| now.saturating_duration_since(look.after);
            let apart = looks.front().map_or(Duration::ZERO, age) / PART;
            match looks.back_mut() {
                Some(last) if last.end >= at.end => {}
                Some(last) if age(last) < apart => last.end = at.end,
                _ if at.end > committed => looks.push_back(Look { end: at.end, after }),
                _ => {}
            }
            (at.partition.clone(), looks)
        };
        let seen = partitions.iter().filter(|_| has_run).map(looks).collect();
        self.looks = seen;
    }

    /// The largest of all.
    pub(super) fn oldest(&self, now: Instant) -> Duration {
        let firsts = self.looks.values().filter_map(VecDeque::front);
        firsts.map(|look| now.saturating_duration_since(look.after)).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(committed: u64, end: u64) -> [Progress; 1] {
        let partition = Partition { topic: "t".into(), number: 0 };
        [Progress { partition, committed: Some(committed), end, high: end }]
    }

    #[test]
    fn who_follows_a_busy_partition_closely_is_not_old_though_never_at_its_end() {
        let (mut ages, began) = (Ages::default(), Instant::now());
        for second in 0..1000 {
            let now = began + Duration::from_secs(second);
            ages.look(&at(second * 200, (second + 1) * 200 + 15), now);
            assert!(ages.oldest(now) <= Duration::from_secs(2), "{second}: {:?}", ages.oldest(now));
        }
    }

    #[test]
    fn who_follows_by_so_much_is_as_old_as_that_and_who_stands_grows_older() {
        let (mut ages, began) = (Ages::default(), Instant::now());
        for second in 0..3000_u64 {
            let now = began + Duration::from_secs(second);
            ages.look(&at(second.saturating_sub(400) * 10, (second + 1) * 10), now);
            let age = ages.oldest(now).as_secs();
            assert!(age >= second.min(399) && age <= 460, "{second}: {age}");
        }
        let now = began + Duration::from_secs(4000);
        ages.look(&at(26_000, 40_000), now);
        assert!(ages.oldest(now).as_secs() >= 1390);
        assert!(ages.looks.values().all(|looks| looks.len() < 100));
        ages.look(&at(40_000, 40_000), now);
        assert_eq!(ages.oldest(now), Duration::ZERO);
    }
}
