//! How far each listener is behind, asked of the bus: also while its process is down.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use event_bus::Progress;
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use super::{Supervisor, Unit};
use crate::listener::status::{Report, now_ms};

const ASK_EVERY: Duration = Duration::from_secs(1);

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
        // A group that has not committed in a partition has not begun there: `start` says where.
        let behind = |at: &Progress| at.committed.map_or(0, |next| at.end.saturating_sub(next));
        let records = partitions.iter().map(behind).sum();
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

/// Asks for every listener, again and again, until `stop`.
pub(super) async fn watch(supervisor: Arc<Supervisor>, stop: CancellationToken) {
    let mut ask = tokio::time::interval(ASK_EVERY);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ask.tick() => {}
        }
        for unit in supervisor.fleet.units() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = ask_for(&supervisor, &unit) => {}
            }
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
