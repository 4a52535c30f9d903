//! All full syncs: what was decided about them, and what the checkpoint keeps.

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

/// How many ended tasks are kept, the newest ones. Those of initial requests are kept in addition.
const MAX_ENDED: usize = 100;

/// How long answers are kept, in milliseconds: by then everybody who asked has looked.
const ANSWER_MILLIS: u64 = 3_600_000;

/// The tasks and answers. Changes are noted, to be kept with the next batch.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    tasks: BTreeMap<String, Task>,
    answers: BTreeMap<String, Answer>,
    wishes: HashMap<String, Wish>,
    /// The tables that listeners get; `None` until the control table was read.
    listening: Option<HashMap<String, Listening>>,
    /// The requests that still exist, and when they were made: an initial request may be made
    /// again.
    asked: HashMap<String, u64>,
    /// What is captured now.
    captured: Captured,
    /// The running tasks whose table cannot be read now.
    stuck: HashSet<String>,
    /// The keys in the checkpoint to write or to remove.
    dirty: BTreeSet<String>,
}

impl Tasks {
    /// Reads the tasks from the checkpoint, with the tables that are captured now.
    ///
    /// # Errors
    ///
    /// When they have another form than this version writes.
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

    /// Notes a request, and returns whether it must be decided.
    pub(crate) fn ask(&mut self, request: &Request) -> bool {
        let is_new = self.asked.insert(request.id.clone(), request.at_ms) != Some(request.at_ms);
        match self.answers.get(&request.id) {
            None => is_new,
            // Since then, the listener got other tables, or other tables are captured.
            Some(Answer::Accepted { subscribe: Some(globs), captured, .. }) => {
                *globs != request.subscribe || captured.as_ref() != Some(&self.captured)
            }
            Some(Answer::Accepted { .. }) => false,
            // Nobody waits for the answer who could ask again.
            Some(Answer::Refused { .. }) => request.initial && is_new,
        }
    }

    /// The request was removed.
    pub(crate) fn withdraw(&mut self, request: &str) {
        self.asked.remove(request);
    }

    /// Whether the request still exists unchanged.
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
                        remedy,
                        "the rows of its tables cannot be sent to a new listener: {message}"
                    );
                }
                Answer::Refused { refusal, at_ms: now }
            }
        };
        self.dirty.insert(format!("{ANSWER_PREFIX}{}", request.id));
        self.answers.insert(request.id.clone(), answer);
        self.forget_old(now);
    }

    /// A listener gets a table from one full sync at a time. An initial request leaves out the
    /// tables that it was given before.
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
                    "listener {} gets {}.{} already, from full sync {}",
                    task.listener, task.schema, task.table, task.id
                ),
                remedy: "wait until it is done, or cancel it first".to_owned(),
                task: Some(task.id.clone()),
            }),
        }
    }

    /// Whether an initial request has this table already, or the listener subscribed to the table
    /// before, while it was captured: then the listener got its rows as changes.
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

    /// Takes a wish, and returns whether it changed a task.
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

    /// From now on a listener gets these tables.
    pub(crate) fn listens(&mut self, listener: &str, listening: Option<Listening>) {
        let all = self.listening.get_or_insert_default();
        match listening {
            Some(listening) => all.insert(listener.to_owned(), listening),
            None => all.remove(listener),
        };
    }

    /// The whole control table was read again, and has these requests. All that was known from an
    /// earlier reading is forgotten.
    pub(crate) fn keep_requests(&mut self, requests: &HashSet<&str>) {
        self.asked.retain(|request, _| requests.contains(request.as_str()));
        self.wishes.clear();
        self.listening = Some(HashMap::new());
    }

    /// Stops the tasks whose listener would skip their rows, and notes the reason. The listener may
    /// have skipped rows that were already sent, so these tasks begin again. They also do if the
    /// listener skipped rows for a time that is over. Returns the tasks that begin again.
    pub(crate) fn hold_unsubscribed(&mut self, now: u64) -> Vec<String> {
        let Some(listening) = &self.listening else { return Vec::new() };
        let open = self.tasks.values().filter(|task| !task.state.is_final());
        let changed = open.filter_map(|task| {
            let subscribed = subscribed_since(task, listening);
            let (held, since) = (subscribed.as_ref().err(), subscribed.as_ref().ok());
            let is_same = task.held.as_ref() == held && task.heard_ms.as_ref() == since;
            (!is_same).then(|| (task.id.clone(), subscribed))
        });
        let changed: Vec<(String, Result<u64, String>)> = changed.collect();
        let mut put_back = Vec::new();
        for (id, subscribed) in changed {
            self.change(&id, now, |task| {
                let is_new = task.heard_ms.is_none() && subscribed.is_ok();
                if !is_new {
                    put_back.push(id.clone());
                    begin_again(task);
                }
                // Even of a task that was wholly sent, the listener may have skipped rows.
                let is_put_back = !is_new && task.state == TaskState::Sent;
                if is_put_back || (subscribed.is_err() && task.state == TaskState::Running) {
                    task.state = TaskState::Waiting;
                }
                (task.heard_ms, task.held) = (subscribed.as_ref().ok().copied(), subscribed.err());
            });
        }
        put_back
    }

    /// A running task cannot read its table now: other tasks go first, if there are any.
    pub(crate) fn note_stuck(&mut self, id: &str) {
        self.stuck.insert(id.to_owned());
    }

    /// A task goes on, or stopped running.
    pub(crate) fn note_moving(&mut self, id: &str) {
        self.stuck.remove(id);
    }

    /// A task stopped running. If it `starts_over`, it begins again with its next turn.
    pub(crate) fn end_turn(&mut self, id: &str, starts_over: bool, now: u64) {
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

    /// Ends the tasks of tables that are not captured any more: without their changes, the rows
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

    /// Changes a task, if it exists.
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

    /// The tasks whose turn it is, at most `parallel` for one listener: first come, first served;
    /// but a stuck task lets others go first. A listener that does not move keeps no other listener
    /// waiting.
    pub(crate) fn due(&self, parallel: usize) -> Vec<String> {
        let Some(listening) = &self.listening else { return Vec::new() };
        let is_due = |task: &&Task| {
            matches!(task.state, TaskState::Waiting | TaskState::Running)
                && subscribed_since(task, listening).is_ok()
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

    /// The changes for the checkpoint since the last call.
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
        // A wish that still exists would be carried out again.
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
fn subscribed_since(task: &Task, listening: &HashMap<String, Listening>) -> Result<u64, String> {
    let Task { listener, schema, table, .. } = task;
    let Some(listening) = listening.get(listener) else {
        return Err(format!("listener {listener} has never run: the rows are sent when it runs"));
    };
    let fits = |heard: &&HeardTables| {
        glob::matches(&heard.schema, schema) && glob::matches(&heard.table, table)
    };
    let fitting = listening.tables.iter().filter(fits);
    fitting.map(|heard| heard.since_ms).min().ok_or_else(|| {
        format!(
            "listener {listener} runs without {schema}.{table} in its subscribe: the rows are sent \
             when the table is in it"
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

/// Tasks of an initial request are named after their table: each is made once.
fn task_id(request: &Request, found: &Found, n: usize) -> String {
    if request.initial {
        format!("{}:{}.{}", request.id, found.schema, found.table)
    } else {
        format!("{}-{}", request.id, n + 1)
    }
}
