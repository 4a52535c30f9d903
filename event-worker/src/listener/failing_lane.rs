//! A lane whose handler fails, and what can be done about it.

use std::time::Duration;

use event_bus::Partition;
use serde::{Deserialize, Serialize};
use service::clock::now_ms;

use super::problem::Problem;
use crate::{event::TakenEvent, handler::Failure, reset::SkippedRecord};

/// A lane whose handler fails.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FailingLane {
    pub(crate) since_ms: u64,
    pub(crate) attempts: u32,
    pub(crate) error: String,
    /// What the handler itself said, where that may be shown.
    pub(crate) said: Option<String>,
    /// The first event that failed, and its place on the bus.
    pub(crate) first_ev_id: String,
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    /// When they are tried again, in ms since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_try_ms: Option<u64>,
    /// How many events failed together.
    pub(crate) events: usize,
    /// What to do.
    pub(crate) remedy: String,
    /// What helps against its failures.
    #[serde(skip)]
    fix: &'static str,
    /// Set when one event failed alone, and the failure is about this event.
    #[serde(skip)]
    alone: Option<Alone>,
    /// Whether a replay gave its first event.
    #[serde(skip)]
    is_past: bool,
}

/// What stands before the command to skip an event, and before the one to give a replay up.
const SKIP: &str = ". To go on without this event: ";
const GIVE_UP: &str = ". The event comes once more, by a replay; to give the replay up: ";

/// A single event that fails.
#[derive(Clone, Debug, PartialEq)]
struct Alone {
    place: (Partition, u64),
    /// The command that skips it.
    command: String,
    /// How often it failed alone.
    times: u32,
    /// Whether everything before it in its partition is done: only then it can be skipped.
    is_front: bool,
}

impl FailingLane {
    /// These events of a listener have failed just now.
    pub(super) fn new(
        failure: &Failure,
        (listener, events): (&str, &[TakenEvent]),
        attempts: u32,
    ) -> Self {
        let place = events.first().map(TakenEvent::place);
        let alone = match events {
            [event] if !failure.is_unclear => Some(Alone::new(listener, event)),
            _ => None,
        };
        Self {
            since_ms: now_ms(),
            attempts,
            error: failure.reason.clone(),
            said: failure.said.clone(),
            first_ev_id: events.first().map_or("", TakenEvent::ev_id).to_owned(),
            topic: place.map_or("", |(partition, _)| &*partition.topic).to_owned(),
            partition: place.map_or(0, |(partition, _)| partition.number),
            offset: place.map_or(0, |(_, offset)| offset),
            next_try_ms: None,
            events: events.len(),
            remedy: String::new(),
            fix: "",
            alone,
            is_past: events.first().is_some_and(|event| event.replay().is_some()),
        }
    }

    /// The same with what helps against its failures.
    pub(super) fn with_fix(self, fix: &'static str) -> Self {
        Self { remedy: fix.to_owned(), fix, ..self }
    }

    /// The same, and it is tried again after so long.
    pub(super) fn again_after(self, wait: Duration) -> Self {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self { next_try_ms: Some(now_ms().saturating_add(wait)), ..self }
    }

    /// When it is tried again, in words.
    pub(crate) fn next_try(&self, now_ms: u64) -> String {
        match self.next_try_ms.map(|at| at.saturating_sub(now_ms)) {
            None => String::new(),
            Some(0) => "; it is tried again now".to_owned(),
            Some(left) => format!("; next try in {} s", left.div_ceil(1000)),
        }
    }

    /// It failed after `before` of the same lane.
    pub(super) fn comes_after(&mut self, before: &Self) {
        self.since_ms = before.since_ms;
        if let (Some(alone), Some(before)) = (&mut self.alone, &before.alone)
            && alone.place == before.place
        {
            (alone.times, alone.is_front) = (before.times.saturating_add(1), before.is_front);
        }
        self.remedy = self.what_to_do();
    }

    /// The command to skip its event, once it is likely to help, and not refused.
    pub(super) fn skip(&self) -> Option<&str> {
        let alone = self.alone.as_ref()?;
        (alone.is_front && alone.times > 1).then_some(&alone.command)
    }

    /// Whether its event can be skipped, and that is likely to help.
    pub(crate) fn can_skip(&self) -> bool {
        self.remedy.contains(SKIP) || self.remedy.contains(GIVE_UP)
    }

    pub(super) fn problem(&self, at_ms: u64) -> Problem {
        let (message, said, remedy) = (self.error.clone(), self.said.clone(), self.remedy.clone());
        Problem { at_ms, message, said, remedy }
    }

    /// Notes whether its event is the first unfinished one of its partition.
    pub(super) fn note_front(&mut self, is_front: impl Fn(&(Partition, u64)) -> bool) {
        if let Some(alone) = &mut self.alone {
            alone.is_front = is_front(&alone.place);
        }
        self.remedy = self.what_to_do();
    }

    fn what_to_do(&self) -> String {
        let fix = self.fix;
        match self.skip() {
            Some(command) => format!("{fix}{SKIP}{command}"),
            None if self.is_past => format!(
                "{fix}{GIVE_UP}event-worker replay cancel (event-worker replay list shows its id)"
            ),
            None => fix.to_owned(),
        }
    }
}

impl Alone {
    fn new(listener: &str, event: &TakenEvent) -> Self {
        let (partition, offset) = event.place();
        Self {
            place: (partition.clone(), offset),
            command: SkippedRecord::command(listener, event.place()),
            times: 1,
            is_front: false,
        }
    }
}
