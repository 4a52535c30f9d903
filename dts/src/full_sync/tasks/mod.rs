//! All full syncs that there are: what is decided of them, and what the checkpoint keeps.

pub(super) mod catalog;
pub(super) mod place;
pub(super) mod resolve;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use event_bus::{Checkpoint, CheckpointChange};
use full_sync::{
    ANSWER_PREFIX, Answer, Captured, Code, HeardTables, Listening, Refusal, Request, TASK_PREFIX,
    Task, TaskState, Wish, Wished,
};
use service::glob;
use tracing::warn;

use self::resolve::Found;
use crate::error::{Error, Result};

/// So many tasks that have ended are kept, the newest, besides those of initial requests.
const MAX_ENDED: usize = 100;

/// Answers are kept so long, in milliseconds: whoever asked has looked by then.
const ANSWER_MILLIS: u64 = 3_600_000;

/// The tasks and answers. What changes is noted, to be kept with the next batch.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    tasks: BTreeMap<String, Task>,
    answers: BTreeMap<String, Answer>,
    wishes: HashMap<String, Wish>,
    /// To what listeners listen; `None` until it was heard.
    listening: Option<HashMap<String, Listening>>,
    /// Requests that are still there, and when they were made: an initial one may be made anew.
    asked: HashMap<String, u64>,
    /// What is captured now.
    captured: Captured,
    /// Those at work whose table cannot be read for now.
    stuck: HashSet<String>,
    /// The keys in the checkpoint that are to be written or removed.
    dirty: BTreeSet<String>,
}

impl Tasks {
    /// Reads them from the checkpoint, while this is captured.
    ///
    /// # Errors
    ///
    /// When they are not in the form that this version writes.
    pub(crate) fn load(checkpoint: &Checkpoint, captured: Captured) -> Result<Self> {
        let mut all = Self { captured, ..Self::default() };
        for (key, bytes) in checkpoint {
            let unreadable =
                |error| Error::Internal(format!("the checkpoint's {key} cannot be read: {error}"));
            if key.starts_with(TASK_PREFIX) {
                let task = Task::from_bytes(bytes).map_err(unreadable)?;
                all.tasks.insert(task.id.clone(), task);
            } else if let Some(request) = key.strip_prefix(ANSWER_PREFIX) {
                let answer = Answer::from_bytes(bytes).map_err(unreadable)?;
                all.answers.insert(request.to_owned(), answer);
            }
        }
        Ok(all)
    }

    /// Notes a request, and says whether it is to be decided about.
    pub(crate) fn ask(&mut self, request: &Request) -> bool {
        let is_new = self.asked.insert(request.id.clone(), request.at_ms) != Some(request.at_ms);
        match self.answers.get(&request.id) {
            None => is_new,
            // The listener was given other tables since, or others are captured.
            Some(Answer::Accepted { subscribe: Some(globs), captured, .. }) => {
                *globs != request.subscribe || captured.as_ref() != Some(&self.captured)
            }
            Some(Answer::Accepted { .. }) => false,
            // Nobody waits for the answer, who could ask again.
            Some(Answer::Refused { .. }) => request.initial && is_new,
        }
    }

    /// The request is gone.
    pub(crate) fn withdraw(&mut self, request: &str) {
        self.asked.remove(request);
    }

    /// Whether the request is still there, as it was made.
    pub(crate) fn is_asked(&self, request: &Request) -> bool {
        self.asked.get(&request.id) == Some(&request.at_ms)
    }

    /// Makes the tasks of a request, or refuses it as a whole.
    pub(crate) fn decide(
        &mut self,
        request: &Request,
        found: Result<Vec<Found>, Refusal>,
        now: u64,
    ) {
        let answer = match found.and_then(|found| self.refuse_second(request, found)) {
            Ok(found) => self.accept(request, found, now),
            Err(refusal) => {
                if request.initial {
                    let Refusal { message, remedy, .. } = &refusal;
                    warn!(
                        listener = request.listener,
                        remedy, "what its tables hold cannot be sent to a new listener: {message}"
                    );
                }
                Answer::Refused { refusal, at_ms: now }
            }
        };
        self.dirty.insert(format!("{ANSWER_PREFIX}{}", request.id));
        self.answers.insert(request.id.clone(), answer);
        self.forget_old(now);
    }

    /// A listener gets a table once at a time. An initial request leaves out what it was given.
    fn refuse_second(
        &self,
        request: &Request,
        mut found: Vec<Found>,
    ) -> Result<Vec<Found>, Refusal> {
        if request.initial {
            found.retain(|found| !self.was_begun(request, found));
            return Ok(found);
        }
        let is_open = |task: &&Task| {
            let is_same = |found: &Found| task.schema == found.schema && task.table == found.table;
            task.state.is_to_send()
                && task.listener == request.listener
                && found.iter().any(is_same)
        };
        match self.tasks.values().find(is_open) {
            None => Ok(found),
            Some(task) => Err(Refusal {
                code: Code::AlreadyRunning,
                message: format!(
                    "listener {} gets {}.{} already, by {}",
                    task.listener, task.schema, task.table, task.id
                ),
                remedy: "wait until it is done, or cancel it first".to_owned(),
                task: Some(task.id.clone()),
            }),
        }
    }

    /// Whether an initial request has this table already, or the listener had it before, while it
    /// was captured: then it got its rows as they changed.
    fn was_begun(&self, request: &Request, found: &Found) -> bool {
        let id = task_id(request, found, 0);
        if self.tasks.contains_key(&id) {
            return true;
        }
        let Some(Answer::Accepted { subscribe: Some(before), captured, .. }) =
            self.answers.get(&request.id)
        else {
            return false;
        };
        let Found { schema, table, .. } = found;
        // An earlier version did not keep what was captured.
        let was_captured = captured.as_ref().is_none_or(|all| all.includes(schema, table));
        was_captured && resolve::includes(before, schema, table)
    }

    fn accept(&mut self, request: &Request, found: Vec<Found>, now: u64) -> Answer {
        let mut tasks = Vec::with_capacity(found.len());
        for (n, found) in found.into_iter().enumerate() {
            let task = new_task(request, found, (n, now));
            if let Some(error) = &task.error {
                warn!(task = task.id, error, "full sync failed");
            }
            tasks.push(task.id.clone());
            self.dirty.insert(task.key());
            self.tasks.insert(task.id.clone(), task);
        }
        let subscribe = request.initial.then(|| request.subscribe.clone());
        let ids = tasks.clone();
        for id in ids {
            self.carry_out_wish(&id, now);
        }
        let captured = request.initial.then(|| self.captured.clone());
        Answer::Accepted { tasks, at_ms: now, subscribe, captured }
    }

    /// Takes a wish in, and says whether it changed a task.
    pub(crate) fn wish(&mut self, id: &str, wish: Option<Wish>, now: u64) -> bool {
        match wish {
            Some(wish) => self.wishes.insert(id.to_owned(), wish),
            None => self.wishes.remove(id),
        };
        self.carry_out_wish(id, now)
    }

    fn carry_out_wish(&mut self, id: &str, now: u64) -> bool {
        let Some(wish) = self.wishes.get(id) else { return false };
        let Some(task) = self.tasks.get(id) else { return false };
        let state = match (wish.state, task.state) {
            (_, state) if state.is_final() => return false,
            (Wished::Cancel, _) => TaskState::Cancelled,
            (Wished::Pause, TaskState::Waiting | TaskState::Running) => TaskState::Paused,
            (Wished::Run, TaskState::Paused) => TaskState::Waiting,
            _ => return false,
        };
        self.change(id, now, |task| task.state = state);
        true
    }

    /// A listener listens to this from now on.
    pub(crate) fn listens(&mut self, listener: &str, listening: Option<Listening>) {
        let all = self.listening.get_or_insert_default();
        match listening {
            Some(listening) => all.insert(listener.to_owned(), listening),
            None => all.remove(listener),
        };
    }

    /// The whole control table is heard now, and has these requests: what else was heard before is
    /// not in it any more.
    pub(crate) fn hear_anew(&mut self, requests: &HashSet<&str>) {
        self.asked.retain(|request, _| requests.contains(request.as_str()));
        self.wishes.clear();
        self.listening = Some(HashMap::new());
    }

    /// Lets those wait whose listener would pass their rows over, and says so. It may have passed
    /// over rows that were sent, so they begin again; also where it did so unseen, and does not any
    /// more. Gives those that begin again.
    pub(crate) fn hold_unheard(&mut self, now: u64) -> Vec<String> {
        let Some(listening) = &self.listening else { return Vec::new() };
        let open = self.tasks.values().filter(|task| !task.state.is_final());
        let changed = open.filter_map(|task| {
            let heard = hears(task, listening);
            let (held, since) = (heard.as_ref().err(), heard.as_ref().ok());
            let is_same = task.held.as_ref() == held && task.heard_ms.as_ref() == since;
            (!is_same).then(|| (task.id.clone(), heard))
        });
        let changed: Vec<(String, Result<u64, String>)> = changed.collect();
        let mut put_back = Vec::new();
        for (id, heard) in changed {
            self.change(&id, now, |task| {
                let is_new = task.heard_ms.is_none() && heard.is_ok();
                if !is_new {
                    put_back.push(id.clone());
                    begin_again(task);
                }
                // Also of what it was sent wholly it may not have taken all.
                let is_put_back = !is_new && task.state == TaskState::Sent;
                if is_put_back || (heard.is_err() && task.state == TaskState::Running) {
                    task.state = TaskState::Waiting;
                }
                (task.heard_ms, task.held) = (heard.as_ref().ok().copied(), heard.err());
            });
        }
        put_back
    }

    /// A task at work cannot read its table for now: others go first, if there are any.
    pub(crate) fn note_stuck(&mut self, id: &str) {
        self.stuck.insert(id.to_owned());
    }

    /// A task goes on, or is not at work any more.
    pub(crate) fn note_moving(&mut self, id: &str) {
        self.stuck.remove(id);
    }

    /// A task is not at work any more. One that `starts_over` does so when its turn comes again.
    pub(crate) fn make_way(&mut self, id: &str, starts_over: bool, now: u64) {
        if self.tasks.get(id).is_none_or(|task| task.state.is_final()) {
            return;
        }
        self.change(id, now, |task| {
            if task.state == TaskState::Running {
                task.state = TaskState::Waiting;
            }
            if starts_over {
                begin_again(task);
            }
        });
    }

    /// Ends those of tables that are not captured any more: their changes do not come, so that rows
    /// would soon be wrong.
    pub(crate) fn end_uncaptured(&mut self, now: u64) {
        let is_out = |task: &&Task| {
            task.state.is_to_send() && !self.captured.includes(&task.schema, &task.table)
        };
        let out: Vec<String> =
            self.tasks.values().filter(is_out).map(|task| task.id.clone()).collect();
        for id in out {
            warn!(task = id, "the full sync ends: its table is not captured any more");
            self.change(&id, now, |task| {
                task.state = TaskState::Failed;
                task.error = Some("the table is not captured any more ([capture])".to_owned());
            });
        }
    }

    /// Changes a task, if it is there.
    pub(crate) fn change(&mut self, id: &str, now: u64, change: impl FnOnce(&mut Task)) {
        if let Some(task) = self.tasks.get_mut(id) {
            change(task);
            task.updated_ms = now;
            self.dirty.insert(task.key());
        }
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Task> {
        self.tasks.get(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values()
    }

    /// The tasks whose turn it is, while so many of one listener have theirs at once: first come,
    /// first served, but one that is stuck makes way. A listener that stands still is in nobody
    /// else's way.
    pub(crate) fn due(&self, parallel: usize) -> Vec<String> {
        let Some(listening) = &self.listening else { return Vec::new() };
        let is_due = |task: &&Task| {
            matches!(task.state, TaskState::Waiting | TaskState::Running)
                && hears(task, listening).is_ok()
        };
        let mut open: Vec<&Task> = self.tasks.values().filter(is_due).collect();
        let rank = |task: &Task| (self.stuck.contains(&task.id), task.state != TaskState::Running);
        open.sort_by_key(|task| (rank(task), task.created_ms, &task.id));
        let mut at_work: HashMap<&str, usize> = HashMap::new();
        open.retain(|task| {
            let of_listener = at_work.entry(&task.listener).or_default();
            *of_listener += 1;
            *of_listener <= parallel
        });
        open.into_iter().map(|task| task.id.clone()).collect()
    }

    pub(crate) fn has_changes(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// What the checkpoint is to keep, since this was last asked.
    pub(crate) fn take_changes(&mut self) -> Vec<CheckpointChange> {
        let dirty = std::mem::take(&mut self.dirty);
        let value = |key: &str| match key.strip_prefix(TASK_PREFIX) {
            Some(id) => self.tasks.get(id).map(|task| task.to_bytes().into()),
            None => {
                let request = key.strip_prefix(ANSWER_PREFIX)?;
                self.answers.get(request).map(|answer| answer.to_bytes().into())
            }
        };
        dirty.into_iter().map(|key| (key.clone(), value(&key))).collect()
    }

    fn forget_old(&mut self, now: u64) {
        let mut ended: Vec<(u64, String)> = self
            .tasks
            .values()
            .filter(|task| task.state.is_final() && !task.initial)
            .map(|task| (task.updated_ms, task.id.clone()))
            .collect();
        ended.sort_unstable();
        let too_many = ended.len().saturating_sub(MAX_ENDED);
        for (_, id) in ended.into_iter().take(too_many) {
            self.tasks.remove(&id);
            self.wishes.remove(&id);
            self.dirty.insert(format!("{TASK_PREFIX}{id}"));
        }
        // One that is still asked would be carried out again.
        let is_old = |(request, answer): &(&String, &Answer)| {
            now.saturating_sub(answer.at_ms()) > ANSWER_MILLIS
                && !self.asked.contains_key(*request)
                && !matches!(answer, Answer::Accepted { subscribe: Some(_), .. })
        };
        let old: Vec<String> =
            self.answers.iter().filter(is_old).map(|(request, _)| request.clone()).collect();
        for request in old {
            self.answers.remove(&request);
            self.dirty.insert(format!("{ANSWER_PREFIX}{request}"));
        }
    }
}

/// Puts a task back to its first row.
pub(crate) fn begin_again(task: &mut Task) {
    (task.rows, task.active_ms) = (0, 0);
    task.cursor = place::begin_again(task.cursor.as_ref());
}

/// Since when a task's listener gets its rows, or why it would not.
fn hears(task: &Task, listening: &HashMap<String, Listening>) -> Result<u64, String> {
    let Task { listener, schema, table, .. } = task;
    let Some(listening) = listening.get(listener) else {
        return Err(format!("listener {listener} has never run: it gets the rows when it does"));
    };
    let fits = |heard: &&HeardTables| {
        glob::matches(&heard.schema, schema) && glob::matches(&heard.table, table)
    };
    let heard = listening.tables.iter().filter(fits);
    heard.map(|heard| heard.since_ms).min().ok_or_else(|| {
        format!(
            "listener {listener} runs without {schema}.{table} in its subscribe: it gets the rows \
             when it runs with it"
        )
    })
}

fn new_task(request: &Request, found: Found, (n, now): (usize, u64)) -> Task {
    Task {
        id: task_id(request, &found, n),
        request: request.id.clone(),
        listener: request.listener.clone(),
        group: request.group.clone(),
        schema: found.schema,
        table: found.table,
        state: if found.problem.is_some() { TaskState::Failed } else { TaskState::Waiting },
        rows: 0,
        estimated_rows: found.estimated_rows,
        cursor: found.key_column.map(|column| place::begin_by(&column)),
        from: request.from.clone(),
        to: request.to.clone(),
        error: found.problem,
        held: None,
        heard_ms: None,
        created_ms: now,
        updated_ms: now,
        active_ms: 0,
        initial: request.initial,
    }
}

/// Those of an initial request are named by their table: each is made once.
fn task_id(request: &Request, found: &Found, n: usize) -> String {
    if request.initial {
        format!("{}:{}.{}", request.id, found.schema, found.table)
    } else {
        format!("{}-{}", request.id, n + 1)
    }
}
