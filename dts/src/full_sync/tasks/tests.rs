//! The decisions about full syncs.

use serde_json::json;

use super::*;

fn listens_to((schema, table): (&str, &str), since_ms: u64) -> Option<Listening> {
    let (schema, table) = (schema.to_owned(), table.to_owned());
    Some(Listening { tables: vec![HeardTables { schema, table, since_ms }] })
}

/// Tasks whose listener listens to all tables.
fn tasks() -> Tasks {
    let mut tasks = Tasks::default();
    tasks.listens("search", listens_to(("*", "*"), 1));
    tasks
}

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
        problem: None,
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

fn load(checkpoint: &Checkpoint) -> Tasks {
    Tasks::load(checkpoint, Captured::default()).unwrap()
}

fn refusal(tasks: &Tasks, request: &str) -> Option<Code> {
    match tasks.answers.get(request)? {
        Answer::Refused { refusal, .. } => Some(refusal.code),
        Answer::Accepted { .. } => None,
    }
}

#[test]
fn a_request_is_answered_once_also_after_a_restart() {
    let (mut tasks, mut checkpoint) = (tasks(), Checkpoint::new());
    let asked = request("r", false);
    assert!(tasks.ask(&asked));
    assert!(!tasks.ask(&asked), "it is being decided about");
    tasks.decide(&asked, Ok(vec![found("t1"), found("t2")]), 5);
    assert_eq!(tasks.due(1), ["r-1"]);
    assert_eq!(tasks.due(3), ["r-1", "r-2"]);
    kept(&mut tasks, &mut checkpoint);
    assert!(!tasks.has_changes());
    let mut again = load(&checkpoint);
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
    tasks.change("a-1", 7, |task| task.state = TaskState::Done);
    tasks.decide(&request("c", false), Ok(vec![found("t1")]), 8);
    assert_eq!(refusal(&tasks, "c"), None);
}

#[test]
fn a_listener_that_does_not_move_keeps_nobody_else_waiting() {
    let mut tasks = tasks();
    tasks.listens("other", listens_to(("*", "*"), 1));
    tasks.decide(&request("a", false), Ok(vec![found("t1"), found("t2"), found("t3")]), 5);
    let other = Request { listener: "other".to_owned(), ..request("b", false) };
    tasks.decide(&other, Ok(vec![found("t1")]), 6);
    assert_eq!(tasks.due(2), ["a-1", "a-2", "b-1"]);
}

#[test]
fn a_task_whose_table_cannot_be_read_lets_others_go_first() {
    let mut tasks = tasks();
    tasks.decide(&request("a", false), Ok(vec![found("t1"), found("t2")]), 5);
    tasks.change("a-1", 6, |task| task.state = TaskState::Running);
    assert_eq!(tasks.due(1), ["a-1"]);
    tasks.change("a-1", 7, |task| task.error = Some("the bus is away".to_owned()));
    assert_eq!(tasks.due(1), ["a-1"], "that is not the table's");
    tasks.note_stuck("a-1");
    assert_eq!(tasks.due(1), ["a-2"]);
    tasks.end_turn("a-1", false, 7);
    tasks.change("a-2", 8, |task| task.state = TaskState::Running);
    assert_eq!(tasks.get("a-1").unwrap().state, TaskState::Waiting);
    assert_eq!(tasks.due(1), ["a-2"]);
    tasks.change("a-2", 9, |task| task.state = TaskState::Done);
    assert_eq!(tasks.due(1), ["a-1"]);
}

#[test]
fn a_task_waits_until_its_listener_would_get_its_rows() {
    let mut tasks = Tasks::default();
    tasks.decide(&request("a", false), Ok(vec![found("t1")]), 5);
    let state = |tasks: &mut Tasks| {
        tasks.hold_unsubscribed(6);
        let task = tasks.get("a-1").unwrap();
        (task.state, task.trouble().map(|trouble| trouble.contains("never run")))
    };
    assert_eq!((tasks.due(2), state(&mut tasks)), (vec![], (TaskState::Waiting, None)));
    tasks.keep_requests(&HashSet::new());
    assert_eq!((tasks.due(2), state(&mut tasks)), (vec![], (TaskState::Waiting, Some(true))));
    tasks.listens("search", listens_to(("s", "u"), 1));
    assert_eq!((tasks.due(2), state(&mut tasks)), (vec![], (TaskState::Waiting, Some(false))));
    tasks.listens("search", listens_to(("s", "t*"), 1));
    assert_eq!((tasks.due(2), state(&mut tasks)), (vec!["a-1".into()], (TaskState::Waiting, None)));
    let begun = |task: &mut Task| {
        (task.state, task.rows) = (TaskState::Running, 7);
        task.cursor = Some(json!({ "by": "code", "after": { "key": "k", "values": [] } }));
    };
    tasks.change("a-1", 7, begun);
    assert_eq!(state(&mut tasks), (TaskState::Running, None));
    // The listener may have skipped rows that were sent.
    tasks.listens("search", listens_to(("s", "u"), 1));
    assert_eq!((tasks.due(2), state(&mut tasks)), (vec![], (TaskState::Waiting, Some(false))));
    let task = tasks.get("a-1").unwrap();
    assert_eq!((task.rows, &task.cursor), (0, &Some(json!({ "by": "code" }))));
}

#[test]
fn a_task_begins_again_if_its_listener_may_have_skipped_rows() {
    let (mut tasks, mut checkpoint) = (tasks(), Checkpoint::new());
    tasks.decide(&request("a", false), Ok(vec![found("t1")]), 5);
    assert_eq!(tasks.hold_unsubscribed(6), Vec::<String>::new());
    tasks.change("a-1", 7, |task| (task.state, task.rows) = (TaskState::Running, 7));
    kept(&mut tasks, &mut checkpoint);
    let mut after = |since: u64| {
        let mut again = load(&checkpoint);
        again.keep_requests(&HashSet::new());
        again.listens("search", listens_to(("*", "*"), since));
        let put_back = again.hold_unsubscribed(8);
        let again_at_once = again.hold_unsubscribed(9);
        kept(&mut again, &mut checkpoint);
        (put_back.len(), again_at_once.len(), again.get("a-1").unwrap().rows)
    };
    assert_eq!(after(1), (0, 0, 7));
    assert_eq!(after(2), (1, 0, 0), "it lost a table, and got it back");
    assert_eq!(after(2), (0, 0, 0));
}

#[test]
fn wishes_are_carried_out_also_when_they_come_again() {
    let mut tasks = tasks();
    let wish = |state| Some(Wish { state, at_ms: 1 });
    assert!(!tasks.wish("a-1", wish(Wished::Pause), 5), "there is no such task yet");
    tasks.decide(&request("a", false), Ok(vec![found("t1")]), 5);
    assert_eq!(tasks.get("a-1").unwrap().state, TaskState::Paused);
    assert!(tasks.due(9).is_empty());
    assert!(!tasks.wish("a-1", wish(Wished::Pause), 6));
    assert!(tasks.wish("a-1", wish(Wished::Run), 6));
    assert_eq!(tasks.due(9), ["a-1"]);
    assert!(tasks.wish("a-1", wish(Wished::Cancel), 6));
    assert!(!tasks.wish("a-1", wish(Wished::Run), 6));
    assert_eq!(tasks.get("a-1").unwrap().state, TaskState::Cancelled);
}

#[test]
fn an_initial_request_gives_each_table_once() {
    let mut tasks = tasks();
    let mut asked = request("initial:search", true);
    assert!(tasks.ask(&asked));
    tasks.decide(&asked, Ok(vec![found("t1")]), 5);
    assert_eq!(tasks.due(9), ["initial:search:s.t1"]);
    assert!(!tasks.ask(&asked), "the same listener starts again");
    asked.subscribe.push(("s".to_owned(), "u".to_owned()));
    asked.at_ms += 1;
    assert!(tasks.ask(&asked), "it was given another table");
    tasks.decide(&asked, Ok(vec![found("t1"), found("t2"), found("u")]), 6);
    // t2 was made since: all its rows came as changes.
    assert_eq!(tasks.due(9), ["initial:search:s.t1", "initial:search:s.u"]);
}

#[test]
fn a_table_that_is_captured_only_later_comes_then() {
    let (mut tasks, mut checkpoint) = (tasks(), Checkpoint::new());
    let only = |table: &str| Captured {
        tables: vec![("s".to_owned(), table.to_owned())],
        ..Captured::default()
    };
    tasks.captured = only("t1");
    let asked = request("initial:search", true);
    assert!(tasks.ask(&asked));
    tasks.decide(&asked, Ok(vec![found("t1")]), 5);
    kept(&mut tasks, &mut checkpoint);
    let mut same = Tasks::load(&checkpoint, only("t1")).unwrap();
    assert!(!same.ask(&asked));
    let mut more = Tasks::load(&checkpoint, only("t*")).unwrap();
    assert!(more.ask(&asked), "others are captured now");
    more.decide(&asked, Ok(vec![found("t1"), found("t2")]), 6);
    kept(&mut more, &mut checkpoint);
    assert!(more.get("initial:search:s.t2").is_some());
    let mut again = Tasks::load(&checkpoint, only("t*")).unwrap();
    assert!(!again.ask(&asked), "it is answered");
    // t3 was made since, and captured from its first row on.
    let mut exclusive = only("t*");
    exclusive.exclude.push(("s".to_owned(), "x".to_owned()));
    let mut exclusive = Tasks::load(&checkpoint, exclusive).unwrap();
    assert!(exclusive.ask(&asked));
    exclusive.decide(&asked, Ok(vec![found("t1"), found("t2"), found("t3")]), 7);
    assert!(exclusive.get("initial:search:s.t3").is_none());
}

#[test]
fn what_an_earlier_version_answered_counts_as_captured() {
    let (mut tasks, mut checkpoint) = (tasks(), Checkpoint::new());
    let asked = request("initial:search", true);
    tasks.decide(&asked, Ok(vec![found("t1")]), 5);
    kept(&mut tasks, &mut checkpoint);
    let key = format!("{ANSWER_PREFIX}{}", asked.id);
    let Ok(Answer::Accepted { tasks, at_ms, subscribe, .. }) =
        Answer::from_bytes(&checkpoint[&key])
    else {
        panic!("not accepted")
    };
    let old = Answer::Accepted { tasks, at_ms, subscribe, captured: None };
    checkpoint.insert(key, old.to_bytes().into());
    let mut again = load(&checkpoint);
    assert!(again.ask(&asked));
    again.decide(&asked, Ok(vec![found("t1"), found("t2")]), 6);
    assert!(again.get("initial:search:s.t2").is_none());
}

#[test]
fn a_task_that_is_sent_takes_no_turn_until_its_listener_may_have_skipped_it() {
    let mut tasks = tasks();
    tasks.decide(&request("a", false), Ok(vec![found("t1")]), 5);
    assert!(tasks.hold_unsubscribed(6).is_empty());
    tasks.change("a-1", 7, |task| (task.state, task.rows) = (TaskState::Sent, 7));
    assert!(tasks.due(9).is_empty());
    let pause = Wish { state: Wished::Pause, at_ms: 1 };
    assert!(!tasks.wish("a-1", Some(pause), 8), "there is nothing more to send");
    tasks.decide(&request("b", false), Ok(vec![found("t1")]), 9);
    assert_eq!(refusal(&tasks, "b"), None);
    // The listener got the table again since then: it may not have taken earlier rows.
    tasks.listens("search", listens_to(("*", "*"), 2));
    assert!(tasks.hold_unsubscribed(10).contains(&"a-1".to_owned()));
    let task = tasks.get("a-1").unwrap();
    assert_eq!((task.state, task.rows), (TaskState::Waiting, 0));
    assert!(tasks.due(9).contains(&"a-1".to_owned()));
}

#[test]
fn a_task_ends_if_its_table_is_not_captured_any_more() {
    let mut tasks = tasks();
    tasks.decide(&request("a", false), Ok(vec![found("t1"), found("t2"), found("t3")]), 5);
    tasks.change("a-3", 6, |task| task.state = TaskState::Sent);
    let t1 = vec![("s".to_owned(), "t1".to_owned())];
    tasks.captured = Captured { tables: t1, ..Captured::default() };
    tasks.end_uncaptured(7);
    let states = ["a-1", "a-2", "a-3"].map(|id| tasks.get(id).unwrap().state);
    assert_eq!(states, [TaskState::Waiting, TaskState::Failed, TaskState::Sent]);
    let why = tasks.get("a-2").unwrap().error.as_deref().unwrap_or_default();
    assert!(why.contains("not captured any more"), "{why}");
}

#[test]
fn a_new_listener_begins_without_a_table_that_cannot_be_sent() {
    let mut tasks = tasks();
    let asked = request("initial:search", true);
    assert!(tasks.ask(&asked));
    let odd = Found { problem: Some("no key".to_owned()), ..found("odd") };
    tasks.decide(&asked, Ok(vec![odd, found("t1")]), 5);
    assert_eq!(tasks.due(9), ["initial:search:s.t1"]);
    let task = tasks.get("initial:search:s.odd").unwrap();
    assert_eq!((task.state, task.error.as_deref()), (TaskState::Failed, Some("no key")));
}

#[test]
fn an_initial_request_that_is_made_again_counts_in_its_new_form() {
    let (mut tasks, mut checkpoint) = (tasks(), Checkpoint::new());
    let before = request("initial:search", true);
    let mut changed = Request { at_ms: before.at_ms + 1, ..before.clone() };
    changed.subscribe.push(("s".to_owned(), "u".to_owned()));
    assert!(tasks.ask(&before) && tasks.ask(&changed) && !tasks.ask(&changed));
    assert!(!tasks.is_asked(&before) && tasks.is_asked(&changed));
    let refusal = Refusal {
        code: Code::NotPossible,
        message: "no right".to_owned(),
        remedy: "GRANT it".to_owned(),
        task: None,
    };
    tasks.decide(&changed, Err(refusal), 5);
    assert!(!tasks.ask(&changed), "it is asked again");
    kept(&mut tasks, &mut checkpoint);
    let mut again = load(&checkpoint);
    assert!(again.ask(&changed), "the right may have been granted");
}

#[test]
fn what_has_ended_is_forgotten_in_the_end() {
    let (mut tasks, mut checkpoint) = (tasks(), Checkpoint::new());
    for n in 0..150 {
        let asked = request(&format!("r{n:03}"), false);
        assert!(tasks.ask(&asked));
        tasks.decide(&asked, Ok(vec![found("t1")]), n);
        tasks.change(&format!("r{n:03}-1"), n, |task| task.state = TaskState::Done);
        tasks.withdraw(&asked.id);
        kept(&mut tasks, &mut checkpoint);
    }
    tasks.decide(&request("last", false), Ok(vec![found("t1")]), 2 * ANSWER_MILLIS);
    kept(&mut tasks, &mut checkpoint);
    let again = load(&checkpoint);
    assert_eq!((again.iter().count(), again.answers.len()), (MAX_ENDED + 1, 1));
    assert!(again.get("r149-1").is_some());
}
