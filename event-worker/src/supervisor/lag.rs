//! How far a listener is behind, and why. The bus and the process of the listener say it.

mod ages;
mod stands;

use std::time::Instant;

use event_bus::Progress;
use service::clock::now_ms;

use self::{ages::Ages, stands::Stands};
use crate::listener::status::Report;

/// How far a listener is behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lag {
    /// Records that the group has not finished, also those of open transactions; `None` while the
    /// bus does not say.
    pub(crate) records: Option<u64>,
    /// The age of the oldest unfinished change. While the process has no change: how long we have
    /// seen unfinished records on the bus.
    pub(crate) seconds: f64,
    /// Why the bus does not say it.
    pub(crate) bus_error: Option<String>,
    pub(crate) partitions: Vec<Progress>,
    /// How often the listener was set to another place.
    moves: u64,
    stands: Stands,
    ages: Ages,
}

impl Lag {
    /// Which partition is behind and does not move, and why, in words, if one is stuck.
    pub(crate) fn stuck(&self) -> Option<String> {
        self.stands.stuck(Instant::now())
    }

    /// The listener is at another place: what the bus said is about the one before.
    pub(super) fn forget(&mut self) {
        self.records = None;
        self.moves += 1;
    }

    /// A question to the bus begins now: its answer is about this place.
    pub(super) fn moves(&self) -> u64 {
        self.moves
    }

    pub(super) fn take(&mut self, partitions: Vec<Progress>, report: &Report, now: Instant) {
        let records = records_behind(&partitions);
        self.stands.look(&partitions, now);
        self.ages.look(&partitions, now);
        let behind = match report.oldest_unfinished_ms {
            _ if !self.stands.are_behind() => 0.0,
            Some(oldest) if oldest > 0 => now_ms().saturating_sub(oldest) as f64 / 1000.0,
            _ => self.ages.oldest(now).as_secs_f64(),
        };
        self.seconds = behind.max(self.stands.held_back(now).as_secs_f64());
        self.records = Some(records);
        self.bus_error = None;
        self.partitions = partitions;
    }
}

/// How many records a group has not finished, over all its partitions. In a partition that came
/// after the group's first commit, the group begins with the first record. Before its first commit
/// the count is 0: `start` will say where the group begins.
pub(crate) fn records_behind(partitions: &[Progress]) -> u64 {
    let has_run = partitions.iter().any(|at| at.committed.is_some());
    let behind = |at: &Progress| at.high.saturating_sub(at.committed.unwrap_or(0));
    if has_run { partitions.iter().map(behind).sum() } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use event_bus::Partition;

    use super::*;

    fn progress(topic: &str, number: u32, committed: Option<u64>, end: u64) -> Progress {
        let partition = Partition { topic: topic.into(), number };
        Progress { partition, committed, end, high: end }
    }

    #[test]
    fn lag_is_the_sum_over_all_partitions_of_all_topics() {
        let mut partitions = vec![progress("a", 0, None, 7), progress("b", 0, None, 9)];
        assert_eq!(records_behind(&partitions), 0, "it has not begun");
        partitions[0].committed = Some(5);
        assert_eq!(records_behind(&partitions), 2 + 9, "the second topic came later");
        partitions.extend((0..60).map(|number| progress("c", number, Some(10), 11)));
        assert_eq!(records_behind(&partitions), 2 + 9 + 60);
    }

    #[test]
    fn what_is_left_is_unknown_after_the_listener_was_set_to_another_place() {
        let (mut lag, report, now) = (Lag::default(), Report::default(), Instant::now());
        lag.take(vec![progress("a", 0, Some(3), 3)], &report, now);
        let asked = lag.moves();
        lag.forget();
        assert_eq!(lag.records, None);
        assert_ne!(lag.moves(), asked, "an answer under way is about the place before");
    }

    #[test]
    fn it_is_caught_up_only_when_every_partition_is() {
        let (mut lag, report, now) = (Lag::default(), Report::default(), Instant::now());
        let caught_up = |number| progress("a", number, Some(3), 3);
        lag.take((0..6).map(caught_up).collect(), &report, now);
        assert_eq!((lag.records, lag.seconds), (Some(0), 0.0));
        let mut partitions: Vec<_> = (0..6).map(caught_up).collect();
        (partitions[4].end, partitions[4].high) = (4, 4);
        lag.take(partitions, &report, now + Duration::from_secs(2));
        assert_eq!((lag.records, lag.seconds), (Some(1), 2.0));
    }

    #[test]
    fn records_of_an_open_transaction_are_lag_and_its_age_counts_once_it_holds_others_back() {
        let (mut lag, report, now) = (Lag::default(), Report::default(), Instant::now());
        let at = |end, high| vec![Progress { high, ..progress("a", 0, Some(end), end) }];
        let mut take = |end, high, second| {
            lag.take(at(end, high), &report, now + Duration::from_secs(second));
            (lag.records, lag.seconds)
        };
        // A busy writer has an open transaction at every look.
        assert_eq!(take(5, 8, 0), (Some(3), 0.0));
        assert_eq!(take(8, 11, 1), (Some(3), 0.0));
        assert_eq!(take(8, 20, 31), (Some(12), 30.0));
        assert_eq!(take(20, 20, 32), (Some(0), 0.0));
    }

    #[test]
    fn one_that_is_behind_from_the_first_look_on_gets_older_while_it_does_not_move() {
        let (mut lag, report, now) = (Lag::default(), Report::default(), Instant::now());
        for seconds in [0, 1, 12] {
            let behind = vec![progress("a", 0, Some(1), 500)];
            lag.take(behind, &report, now + Duration::from_secs(seconds));
            assert_eq!((lag.records, lag.seconds), (Some(499), seconds as f64));
        }
        let oldest_unfinished_ms = Some(now_ms() - 60_000);
        let knows = Report { oldest_unfinished_ms, ..Report::default() };
        lag.take(vec![progress("a", 0, Some(1), 500)], &knows, now + Duration::from_secs(13));
        assert!((60.0..120.0).contains(&lag.seconds), "its process knows: {}", lag.seconds);
    }
}
