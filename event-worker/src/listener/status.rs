//! The state and the figures of a listener: its parts write them, the API shows them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use event_bus::Partition;
use serde::{Deserialize, Serialize};
use service::clock::now_ms;
use sinks::{Figures, Sink};
use tokio::sync::Notify;
use tracing::error;

use super::{
    books::Difference,
    calls::{Calls, RunningCall},
    counters::Counters,
    ledger::Ledger,
    log_limit::LogLimit,
    parking::ParkingReport,
    table_counts::TableCounts,
};
pub(crate) use super::{
    failing_lane::FailingLane, in_vain::InVain, problem::Problem, state::ListenerState,
};
use crate::{event::TakenEvent, handler::Failure};

/// A listener's figures, since its process began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Report {
    pub(crate) state: ListenerState,
    #[serde(flatten)]
    pub(crate) counters: Counters,
    pub(crate) buffered_events: u64,
    pub(crate) buffered_bytes: u64,
    /// When the oldest unfinished event was committed in the source, in ms since the Unix epoch.
    pub(crate) oldest_unfinished_ms: Option<u64>,
    /// The lanes whose handler fails, by number.
    pub(crate) failing: BTreeMap<usize, FailingLane>,
    /// Why it is not running, or the last handler failure.
    pub(crate) error: Option<Problem>,
    /// The call that has run for longest, if that is long.
    pub(crate) long_call: Option<RunningCall>,
    /// Whether it takes no more, because it has all that it may keep.
    pub(crate) is_full: bool,
    /// Why it stood by last, if that is known.
    pub(crate) standby: Option<String>,
    /// Events that failed alone, and what waits behind them.
    pub(crate) parking: ParkingReport,
    /// Calls have failed, and none has succeeded since.
    pub(crate) in_vain: Option<InVain>,
    /// What it gets once more at the moment.
    pub(crate) replay: Option<ShownReplay>,
    /// What its sink has done, if its handler is one.
    pub(crate) sink: Option<Figures>,
}

/// A replay in the partition where it is at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShownReplay {
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) partition: u32,
    /// The next offset that is not finished.
    pub(crate) next: u64,
    /// Where it ends in this partition.
    pub(crate) to: u64,
    /// Events of this partition that were done,
    pub(crate) replayed: u64,
    /// and that were left out.
    pub(crate) left_out: u64,
}

impl Report {
    /// Notes which failing events are the first unfinished ones of their partitions.
    pub(super) fn note_fronts(&mut self, is_front: impl Fn(&(Partition, u64)) -> bool) {
        for lane in self.failing.values_mut() {
            lane.note_front(&is_front);
        }
    }

    /// Whether the handler itself is sick: events wait aside, and no call succeeds.
    pub(crate) fn fails_in_vain(&self) -> bool {
        self.buffered_events > 0 && self.in_vain.as_ref().is_some_and(InVain::is_long)
    }

    /// It runs, but takes nothing from the bus.
    fn is_parked_full(&mut self) {
        self.state = ListenerState::ParkingFull;
        let ParkingReport { keys, events, bytes, refused, .. } = &self.parking;
        let why = refused.as_ref().map_or("park.maxKeys, park.maxBytes", |reason| reason);
        let message = format!(
            "so much waits aside that no more events are taken: keys: {keys}, events: {events}, \
             bytes: {bytes} ({why})"
        );
        let remedy = "see why they fail (event-worker parked list -t ID), correct the cause, \
                      and replay them (event-worker parked replay -t ID); or allow more in `park`";
        let at_ms = self.parking.oldest_ms.unwrap_or_else(now_ms);
        self.error = Some(Problem { at_ms, ..Problem::new(message, remedy) });
    }

    /// It runs, but lanes fail. Of these, one whose event can be skipped is shown.
    fn fails(&mut self) {
        self.state = ListenerState::Failing;
        if let Some(lane) = self.failing.values().find(|lane| lane.skip().is_some()) {
            let at_ms = self.error.as_ref().map_or(lane.since_ms, |error| error.at_ms);
            self.error = Some(lane.problem(at_ms));
        }
    }
}

/// A listener's figures, shared by the tasks that count and those that show.
#[derive(Debug, Default)]
pub(crate) struct Status {
    report: Mutex<Report>,
    assigned: Notify,
    retry: Notify,
    retry_aside: Notify,
    logged: Mutex<Logged>,
    ledger: Mutex<Ledger>,
    calls: Calls,
    sink: OnceLock<Sink>,
}

/// What the log says of a handler that fails.
#[derive(Debug, Default)]
struct Logged {
    failures: LogLimit,
    /// The log does not say yet that the handler works again.
    is_failing: bool,
}

impl Logged {
    /// Notes a failure. Gives how many failures to log as one, if it is time to log.
    fn failed(&mut self, now: Instant) -> Option<u64> {
        let failures = self.failures.note(now)?;
        self.is_failing = true;
        Some(failures)
    }
}

impl Status {
    pub(crate) fn report(&self) -> Report {
        let mut report = self.lock().clone();
        report.long_call = self.calls.long(now_ms());
        report.sink = self.sink.get().map(Sink::figures);
        if report.state == ListenerState::Running && report.parking.is_full {
            report.is_parked_full();
        } else if report.state == ListenerState::Running && report.fails_in_vain() {
            report.state = ListenerState::Failing;
        } else if report.state == ListenerState::Running && !report.failing.is_empty() {
            report.fails();
        }
        report
    }

    /// The listener's handler is this sink.
    pub(super) fn show_sink(&self, sink: Sink) {
        // There is one for the life of the process.
        let _ = self.sink.set(sink);
    }

    /// Changes the figures.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.lock());
    }

    /// Sets the state.
    pub(crate) fn set_state(&self, state: ListenerState) {
        self.lock().state = state;
    }

    /// What went wrong.
    pub(crate) fn set_problem(&self, state: ListenerState, problem: Problem) {
        let mut report = self.lock();
        report.state = state;
        report.error = Some(problem);
    }

    /// These are done. `returned` of them had been counted as those of another process, and
    /// `from_aside` had waited aside.
    pub(super) fn count_done(
        &self,
        events: &[TakenEvent],
        (tables, had_gone): (&TableCounts, &TableCounts),
        (returned, from_aside): (u64, u64),
    ) {
        let now = now_ms();
        let counters = &mut self.lock().counters;
        counters.from_aside += from_aside;
        counters.returned = counters.returned.saturating_sub(returned);
        counters.tables.merge(tables);
        counters.tables.take_back(had_gone);
        // Past events have figures of their own.
        for event in events.iter().filter(|event| event.replay().is_none()) {
            counters.done += 1;
            counters.latency.add(now.saturating_sub(event.committed_ms()));
        }
    }

    /// A call of the handler has ended.
    pub(super) fn count_call(&self, took: Duration) {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.lock().counters.calls.add(took_ms);
    }

    /// What the listener gets once more at the moment.
    pub(super) fn show_replay(&self, shown: Option<ShownReplay>) {
        self.lock().replay = shown;
    }

    /// Past events were done, and left out.
    pub(super) fn count_replayed(&self, done: u64, left_out: u64) {
        let counters = &mut self.lock().counters;
        counters.replayed += done;
        counters.replay_left_out += left_out;
    }

    /// Records are missing, or too many. Each place and table is logged once.
    pub(super) fn differ(&self, found: Difference) {
        let text = found.to_string();
        let (between, table, remedy) =
            (found.between.word(), found.table.clone(), found.between.remedy());
        if self.lock().counters.differences.note(found) {
            error!(between, table, remedy, "the books do not balance: {text}");
        }
    }

    /// The calls that run.
    pub(super) fn calls(&self) -> &Calls {
        &self.calls
    }

    /// What came, against the book of `dts`.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Partitions were assigned.
    pub(super) fn note_assigned(&self) {
        self.assigned.notify_one();
    }

    /// Waits until partitions are assigned; returns at once if they were since the last call.
    pub(super) async fn assigned(&self) {
        self.assigned.notified().await;
    }

    /// Ends all waits after failures.
    pub(crate) fn retry_now(&self) {
        self.retry.notify_waiters();
        self.retry_aside.notify_one();
    }

    /// Waits until somebody asks for a retry.
    pub(super) async fn retry_asked(&self) {
        self.retry.notified().await;
    }

    /// Waits until somebody asks for a retry of what waits aside; returns at once if somebody did
    /// since the last call.
    pub(super) async fn retry_aside_asked(&self) {
        self.retry_aside.notified().await;
    }

    /// A call failed, and its events wait aside or are tried again at once.
    pub(super) fn count_failure(&self, failure: &Failure) {
        let mut report = self.lock();
        report.counters.failures += 1;
        InVain::note(&mut report.in_vain, failure);
    }

    /// A call has done something.
    pub(super) fn count_success(&self) {
        self.lock().in_vain = None;
    }

    pub(super) fn count_retry(&self) {
        self.lock().counters.retries += 1;
    }

    /// A call failed. Keeps the time since which the lane fails. If it is time to log, gives what
    /// to log, and how many failures to log as one.
    pub(super) fn lane_failed(
        &self,
        lane: usize,
        mut failing: FailingLane,
    ) -> Option<(u64, FailingLane)> {
        let mut report = self.lock();
        report.counters.failures += 1;
        // This is shown for longer than the lane fails, so it does not say how to skip the event.
        report.error = Some(failing.problem(now_ms()));
        if let Some(before) = report.failing.get(&lane) {
            failing.comes_after(before);
        }
        report.failing.insert(lane, failing.clone());
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        logged.failed(Instant::now()).map(|failures| (failures, failing))
    }

    /// A lane does not fail any more. `true` if the log should say that the handler works again.
    pub(super) fn lane_recovered(&self, lane: usize) -> bool {
        let mut report = self.lock();
        report.failing.remove(&lane);
        let is_well = report.failing.is_empty();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        is_well && std::mem::take(&mut logged.is_failing)
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;

    #[test]
    fn the_command_to_skip_comes_when_a_clear_failure_has_come_twice_at_the_front() {
        let status = Status::default();
        let fail = |event: &TakenEvent, failure: Failure, is_front: bool| {
            let events = std::slice::from_ref(event);
            status.lane_failed(3, FailingLane::new(&failure, ("a", events), 1));
            status.update(|report| report.note_fronts(|_| is_front));
            status.set_state(ListenerState::Running);
            let report = status.report();
            let names = |remedy: &str| remedy.contains(" listener skip -t a ");
            let lane = names(&report.failing[&3].remedy);
            assert_eq!(report.error.is_some_and(|error| names(&error.remedy)), lane);
            lane
        };
        let (event, other) = (event(7, "a"), event(8, "b"));
        assert!(!fail(&event, Failure::new("no"), true), "the first attempt");
        assert!(fail(&event, Failure::new("no"), true));
        assert!(!fail(&event, Failure::new("no"), false), "others come first");
        assert!(!fail(&event, Failure::unclear("what?"), true));
        assert!(!fail(&event, Failure::new("no"), true), "the count begins again");
        assert!(!fail(&other, Failure::new("no"), true));
        assert!(fail(&other, Failure::new("no"), true));
        status.lane_recovered(3);
        let after = status.report().error.unwrap();
        assert!(!after.remedy.contains("skip"), "the event is done by now: {after:?}");
    }

    #[test]
    fn what_helps_against_a_failure_is_said_in_the_words_of_its_handler() {
        let events = [event(7, "a")];
        let failing =
            || FailingLane::new(&Failure::new("no"), ("a", &events), 1).with_fix("correct the row");
        let mut lane = failing();
        assert!(lane.remedy == "correct the row" && !lane.can_skip());
        lane.comes_after(&failing());
        lane.note_front(|_| true);
        let begins = lane.remedy.starts_with("correct the row. To go on without this event: ");
        assert!(begins && lane.can_skip(), "{}", lane.remedy);
    }

    #[test]
    fn a_past_event_that_fails_names_the_way_to_give_the_replay_up() {
        let past = [event(7, "a").replayed_by(1)];
        let mut lane = FailingLane::new(&Failure::new("no"), ("a", &past), 1);
        lane.comes_after(&lane.clone());
        assert!(lane.remedy.contains("event-worker replay cancel"), "{}", lane.remedy);
        assert!(!lane.remedy.contains("skip"), "{}", lane.remedy);
    }
}
