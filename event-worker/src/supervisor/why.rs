//! One line that says whether a listener moves, and if not, why and what to do.

use service::{clock::now_ms, why::Why};
use tracing::{info, warn};

use super::process_health::{Unit, UnitView};
use crate::listener::{
    calls::RunningCall,
    parking::ParkingReport,
    status::{FailingLane, InVain, ListenerState, Report},
};

/// What to do when the bus is away.
pub(crate) const START_BUS: &str =
    "start the bus (dts, where it hosts the log); the listener waits for it";

/// What to do about a partition that does not move.
pub(crate) const LOOK_AT_HANDLER: &str = "see what the handler is doing; if a program does not end its transaction: \
     `kafka-transactions.sh find-hanging` finds it (docs/listeners.md)";

/// How a listener is.
pub(crate) fn why(view: &UnitView) -> Why {
    let why = of_state(view);
    match (why, &view.waits_since) {
        // Nobody else knows since when.
        (Why::Waiting(mut waiting), Some((what_for, since))) if waiting.since_ms == 0 => {
            waiting.since_ms = if waiting.what_for == *what_for { *since } else { 0 };
            Why::Waiting(waiting)
        }
        (why, _) => why,
    }
}

fn of_state(view: &UnitView) -> Why {
    let UnitView { id, report, .. } = view;
    if view.paused {
        let remedy = format!("to resume it: POST /api/v1/listeners/{id}/resume");
        return Why::waiting(("a human", 0), "somebody has paused it", remedy);
    }
    match report.state {
        ListenerState::Paused => {
            Why::waiting(("its process", 0), "it was resumed a moment ago", "wait a moment")
        }
        ListenerState::Elsewhere => {
            let message = report.error.as_ref().map(|problem| problem.message.clone());
            Why::Idle(message.unwrap_or_else(|| "another environment runs it".to_owned()))
        }
        ListenerState::Stopped => problem(report, "a human", "it has stopped"),
        ListenerState::Restarting => problem(report, "its next process", "its process has ended"),
        ListenerState::BusAway => problem(report, "the bus", "the bus does not answer"),
        ListenerState::Starting => problem(report, "its start", "its process begins"),
        ListenerState::Stopping => {
            Why::waiting(("the end of its calls", 0), "it stops", "wait: at most 45 s")
        }
        ListenerState::ParkingFull => {
            problem(report, "room for parked events", "it is full").for_listener(id)
        }
        ListenerState::Standby => standing_by(view),
        ListenerState::Failing => failing(report).for_listener(id),
        ListenerState::Running => running(view),
    }
}

/// It waits because of its last error.
fn problem(report: &Report, what_for: &str, otherwise: &str) -> Why {
    match &report.error {
        Some(problem) => {
            Why::waiting((what_for, problem.at_ms), &*problem.message, &*problem.remedy)
        }
        None => Why::waiting((what_for, 0), otherwise, "wait a moment; if this lasts, see the log"),
    }
}

fn standing_by(view: &UnitView) -> Why {
    if let Some(nothing) = without_tables(view) {
        return nothing;
    }
    if view.lag.records.is_some() && view.lag.partitions.is_empty() {
        let because = "none of its tables has a topic yet";
        let remedy = "dts makes a topic with the first change; see `dts status`";
        return Why::waiting(("a topic", 0), because, remedy);
    }
    if let Some(error) = &view.lag.bus_error {
        return Why::waiting(("the bus", 0), &**error, START_BUS);
    }
    let other = view.report.standby.as_deref();
    Why::Idle(other.unwrap_or("other members of the group have all partitions").to_owned())
}

/// It gets nothing, because no table fits its config.
fn without_tables(view: &UnitView) -> Option<Why> {
    let reason = view.reach.reasons.first().filter(|_| view.reach.tables.is_empty())?;
    Some(Why::waiting(("its tables", 0), &*reason.message, &*reason.remedy))
}

/// Of the lanes that fail, the one whose event can be skipped; else the one that fails for longest.
fn failing(report: &Report) -> Why {
    if let Some(InVain { since_ms, calls, error }) =
        report.in_vain.as_ref().filter(|_| report.fails_in_vain())
    {
        let because = format!("its last {calls} calls have failed, and none succeeds: {error}");
        let remedy = "see whether the handler and its target are well: as it is, one key after the \
                      other is set aside (event-worker parked list -t ID)";
        return Why::waiting(("its handler", *since_ms), because, remedy);
    }
    let longest = report.failing.values().min_by_key(|lane| lane.since_ms);
    let Some(lane) = report.failing.values().find(|lane| lane.can_skip()).or(longest) else {
        return problem(report, "its handler", "it fails");
    };
    let FailingLane { first_ev_id, topic, partition, offset, events, attempts, .. } = lane;
    let with = match events {
        1 => String::new(),
        more => format!(" and {} more", more - 1),
    };
    let full = if report.is_full { ", and as its buffer is full, it takes no more" } else { "" };
    let times = match attempts {
        1 => String::new(),
        more => format!(" {more} times"),
    };
    let because = format!(
        "it has failed{times} with the event {first_ev_id}{with} (offset {offset} of \
         {topic}/{partition}): {}{full}{}",
        lane.error,
        lane.next_try(now_ms())
    );
    Why::waiting(("its handler", lane.since_ms), because, &*lane.remedy)
}

fn running(view: &UnitView) -> Why {
    let UnitView { id, report, lag, .. } = view;
    if let Some(error) = &lag.bus_error {
        return Why::waiting(("the bus", 0), &**error, START_BUS);
    }
    if let Some(call) = &report.long_call {
        return calling(id, call);
    }
    if let Some(stuck) = lag.stuck() {
        return Why::waiting(("a partition", 0), stuck, LOOK_AT_HANDLER);
    }
    if let Some(nothing) = without_tables(view) {
        return nothing;
    }
    let aside = aside(id, report);
    match lag.records {
        Some(0) if report.buffered_events == 0 => {
            Why::Idle(format!("all that is on the bus for it is done{aside}"))
        }
        Some(records) => {
            let seconds = lag.seconds;
            Why::Moving(format!("records left on the bus: {records}, {seconds:.1} s{aside}"))
        }
        None => Why::Moving(format!("it runs; the bus has not said yet how much is left{aside}")),
    }
}

/// What waits aside meanwhile, and what to do.
fn aside(id: &str, report: &Report) -> String {
    let ParkingReport { keys, parked, .. } = report.parking;
    match (keys, parked) {
        (0, _) => String::new(),
        (keys, 0) => format!(
            "; aside, because they fail, and tried again: {} (event-worker parked list -t {id})",
            keys_in_words(keys)
        ),
        (_, parked) => format!(
            "; parked: {}: see why with `event-worker parked list -t {id}`, correct the cause, \
             then `event-worker parked replay -t {id}`",
            keys_in_words(parked)
        ),
    }
}

fn keys_in_words(count: u64) -> String {
    match count {
        1 => "1 key".to_owned(),
        more => format!("{more} keys"),
    }
}

/// A call has not ended for long.
fn calling(id: &str, call: &RunningCall) -> Why {
    let RunningCall { since_ms, first_ev_id, topic, partition, offset, events } = call;
    let with = if *events == 1 { "event".to_owned() } else { format!("{events} events, first") };
    let because = format!(
        "its call with {with} {first_ev_id} (offset {offset} of {topic}/{partition}) has not ended"
    );
    let remedy = format!(
        "see what the handler waits for; `timeout` in the config ends such a call; \
         `event-worker listener restart -t {id}` ends it now, and its events come again"
    );
    Why::waiting(("its handler", *since_ms), because, remedy)
}

impl Unit {
    /// Logs when that line changes. To be called every second.
    pub(super) fn say_why(&self) {
        let why = why(&self.view());
        if self.why_log().look(&why, now_ms()) {
            let listener = &self.id;
            match why {
                Why::Waiting(_) => warn!(listener, "{why}"),
                Why::Moving(_) | Why::Idle(_) => info!(listener, "{why}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        listener::{counters::Counters, status::Problem},
        reach::{Reach, Reason},
        supervisor::lag::Lag,
    };

    fn view(state: ListenerState) -> UnitView {
        let mut lag = Lag::default();
        lag.records = Some(0);
        UnitView {
            id: "a".to_owned(),
            paused: false,
            pid: None,
            up_seconds: 0,
            restarts: 0,
            counters: Counters::default(),
            report: Report { state, ..Report::default() },
            lag,
            reach: Reach::default(),
            waits_since: None,
        }
    }

    fn with_error(state: ListenerState) -> UnitView {
        let mut view = view(state);
        view.report.error = Some(Problem::new("it broke", "fix it"));
        view
    }

    #[test]
    fn each_state_has_its_line() {
        use ListenerState::*;
        for (view, begins, has) in [
            (view(Running), "idle: all that is on the bus", ""),
            (view(Starting), "waiting for its start because", "wait a moment"),
            (with_error(BusAway), "waiting for the bus since ", "because it broke: fix it"),
            (with_error(Stopped), "waiting for a human since ", "because it broke: fix it"),
            (with_error(Restarting), "waiting for its next process since ", "fix it"),
            (with_error(Elsewhere), "idle: it broke", ""),
            (view(Standby), "waiting for a topic", "dts makes a topic"),
            (view(Stopping), "waiting for the end of its calls", ""),
        ] {
            let line = why(&view).to_string();
            assert!(
                line.starts_with(begins) && line.contains(has),
                "{:?}: {line}",
                view.report.state
            );
        }
        let paused = UnitView { paused: true, ..view(Running) };
        assert!(why(&paused).to_string().contains("POST /api/v1/listeners/a/resume"));
    }

    #[test]
    fn a_listener_that_runs_says_what_keeps_it() {
        let line = |change: fn(&mut UnitView)| {
            let mut view = view(ListenerState::Running);
            change(&mut view);
            why(&view).to_string()
        };
        let away = line(|view| view.lag.bus_error = Some("no answer".to_owned()));
        assert_eq!(away, format!("waiting for the bus because no answer: {START_BUS}"));
        let left = line(|view| view.lag.records = Some(7));
        assert_eq!(left, "moving: records left on the bus: 7, 0.0 s");
        let none = line(|view| {
            let (message, remedy) = ("no table".to_owned(), "name one".to_owned());
            view.reach.reasons.push(Reason { message, remedy });
        });
        assert_eq!(none, "waiting for its tables because no table: name one");
        let stuck = line(|view| {
            let first_ev_id = "g:7#0".to_owned();
            let (topic, partition, offset, events) = ("t".to_owned(), 1, 9, 2);
            let call =
                RunningCall { since_ms: 1000, first_ev_id, topic, partition, offset, events };
            view.report.long_call = Some(call);
        });
        let begins = "waiting for its handler since 1970-01-01T00:00:01Z because its call with 2 \
                      events, first g:7#0 (offset 9 of t/1) has not ended: ";
        assert!(stuck.starts_with(begins) && stuck.contains("listener restart -t a"), "{stuck}");
        let seen = line(|view| {
            view.lag.bus_error = Some("no answer".to_owned());
            view.waits_since = Some(("the bus".to_owned(), 2000));
        });
        assert!(seen.starts_with("waiting for the bus since 1970-01-01T00:00:02Z "), "{seen}");
    }
}
