//! A lane: one handler, called for one batch at a time until it succeeds.

use std::{collections::HashSet, sync::Arc, time::Duration};

use service::{Backoff, BackoffConfig};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::status::{FailingLane, Status, now_ms};
use crate::{
    event::Event,
    handler::{Batch, Failure, Handler, Outcome},
};

/// A batch for a lane, and the two ways to end it early.
pub(super) struct Work {
    pub(super) events: Vec<Event>,
    pub(super) leash: Leash,
}

/// How a batch that is being worked on is called back.
#[derive(Clone, Debug, Default)]
pub(super) struct Leash {
    /// The call that runs may end, but there is no further try.
    pub(super) no_retry: CancellationToken,
    /// The call that runs is dropped.
    pub(super) abort: CancellationToken,
}

/// What a lane tells.
pub(super) struct LaneReport {
    pub(super) lane: usize,
    /// These are done.
    pub(super) finished: Vec<Event>,
    /// `Some` when the lane is free again: what of the batch is not done, in order.
    pub(super) returned: Option<Vec<Event>>,
}

pub(super) struct Lane {
    pub(super) number: usize,
    pub(super) handler: Box<dyn Handler>,
    pub(super) retry: BackoffConfig,
    pub(super) status: Arc<Status>,
    pub(super) reports: mpsc::Sender<LaneReport>,
}

impl Lane {
    /// Works until no more batches come.
    pub(super) async fn run(mut self, mut work: mpsc::Receiver<Work>) {
        let mut failures = Failures::new(self.number, self.retry);
        while let Some(Work { events, leash }) = work.recv().await {
            let rest = self.work(events, &leash, &mut failures).await;
            self.report(Vec::new(), Some(rest)).await;
        }
    }

    /// Calls the handler until all is done or the batch is called back; gives what is not done.
    async fn work(
        &mut self,
        mut events: Vec<Event>,
        leash: &Leash,
        failures: &mut Failures,
    ) -> Vec<Event> {
        loop {
            let batch = Batch { events: &events, attempt: failures.backoff.failures() + 1 };
            let outcome = tokio::select! {
                biased;
                () = leash.abort.cancelled() => {
                    self.handler.abandon().await;
                    return events;
                }
                outcome = self.handler.handle(batch) => outcome,
            };
            let (finished, failed, failure) = split(events, outcome);
            let Some(failure) = failure else {
                failures.end(&self.status);
                self.report(finished, None).await;
                return Vec::new();
            };
            events = failed;
            let wait = failures.add(&failure, &events, &self.status);
            self.report(finished, None).await;
            tokio::select! {
                () = leash.no_retry.cancelled() => return events,
                () = leash.abort.cancelled() => return events,
                () = tokio::time::sleep(wait) => self.status.count_retry(),
            }
        }
    }

    async fn report(&mut self, finished: Vec<Event>, returned: Option<Vec<Event>>) {
        if !finished.is_empty() || returned.is_some() {
            // An error means that the listener is gone, and with it whoever gives us work.
            let _ = self.reports.send(LaneReport { lane: self.number, finished, returned }).await;
        }
    }
}

/// What is done, what failed, and why, if anything failed.
fn split(events: Vec<Event>, outcome: Outcome) -> (Vec<Event>, Vec<Event>, Option<Failure>) {
    let failed_ids = match outcome {
        Outcome::Done => return (events, Vec::new(), None),
        Outcome::Failed(failure) => return (Vec::new(), events, Some(failure)),
        Outcome::Partly(ids) => ids,
    };
    let known: HashSet<&str> = events.iter().map(Event::ev_id).collect();
    if !failed_ids.iter().all(|id| known.contains(id.as_str())) {
        let reason = "the handler says that events failed which it was not given";
        return (Vec::new(), events, Some(Failure { reason: reason.into(), retry_after: None }));
    }
    let failed_ids: HashSet<&str> = failed_ids.iter().map(String::as_str).collect();
    let (failed, finished): (Vec<_>, Vec<_>) =
        events.into_iter().partition(|event| failed_ids.contains(event.ev_id()));
    let failure = (!failed.is_empty()).then(|| Failure {
        reason: format!("the handler says that {} of its events failed", failed.len()),
        retry_after: None,
    });
    (finished, failed, failure)
}

/// A series of failures of one lane.
struct Failures {
    lane: usize,
    backoff: Backoff,
}

impl Failures {
    fn new(lane: usize, retry: BackoffConfig) -> Self {
        Self { lane, backoff: Backoff::new(retry) }
    }

    /// One more; gives how long to wait. Logged at the first and then at each doubling.
    fn add(&mut self, failure: &Failure, events: &[Event], status: &Status) -> Duration {
        let wait = self.backoff.next_wait().max(failure.retry_after.unwrap_or_default());
        let attempts = self.backoff.failures();
        let first = events.first().map_or("", Event::ev_id);
        if attempts.is_power_of_two() {
            warn!(
                lane = self.lane, attempts, error = failure.reason, first_event = first,
                events = events.len(), retry_in = ?wait, "the handler failed, the batch waits"
            );
        }
        let (error, first_ev_id) = (failure.reason.clone(), first.to_owned());
        let failing = FailingLane { since_ms: now_ms(), attempts, error, first_ev_id };
        status.lane_failed(self.lane, failing);
        wait
    }

    fn end(&mut self, status: &Status) {
        if self.backoff.failures() > 0 {
            let attempts = self.backoff.failures() + 1;
            info!(lane = self.lane, attempts, "the handler works again");
            self.backoff.reset();
            status.lane_mended(self.lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;

    fn ids(events: &[Event]) -> Vec<&str> {
        events.iter().map(Event::ev_id).collect()
    }

    #[test]
    fn those_that_failed_come_again_in_their_order_and_the_others_are_done() {
        let events = vec![event(1, "a"), event(2, "b"), event(3, "c")];
        let outcome = Outcome::Partly(vec!["c".into(), "a".into()]);
        let (finished, failed, failure) = split(events, outcome);
        assert_eq!((ids(&finished), ids(&failed)), (vec!["b"], vec!["a", "c"]));
        assert!(failure.unwrap().reason.contains("2 of its events"));
    }

    #[test]
    fn an_answer_about_unknown_events_fails_the_whole_batch() {
        let outcome = Outcome::Partly(vec!["a".into(), "x".into()]);
        let (finished, failed, failure) = split(vec![event(1, "a"), event(2, "b")], outcome);
        assert_eq!((finished.len(), ids(&failed)), (0, vec!["a", "b"]));
        assert!(failure.is_some());
    }
}
