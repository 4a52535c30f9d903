//! A lane: has one handler, and calls it with one batch at a time until it succeeds.

mod aside;
mod size;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use service::{Backoff, BackoffConfig, clock::now_ms};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{aside::Isolation, size::CallSize};
pub(super) use self::{aside::SetAside, size::uncut};
use super::status::{FailingLane, Status};
use crate::{
    environment::Lease,
    event::TakenEvent,
    handler::{Batch, Event, Failure, Handler, Outcome},
};

/// A batch for a lane, and the two ways to end it early.
pub(super) struct Work {
    pub(super) events: Vec<TakenEvent>,
    pub(super) leash: Leash,
    /// The queue of events set aside that the batch is from: then it is called for once.
    pub(super) queue: Option<u64>,
}

/// How the work on a batch is stopped early.
#[derive(Clone, Debug, Default)]
pub(super) struct Leash {
    /// The running call may end, but nothing is tried again.
    pub(super) no_retry: CancellationToken,
    /// The running call is dropped.
    pub(super) abort: CancellationToken,
}

/// What a lane reports.
#[derive(Default)]
pub(super) struct LaneReport {
    pub(super) lane: usize,
    /// These are done.
    pub(super) finished: Vec<TakenEvent>,
    /// Events that failed, each with the later events of its key in the batch.
    pub(super) aside: Vec<SetAside>,
    /// `Some` when the lane is free again: the events of the batch that are not done, in order.
    pub(super) returned: Option<Vec<TakenEvent>>,
    /// For a batch of events that were set aside before: their queue, and how the call failed.
    pub(super) queue: Option<(u64, Option<Failure>)>,
}

pub(super) struct Lane {
    pub(super) number: usize,
    /// Whose it is.
    pub(super) listener: Arc<str>,
    pub(super) handler: Box<dyn Handler>,
    pub(super) retry: BackoffConfig,
    /// The most events of one call.
    pub(super) batch_size: usize,
    /// Whether what the handler says of its failures is shown.
    pub(super) show_output: bool,
    pub(super) status: Arc<Status>,
    /// Whether events that fail alone may be set aside.
    pub(super) may_set_aside: Arc<AtomicBool>,
    pub(super) lease: Lease,
    pub(super) reports: mpsc::Sender<LaneReport>,
    /// Changes when the handler may rest.
    pub(super) rest: watch::Receiver<()>,
}

impl Lane {
    /// Works until no more batches come.
    pub(super) async fn run(mut self, mut work: mpsc::Receiver<Work>) {
        let failures = Failures::new(&self);
        let isolation = Isolation::new(self.batch_size);
        let mut course = Course { failures, isolation, size: CallSize::new(self.batch_size) };
        loop {
            let next = tokio::select! {
                biased;
                Ok(()) = self.rest.changed() => {
                    self.handler.rest().await;
                    continue;
                }
                next = work.recv() => next,
            };
            let Some(Work { events, leash, queue }) = next else { return };
            match queue {
                None => {
                    let rest = self.work(events, &leash, &mut course).await;
                    self.report(LaneReport { returned: Some(rest), ..LaneReport::default() }).await;
                }
                Some(queue) => self.work_once(events, &leash, queue).await,
            }
        }
    }

    /// Calls the handler until all events are done or the batch is stopped. Gives the events that
    /// are not done.
    async fn work(
        &mut self,
        mut events: Vec<TakenEvent>,
        leash: &Leash,
        course: &mut Course,
    ) -> Vec<TakenEvent> {
        while !events.is_empty() && !leash.no_retry.is_cancelled() {
            let mut rest = events.split_off(course.size.of(&events));
            let Some(outcome) = self.call(&events, leash).await else {
                events.extend(rest);
                return events;
            };
            let called = split(events, outcome);
            let Judged { report, failed, wait } = self.judge(called, &mut rest, course);
            self.report(report).await;
            events = failed;
            events.extend(rest);
            let Some(wait) = wait else { continue };
            tokio::select! {
                () = leash.no_retry.cancelled() => return events,
                () = leash.abort.cancelled() => return events,
                () = tokio::time::sleep(wait) => {}
                () = self.status.retry_asked() => info!(lane = self.number, "tried again, as asked"),
            }
            self.status.count_retry();
        }
        events
    }

    /// What a call was good for, and what comes next.
    fn judge(&self, called: Split, rest: &mut Vec<TakenEvent>, course: &mut Course) -> Judged {
        let Course { failures, isolation, size } = course;
        let Split { finished, mut failed, failure } = called;
        let tried = finished.len() + failed.len();
        let mut report = LaneReport { finished, ..LaneReport::default() };
        if !report.finished.is_empty() {
            self.status.count_success();
        }
        let Some(failure) = failure else {
            size.succeeded(tried);
            isolation.succeeded();
            failures.end(&self.status);
            return Judged { report, failed, wait: None };
        };
        failed.iter_mut().for_each(TakenEvent::note_failure);
        let is_past = failed.iter().any(|event| event.replay().is_some());
        let may_set_aside = self.may_set_aside.load(Relaxed) && !failure.is_unclear && !is_past;
        let is_found = aside::is_found(&failed, tried);
        if may_set_aside && !report.finished.is_empty() {
            isolation.succeeded();
        }
        let is_quick = may_set_aside && isolation.failed();
        let wait = match is_quick {
            true => {
                self.status.count_failure(&failure);
                None
            }
            false => Some(self.note(failure.clone(), &failed, failures)),
        };
        if may_set_aside && is_found {
            report.aside = aside::take(std::mem::take(&mut failed), rest, &failure);
            size.found();
        } else if failed.len() == tried && !failure.is_away {
            size.failed(tried);
        }
        Judged { report, failed, wait }
    }

    /// Calls the handler once, with events that were set aside.
    async fn work_once(&mut self, events: Vec<TakenEvent>, leash: &Leash, queue: u64) {
        let mut report = LaneReport { queue: Some((queue, None)), ..LaneReport::default() };
        if leash.no_retry.is_cancelled() {
            report.returned = Some(events);
            return self.report(report).await;
        }
        match self.call(&events, leash).await {
            None => report.returned = Some(events),
            Some(outcome) => {
                let Split { finished, mut failed, failure } = split(events, outcome);
                failed.iter_mut().for_each(TakenEvent::note_failure);
                if let Some(failure) = &failure {
                    self.status.count_failure(failure);
                }
                if !finished.is_empty() {
                    self.status.count_success();
                }
                report.finished = finished;
                report.returned = Some(failed);
                report.queue = Some((queue, failure));
            }
        }
        self.report(report).await;
    }

    /// One call; `None` when it was dropped, or the lease is over.
    async fn call(&mut self, events: &[TakenEvent], leash: &Leash) -> Option<Outcome> {
        if self.lease.is_over() {
            return None;
        }
        let attempt = events.iter().map(TakenEvent::failures).max().unwrap_or_default() + 1;
        let end = async {
            tokio::select! {
                () = leash.abort.cancelled() => {}
                () = self.lease.over() => {}
            }
        };
        let began = Instant::now();
        self.status.calls().begin(self.number, events, now_ms());
        let shown: Vec<&Event> = events.iter().map(TakenEvent::shown).collect();
        let outcome = tokio::select! {
            biased;
            () = end => {
                self.handler.abandon().await;
                None
            }
            outcome = self.handler.handle(Batch { events: &shown, attempt }) => {
                self.status.count_call(began.elapsed());
                Some(outcome)
            }
        };
        self.status.calls().end(self.number);
        outcome
    }

    /// Notes a failure, and gives how long to wait. After a batch that was too large there is no
    /// wait.
    fn note(
        &self,
        mut failure: Failure,
        failed: &[TakenEvent],
        failures: &mut Failures,
    ) -> Duration {
        if !self.show_output {
            failure.said = None;
        }
        let wait = failures.add(&failure, failed, &self.status);
        if failure.is_too_large && failed.len() > 1 { Duration::ZERO } else { wait }
    }

    async fn report(&mut self, report: LaneReport) {
        if !report.finished.is_empty() || !report.aside.is_empty() || report.returned.is_some() {
            // An error means that the listener is gone, and that no more work comes.
            let _ = self.reports.send(LaneReport { lane: self.number, ..report }).await;
        }
    }
}

/// How the calls of a lane went lately.
struct Course {
    failures: Failures,
    isolation: Isolation,
    size: CallSize,
}

/// What follows from a call.
struct Judged {
    report: LaneReport,
    /// These come again,
    failed: Vec<TakenEvent>,
    /// after so long.
    wait: Option<Duration>,
}

/// What happens to the events of a call.
struct Split {
    finished: Vec<TakenEvent>,
    /// These come again.
    failed: Vec<TakenEvent>,
    /// Why, if any failed.
    failure: Option<Failure>,
}

/// When an event failed, all later events of its key come again, too: otherwise the older change
/// would be handled after the newer one.
fn split(events: Vec<TakenEvent>, outcome: Outcome) -> Split {
    let (ids, failure) = match outcome {
        Outcome::Done => return Split { finished: events, failed: Vec::new(), failure: None },
        Outcome::Failed(failure) => return all_failed(events, failure),
        Outcome::Partly { failed, failure } => (failed, failure),
    };
    let known: HashSet<&str> = events.iter().map(TakenEvent::ev_id).collect();
    if !ids.iter().all(|id| known.contains(id.as_str())) {
        let reason = "the handler says that events failed that it did not get";
        return all_failed(events, Failure { said: failure.said, ..Failure::unclear(reason) });
    }
    let ids: HashSet<&str> = ids.iter().map(String::as_str).collect();
    let mut keys = HashSet::new();
    let comes_again = |event: &TakenEvent| {
        let has_failed = ids.contains(event.ev_id());
        if has_failed {
            keys.insert(event.key());
        }
        has_failed || keys.contains(&event.key())
    };
    let (failed, finished): (Vec<_>, Vec<_>) = events.into_iter().partition(comes_again);
    let failure = (!failed.is_empty()).then_some(failure);
    Split { finished, failed, failure }
}

fn all_failed(events: Vec<TakenEvent>, failure: Failure) -> Split {
    Split { finished: Vec::new(), failed: events, failure: Some(failure) }
}

/// A series of failures of one lane.
struct Failures {
    listener: Arc<str>,
    lane: usize,
    backoff: Backoff,
    /// What a human can do about those that do not say it themselves.
    remedy: &'static str,
}

impl Failures {
    fn new(lane: &Lane) -> Self {
        Self {
            listener: Arc::clone(&lane.listener),
            lane: lane.number,
            backoff: Backoff::new(lane.retry),
            remedy: lane.handler.remedy(),
        }
    }

    /// One more failure; gives how long to wait. For all lanes together, one failure a minute is
    /// logged.
    fn add(&mut self, failure: &Failure, events: &[TakenEvent], status: &Status) -> Duration {
        let wait = self.backoff.next_wait().max(failure.retry_after.unwrap_or_default());
        let attempts = self.backoff.failures();
        let failing = FailingLane::new(failure, (&self.listener, events), attempts);
        let failing = failing.with_fix(failure.remedy.unwrap_or(self.remedy));
        let failing = failing.again_after(wait);
        if let Some((failures, failing)) = status.lane_failed(self.lane, failing) {
            let FailingLane { error, said, first_ev_id, topic, partition, offset, remedy, .. } =
                failing;
            warn!(
                lane = self.lane, attempts, failures, error, said, first_event = first_ev_id,
                topic, partition, offset, events = events.len(), retry_in = ?wait, remedy,
                "the handler failed, the batch waits"
            );
        }
        wait
    }

    fn end(&mut self, status: &Status) {
        if self.backoff.failures() > 0 {
            let attempts = self.backoff.failures() + 1;
            self.backoff.reset();
            if status.lane_recovered(self.lane) {
                info!(lane = self.lane, attempts, "the handler works again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::{event, event_of_key};

    fn ids(events: &[TakenEvent]) -> Vec<&str> {
        events.iter().map(TakenEvent::ev_id).collect()
    }

    fn partly(ids: &[&str]) -> Outcome {
        let failed = ids.iter().map(|id| (*id).to_owned()).collect();
        Outcome::partly(failed, Some("why".to_owned()))
    }

    #[test]
    fn those_that_failed_come_again_in_their_order_and_the_others_are_done() {
        let events = vec![event(1, "a"), event(2, "b"), event(3, "c")];
        let Split { finished, failed, failure } = split(events, partly(&["c", "a"]));
        assert_eq!((ids(&finished), ids(&failed)), (vec!["b"], vec!["a", "c"]));
        let failure = failure.unwrap();
        assert!(failure.reason.contains("2 of its events"));
        assert_eq!(failure.said.as_deref(), Some("why"));
    }

    #[test]
    fn later_events_of_a_key_that_failed_come_again_after_it_and_earlier_ones_are_done() {
        let keyed = |offset, id, key| event_of_key(offset, id, key);
        let events = vec![
            keyed(1, "a1", "a"),
            keyed(2, "b1", "b"),
            keyed(3, "a2", "a"),
            keyed(4, "b2", "b"),
            keyed(5, "a3", "a"),
        ];
        let Split { finished, failed, .. } = split(events, partly(&["a2"]));
        assert_eq!((ids(&finished), ids(&failed)), (vec!["a1", "b1", "b2"], vec!["a2", "a3"]));
    }

    #[test]
    fn an_answer_about_unknown_events_fails_the_whole_batch() {
        let events = vec![event(1, "a"), event(2, "b")];
        let Split { finished, failed, failure } = split(events, partly(&["a", "x"]));
        assert_eq!((finished.len(), ids(&failed)), (0, vec!["a", "b"]));
        assert!(failure.is_some());
    }
}
