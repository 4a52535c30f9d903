//! How far each listener is behind, asked of the bus: also while its process is down.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use event_bus::Progress;
use futures_util::StreamExt as _;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use super::{Supervisor, Unit};
use crate::listener::status::{Report, now_ms};

const ASK_EVERY: Duration = Duration::from_secs(1);

/// How many listeners are asked for at once.
const MAX_ASKED: usize = 32;

/// How long the bus may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// A listener that is behind and has not committed for so long does not move.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// How far a listener is behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lag {
    /// Records that the group has not finished; `None` while the bus does not say.
    pub(crate) records: Option<u64>,
    /// The age of the oldest unfinished change, or an upper bound of it.
    pub(crate) seconds: f64,
    /// Why the bus does not say.
    pub(crate) bus_error: Option<String>,
    pub(crate) partitions: Vec<Progress>,
    moved: Option<Instant>,
    caught_up: Option<Instant>,
}

impl Lag {
    /// Whether it is behind and stands still.
    pub(crate) fn is_stuck(&self) -> bool {
        self.moved.is_some_and(|moved| moved.elapsed() > STUCK_AFTER)
    }

    fn take(&mut self, partitions: Vec<Progress>, report: &Report, now: Instant) {
        let records = records_behind(&partitions);
        if records == 0 {
            self.caught_up = Some(now);
        }
        let committed = |at: &Progress| (at.partition.clone(), at.committed);
        let is_same = partitions.iter().map(committed).eq(self.partitions.iter().map(committed));
        if records == 0 || !is_same || self.moved.is_none() {
            self.moved = Some(now);
        }
        self.seconds = match report.oldest_unfinished_ms {
            _ if records == 0 => 0.0,
            Some(oldest) if oldest > 0 => now_ms().saturating_sub(oldest) as f64 / 1000.0,
            _ => self.caught_up.map_or(0.0, |at| (now - at).as_secs_f64()),
        };
        self.records = Some(records);
        self.bus_error = None;
        self.partitions = partitions;
    }
}

/// How many records a group has not finished, over all its partitions. In one that came after its
/// first commit it begins with the first record. Before its first commit it has not begun anywhere:
/// `start` says where.
pub(crate) fn records_behind(partitions: &[Progress]) -> u64 {
    let has_run = partitions.iter().any(|at| at.committed.is_some());
    let behind = |at: &Progress| at.end.saturating_sub(at.committed.unwrap_or(0));
    if has_run { partitions.iter().map(behind).sum() } else { 0 }
}

/// Asks for every listener, again and again, until `stop`.
pub(super) async fn watch(supervisor: Arc<Supervisor>, stop: CancellationToken) {
    let mut ask = tokio::time::interval(ASK_EVERY);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ask.tick() => {}
        }
        // At once, so that a bus that does not answer is waited for only once.
        let units = futures_util::stream::iter(supervisor.fleet.units());
        let asked = units.for_each_concurrent(MAX_ASKED, |unit| {
            let supervisor = &supervisor;
            async move { ask_for(supervisor, &unit).await }
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = asked => {}
        }
    }
}

async fn ask_for(supervisor: &Supervisor, unit: &Unit) {
    let subscription = &unit.subscription;
    let asked = supervisor.bus.progress(&subscription.group, &subscription.topics);
    let answer = match timeout(ANSWER_DEADLINE, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the bus did not answer within {ANSWER_DEADLINE:?}")),
    };
    unit.update_lag(|lag, report| match answer {
        Ok(partitions) => lag.take(partitions, report, Instant::now()),
        Err(error) => {
            lag.records = None;
            lag.bus_error = Some(error);
        }
    });
}

#[cfg(test)]
mod tests {
    use event_bus::Partition;

    use super::*;

    fn progress(topic: &str, number: u32, committed: Option<u64>, end: u64) -> Progress {
        Progress { partition: Partition { topic: topic.into(), number }, committed, end }
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
    fn it_is_caught_up_only_when_every_partition_is() {
        let (mut lag, report, now) = (Lag::default(), Report::default(), Instant::now());
        let caught_up = |number| progress("a", number, Some(3), 3);
        lag.take((0..6).map(caught_up).collect(), &report, now);
        assert_eq!((lag.records, lag.seconds), (Some(0), 0.0));
        let mut partitions: Vec<_> = (0..6).map(caught_up).collect();
        partitions[4].end = 4;
        lag.take(partitions, &report, now + Duration::from_secs(2));
        assert_eq!((lag.records, lag.seconds), (Some(1), 2.0));
    }
}
