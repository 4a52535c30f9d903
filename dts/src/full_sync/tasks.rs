//! All full syncs that there are: what is decided of them, and what the checkpoint keeps.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use event_bus::{Checkpoint, CheckpointChange};
use full_sync::{
    ANSWER_PREFIX, Answer, Code, Refusal, Request, State, TASK_PREFIX, Task, Wish, Wished,
};

use super::resolve::Found;
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
    /// Requests that are still there.
    asked: BTreeSet<String>,
    /// The keys in the checkpoint that are to be written or removed.
    dirty: BTreeSet<String>,
}

impl Tasks {
    /// Reads them from the checkpoint.
    ///
    /// # Errors
    ///
    /// When they are not in the form that this version writes.
    pub(crate) fn load(checkpoint: &Checkpoint) -> Result<Self> {
        let mut all = Self::default();
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
        let is_new = self.asked.insert(request.id.clone());
        match self.answers.get(&request.id) {
            None => is_new,
            // The listener was given other tables since.
            Some(Answer::Accepted { subscribe: Some(globs), .. }) => *globs != request.subscribe,
            Some(Answer::Accepted { .. }) => false,
            Some(Answer::Refused { refusal, .. }) => {
                request.initial && refusal.code == Code::SourceAway && is_new
            }
        }
    }

    /// The request is gone.
    pub(crate) fn withdraw(&mut self, request: &str) {
        self.asked.remove(request);
    }

    /// Whether the request is still there.
    pub(crate) fn is_asked(&self, request: &str) -> bool {
        self.asked.contains(request)
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
            Err(refusal) => Answer::Refused { refusal, at_ms: now },
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
            !task.state.is_final() && task.listener == request.listener && found.iter().any(is_same)
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

    /// Whether an initial request has this table already, or the listener had it before: then it
    /// got its rows as they changed.
    fn was_begun(&self, request: &Request, found: &Found) -> bool {
        let id = task_id(request, found, 0);
        let before = match self.answers.get(&request.id) {
            Some(Answer::Accepted { subscribe: Some(globs), .. }) => globs.as_slice(),
            _ => return self.tasks.contains_key(&id),
        };
        self.tasks.contains_key(&id)
            || super::resolve::includes(before, &found.schema, &found.table)
    }

    fn accept(&mut self, request: &Request, found: Vec<Found>, now: u64) -> Answer {
        let mut tasks = Vec::with_capacity(found.len());
        for (n, found) in found.into_iter().enumerate() {
            let task = new_task(request, found, (n, now));
            tasks.push(task.id.clone());
            self.dirty.insert(task.key());
            self.tasks.insert(task.id.clone(), task);
        }
        let subscribe = request.initial.then(|| request.subscribe.clone());
        let ids = tasks.clone();
        for id in ids {
            self.carry_out_wish(&id, now);
        }
        Answer::Accepted { tasks, at_ms: now, subscribe }
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
            (Wished::Cancel, _) => State::Cancelled,
            (Wished::Pause, State::Waiting | State::Running) => State::Paused,
            (Wished::Run, State::Paused) => State::Waiting,
            _ => return false,
        };
        self.change(id, now, |task| task.state = state);
        true
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

    /// The tasks whose turn it is, while so many have theirs at once: first come, first served.
    pub(crate) fn due(&self, parallel: usize) -> Vec<String> {
        let mut open: Vec<&Task> = self
            .tasks
            .values()
            .filter(|task| matches!(task.state, State::Waiting | State::Running))
            .collect();
        open.sort_by_key(|task| (task.state != State::Running, task.created_ms, &task.id));
        open.into_iter().take(parallel).map(|task| task.id.clone()).collect()
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
                && !self.asked.contains(*request)
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

fn new_task(request: &Request, found: Found, (n, now): (usize, u64)) -> Task {
    Task {
        id: task_id(request, &found, n),
        request: request.id.clone(),
        listener: request.listener.clone(),
        group: request.group.clone(),
        schema: found.schema,
        table: found.table,
        state: State::Waiting,
        rows: 0,
        estimated_rows: found.estimated_rows,
        cursor: found.key_column.map(|column| super::place::begin_by(&column)),
        from: request.from.clone(),
        to: request.to.clone(),
        error: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: &str, initial: bool) -> Request {
        let subscribe = vec![("s".to_owned(), "t*".to_owned())];
        Request { subscribe, initial, ..Request::new(id, ("search", "g"), 1) }
    }

    fn found(table: &str) -> Found {
        Found {
            schema: "s".to_owned(),
            table: table.to_owned(),
            estimated_rows: 3,
            key_column: None,
        }
    }

    fn kept(tasks: &mut Tasks, checkpoint: &mut Checkpoint) {
        for (key, value) in tasks.take_changes() {
            match value {
                Some(value) => checkpoint.insert(key, value),
                None => checkpoint.remove(&key),
            };
        }
    }

    fn refusal(tasks: &Tasks, request: &str) -> Option<Code> {
        match tasks.answers.get(request)? {
            Answer::Refused { refusal, .. } => Some(refusal.code),
            Answer::Accepted { .. } => None,
        }
    }

    #[test]
    fn a_request_is_answered_once_also_after_a_restart() {
        let (mut tasks, mut checkpoint) = (Tasks::default(), Checkpoint::new());
        let asked = request("r", false);
        assert!(tasks.ask(&asked));
        assert!(!tasks.ask(&asked), "it is being decided about");
        tasks.decide(&asked, Ok(vec![found("t1"), found("t2")]), 5);
        assert_eq!(tasks.due(1), ["r-1"]);
        assert_eq!(tasks.due(3), ["r-1", "r-2"]);
        kept(&mut tasks, &mut checkpoint);
        assert!(!tasks.has_changes());
        let mut again = Tasks::load(&checkpoint).unwrap();
        assert!(!again.ask(&asked));
        assert_eq!(again.get("r-2").unwrap().table, "t2");
        assert!(again.ask(&request("other", false)));
    }

    #[test]
    fn a_listener_gets_a_table_once_at_a_time() {
        let mut tasks = Tasks::default();
        tasks.decide(&request("a", false), Ok(vec![found("t1")]), 5);
        tasks.decide(&request("b", false), Ok(vec![found("t1"), found("t2")]), 6);
        assert_eq!(refusal(&tasks, "b"), Some(Code::AlreadyRunning));
        assert_eq!(tasks.iter().count(), 1, "nothing of it was begun");
        tasks.change("a-1", 7, |task| task.state = State::Done);
        tasks.decide(&request("c", false), Ok(vec![found("t1")]), 8);
        assert_eq!(refusal(&tasks, "c"), None);
    }

    #[test]
    fn wishes_are_carried_out_also_when_they_come_again() {
        let mut tasks = Tasks::default();
        let wish = |state| Some(Wish { state, at_ms: 1 });
        assert!(!tasks.wish("a-1", wish(Wished::Pause), 5), "there is no such task yet");
        tasks.decide(&request("a", false), Ok(vec![found("t1")]), 5);
        assert_eq!(tasks.get("a-1").unwrap().state, State::Paused);
        assert!(tasks.due(9).is_empty());
        assert!(!tasks.wish("a-1", wish(Wished::Pause), 6));
        assert!(tasks.wish("a-1", wish(Wished::Run), 6));
        assert_eq!(tasks.due(9), ["a-1"]);
        assert!(tasks.wish("a-1", wish(Wished::Cancel), 6));
        assert!(!tasks.wish("a-1", wish(Wished::Run), 6));
        assert_eq!(tasks.get("a-1").unwrap().state, State::Cancelled);
    }

    #[test]
    fn an_initial_request_gives_each_table_once() {
        let mut tasks = Tasks::default();
        let mut asked = request("initial:search", true);
        assert!(tasks.ask(&asked));
        tasks.decide(&asked, Ok(vec![found("t1")]), 5);
        assert_eq!(tasks.due(9), ["initial:search:s.t1"]);
        assert!(!tasks.ask(&asked), "the same listener starts again");
        asked.subscribe.push(("s".to_owned(), "u".to_owned()));
        assert!(tasks.ask(&asked), "it was given another table");
        tasks.decide(&asked, Ok(vec![found("t1"), found("t2"), found("u")]), 6);
        // t2 was made since: all its rows came as changes.
        assert_eq!(tasks.due(9), ["initial:search:s.t1", "initial:search:s.u"]);
    }

    #[test]
    fn what_has_ended_is_forgotten_in_the_end() {
        let (mut tasks, mut checkpoint) = (Tasks::default(), Checkpoint::new());
        for n in 0..150 {
            let asked = request(&format!("r{n:03}"), false);
            assert!(tasks.ask(&asked));
            tasks.decide(&asked, Ok(vec![found("t1")]), n);
            tasks.change(&format!("r{n:03}-1"), n, |task| task.state = State::Done);
            tasks.withdraw(&asked.id);
            kept(&mut tasks, &mut checkpoint);
        }
        tasks.decide(&request("last", false), Ok(vec![found("t1")]), 2 * ANSWER_MILLIS);
        kept(&mut tasks, &mut checkpoint);
        let again = Tasks::load(&checkpoint).unwrap();
        assert_eq!((again.iter().count(), again.answers.len()), (MAX_ENDED + 1, 1));
        assert!(again.get("r149-1").is_some());
    }
}
