//! One listener as the supervisor sees it: what its process runs, and how it is.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use event_bus::Subscription;
use service::why::WhyLog;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, timeout},
};
use tracing::{info, warn};

use super::lag::Lag;
use crate::{
    environment::Seat,
    link::ListenerStart,
    listener::{
        counters::Counters,
        status::{ListenerState, Problem, Report},
    },
    reach::{Reach, Reason},
};

/// How long to wait for the last report of a process that has ended.
const LAST_WORDS_DEADLINE: Duration = Duration::from_secs(1);

/// A process reports every second. It hangs when so many reports in a row do not come.
const MAX_MISSED_REPORTS: u32 = 10;

/// The same before its first report, because a process may take a while to start.
const MAX_MISSED_AT_START: u32 = 30;
/// A process that works, is not behind and has run so long is healthy.
const WELL_AFTER: Duration = Duration::from_secs(10);

/// A process that has run so long is healthy, whatever it does.
const LONG_AFTER: Duration = Duration::from_mins(1);

/// How long to wait until the pid of a process that says hello is known.
const HELLO_PATIENCE: Duration = Duration::from_secs(2);

/// A listener and its process.
pub(crate) struct Unit {
    pub(crate) id: String,
    pub(crate) subscription: Subscription,
    /// What its process runs.
    start: ListenerStart,
    /// Whether it may run here.
    pub(super) seat: Arc<Seat>,
    /// Set when its process is to leave the group for good.
    leave: watch::Sender<bool>,
    pause: watch::Sender<bool>,
    /// A number that changes when the topics change; sent after each look at them.
    topics: watch::Sender<u64>,
    /// Counts the requests for a retry.
    retry: watch::Sender<u64>,
    /// The process that runs.
    pid: watch::Sender<Option<u32>>,
    /// Whether its process is connected, so that reports may still come.
    connected: watch::Sender<bool>,
    /// Counts its reports.
    reports: watch::Sender<u64>,
    /// What the log was told of why it does not move.
    why_log: Mutex<WhyLog>,
    history: Mutex<ProcessHistory>,
}

/// What was seen of a listener, over all its processes.
#[derive(Default)]
struct ProcessHistory {
    started: Option<Instant>,
    starts: u64,
    /// Of the processes before this one.
    before: Counters,
    report: Report,
    lag: Lag,
    reach: Reach,
    trouble: Option<Trouble>,
}

/// Its processes end by themselves, and none has been healthy since.
struct Trouble {
    ends: u32,
    /// The state that the last process left.
    state: ListenerState,
    error: Option<Problem>,
}

impl Trouble {
    /// Whether we expect the next process to end, too: a listener that stopped by itself needs a
    /// human, but a crash may happen once.
    fn lasts(&self) -> bool {
        self.state == ListenerState::Stopped || self.ends > 1
    }
}

/// How a listener is, for the API.
#[derive(Clone, Debug)]
pub(crate) struct UnitView {
    pub(crate) id: String,
    pub(crate) paused: bool,
    pub(crate) pid: Option<u32>,
    pub(crate) up_seconds: u64,
    pub(crate) restarts: u64,
    /// Summed over its processes.
    pub(crate) counters: Counters,
    /// Of the process that runs; its state also when none does.
    pub(crate) report: Report,
    pub(crate) lag: Lag,
    /// Which tables it gets, and why no others.
    pub(crate) reach: Reach,
    /// What it waits for, and since when that has been seen.
    pub(crate) waits_since: Option<(String, u64)>,
}

impl Unit {
    pub(super) fn new(
        id: &str,
        subscription: Subscription,
        (start, seat): (ListenerStart, Arc<Seat>),
    ) -> Self {
        let ((pause, _), (retry, _)) = (watch::channel(start.paused), watch::channel(0));
        let ((connected, _), (pid, _)) = (watch::channel(false), watch::channel(None));
        let ((topics, _), (reports, _)) = (watch::channel(0), watch::channel(0));
        Self {
            id: id.to_owned(),
            subscription,
            start,
            seat,
            leave: watch::Sender::new(false),
            pause,
            topics,
            retry,
            pid,
            connected,
            reports,
            why_log: Mutex::default(),
            history: Mutex::default(),
        }
    }

    /// What its process shall run.
    pub(super) fn start(&self, paused: bool) -> ListenerStart {
        let lease = *self.seat.lease_ends().borrow();
        ListenerStart { paused, lease, ..self.start.clone() }
    }

    /// Whether its process is to leave the group for good.
    pub(super) fn leaves(&self) -> watch::Receiver<bool> {
        self.leave.subscribe()
    }

    /// Asks its process to leave the group for good, and to end. `false` if the process is not
    /// connected, and does not hear of it.
    pub(super) fn leave(&self) -> bool {
        let is_connected = *self.connected.borrow();
        self.leave.send_replace(is_connected);
        is_connected
    }

    pub(super) fn paused(&self) -> watch::Receiver<bool> {
        self.pause.subscribe()
    }

    pub(super) fn topics(&self) -> watch::Receiver<u64> {
        self.topics.subscribe()
    }

    /// Tells the state of the topics after a look at them.
    pub(super) fn tell_topics(&self, topics: u64) {
        self.topics.send_replace(topics);
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.pause.send_replace(paused);
    }

    /// Ends a wait after a failure: its process retries batches, or the process itself is started
    /// again.
    pub(crate) fn retry_now(&self) {
        self.retry.send_modify(|asked| *asked += 1);
    }

    pub(super) fn retries(&self) -> watch::Receiver<u64> {
        self.retry.subscribe()
    }

    /// Whether this is its process. A new process may say hello before its keeper knows its pid.
    pub(super) async fn is_process(&self, pid: u32) -> bool {
        let mut running = self.pid.subscribe();
        let is_known = running.wait_for(|running| *running == Some(pid));
        timeout(HELLO_PATIENCE, is_known).await.is_ok()
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.send_replace(connected);
    }

    /// Waits for the last report of a process that has ended.
    pub(super) async fn last_words(&self) {
        let mut connected = self.connected.subscribe();
        let gone = connected.wait_for(|connected| !connected);
        // A descendant that inherited the connection may keep it open.
        let _ = timeout(LAST_WORDS_DEADLINE, gone).await;
    }

    pub(super) fn take_report(&self, report: Report) {
        self.reports.send_modify(|reports| *reports += 1);
        let mut history = self.lock();
        history.report = report;
        if history.is_well() {
            history.trouble = None;
        }
    }

    /// Returns when its process hangs: no report has come for long. Seconds in which this program
    /// did not run do not count.
    pub(super) async fn hangs(&self) {
        let mut reports = self.reports.subscribe();
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut missed = 0;
        loop {
            second.tick().await;
            missed = if reports.has_changed().unwrap_or(false) { 0 } else { missed + 1 };
            reports.mark_unchanged();
            let is_connected = *self.connected.borrow();
            if missed >= if is_connected { MAX_MISSED_REPORTS } else { MAX_MISSED_AT_START } {
                return;
            }
        }
    }

    /// A process was started.
    pub(super) fn started(&self, pid: u32) {
        let mut history = self.lock();
        self.leave.send_replace(false);
        history.starts += 1;
        history.started = Some(Instant::now());
        self.pid.send_replace(Some(pid));
    }

    /// Its process has ended; `how` is set unless it ended with success. The reason why a listener
    /// stopped by itself stays visible until a later process is healthy.
    pub(super) fn ended(&self, how: Option<&str>) {
        let mut history = self.lock();
        let mut last = std::mem::take(&mut history.report);
        last.counters.end();
        history.started = None;
        self.pid.send_replace(None);
        history.before.add(&last.counters);
        let (state, error) = match (how, last.state) {
            (Some(_), ListenerState::Stopped) => (ListenerState::Stopped, last.error),
            (Some(how), _) => {
                let remedy = "see the log; the supervisor starts it again";
                (
                    ListenerState::Restarting,
                    Some(Problem::new(format!("the process {how}"), remedy)),
                )
            }
            (None, _) => (ListenerState::Restarting, None),
        };
        if how.is_some() {
            let ends = history.trouble.take().map_or(1, |before| before.ends.saturating_add(1));
            history.trouble = Some(Trouble { ends, state, error: error.clone() });
        }
        history.report = Report { state, error, ..Report::default() };
    }

    /// Changes its lag.
    pub(super) fn update_lag(&self, change: impl FnOnce(&mut Lag, &Report)) {
        let history = &mut *self.lock();
        change(&mut history.lag, &history.report);
    }

    /// Takes the tables that it gets, and logs what is new.
    pub(super) fn take_reach(&self, reach: Reach) {
        let before = std::mem::replace(&mut self.lock().reach, reach.clone());
        for Reason { message, remedy } in &reach.reasons {
            if !before.reasons.iter().any(|known| known.message == *message) {
                warn!(listener = self.id, remedy, "{message}");
            }
        }
        if !before.reasons.is_empty() && reach.reasons.is_empty() {
            info!(
                listener = self.id,
                tables = reach.tables.len(),
                "all tables that the listener names are there now"
            );
        }
    }

    pub(super) fn why_log(&self) -> MutexGuard<'_, WhyLog> {
        self.why_log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn view(&self) -> UnitView {
        let waits_since = self.why_log().waits_since().map(|(what, at)| (what.to_owned(), at));
        let history = self.lock();
        let mut counters = history.before.clone();
        counters.add(&history.report.counters);
        UnitView {
            id: self.id.clone(),
            paused: *self.pause.borrow(),
            pid: *self.pid.borrow(),
            up_seconds: history.started.map_or(0, |started| started.elapsed().as_secs()),
            restarts: history.starts.saturating_sub(1),
            counters,
            report: self.shown(&history),
            lag: history.lag.clone(),
            reach: history.reach.clone(),
            waits_since,
        }
    }

    /// What its process reports; while none runs because it may not, why that is so.
    fn shown(&self, history: &ProcessHistory) -> Report {
        let report = history.shown();
        match self.seat.why_not() {
            Some(why) if self.pid.borrow().is_none() => {
                Report { state: why.state, error: why.problem, ..report }
            }
            _ => report,
        }
    }

    fn lock(&self) -> MutexGuard<'_, ProcessHistory> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProcessHistory {
    /// The report of its process. While we expect the process to end like those before it, the
    /// report shows their state and error.
    fn shown(&self) -> Report {
        let mut report = self.report.clone();
        if let Some(trouble) = self.trouble.as_ref().filter(|trouble| trouble.lasts())
            && (report.state.is_moving() || report.state == ListenerState::Starting)
        {
            (report.state, report.error) = (trouble.state, trouble.error.clone());
        }
        report
    }

    fn is_well(&self) -> bool {
        let lived = self.started.map_or(Duration::ZERO, |started| started.elapsed());
        let is_level = match self.report.state {
            ListenerState::Running => self.lag.records == Some(0),
            // Others have all that there is.
            ListenerState::Standby => true,
            _ => false,
        };
        lived >= LONG_AFTER || (is_level && lived >= WELL_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{config::Config, environment::Seats};

    fn unit() -> Unit {
        let text = "[listeners.a]\nhandler = 'print'\n";
        let config = Config::parse(&PathBuf::from("l.toml"), text).unwrap();
        let start = ListenerStart {
            file: "l.toml".into(),
            text: text.to_owned(),
            paused: false,
            instance: String::new(),
            lease: None,
        };
        let subscription = config.listeners["a"].subscription("a", &config.bus);
        Unit::new("a", subscription, (start, Seats::default().offer("a", 0)))
    }

    fn says(unit: &Unit, state: ListenerState) -> ListenerState {
        unit.take_report(Report { state, ..Report::default() });
        unit.view().report.state
    }

    fn stops(unit: &Unit) {
        let error = Some(Problem::new("a bad record", "look at it"));
        unit.take_report(Report { state: ListenerState::Stopped, error, ..Report::default() });
        unit.ended(Some("ended: exit status: 70"));
    }

    fn is_older(unit: &Unit, by: Duration) {
        unit.lock().started = Instant::now().checked_sub(by);
    }

    #[test]
    fn one_that_stopped_is_stopped_until_a_later_process_is_well() {
        let unit = unit();
        unit.started(1);
        stops(&unit);
        unit.started(2);
        for state in [ListenerState::Starting, ListenerState::Standby, ListenerState::Running] {
            assert_eq!(says(&unit, state), ListenerState::Stopped);
            assert_eq!(unit.view().report.error.unwrap().message, "a bad record");
        }
        assert_eq!(
            says(&unit, ListenerState::BusAway),
            ListenerState::BusAway,
            "it says why it does not move"
        );
        is_older(&unit, WELL_AFTER);
        assert_eq!(says(&unit, ListenerState::Running), ListenerState::Stopped, "it is behind");
        unit.update_lag(|lag, _| lag.records = Some(0));
        assert_eq!(says(&unit, ListenerState::Running), ListenerState::Running);
        stops(&unit);
        unit.started(3);
        assert_eq!(says(&unit, ListenerState::Standby), ListenerState::Stopped);
        is_older(&unit, LONG_AFTER);
        assert_eq!(says(&unit, ListenerState::Standby), ListenerState::Standby);
    }

    #[test]
    fn a_crash_may_happen_once_and_a_second_one_is_no_chance() {
        let unit = unit();
        unit.started(1);
        unit.ended(Some("ended: signal: 9"));
        unit.started(2);
        assert_eq!(says(&unit, ListenerState::Running), ListenerState::Running);
        unit.ended(Some("ended: signal: 9"));
        unit.started(3);
        assert_eq!(says(&unit, ListenerState::Running), ListenerState::Restarting);
        assert!(unit.view().report.error.unwrap().message.contains("signal: 9"));
        is_older(&unit, LONG_AFTER);
        assert_eq!(says(&unit, ListenerState::Running), ListenerState::Running);
    }
}
