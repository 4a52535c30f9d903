//! `event-worker parked`: shows what waits aside, and asks for it to be tried, replayed or dropped.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use service::{exit::Exit, private, say};

use super::{
    call::CallOutcome,
    view::{ParkedList, ParkedQueue},
};
use crate::{
    client::ApiClient,
    config::{Config, GroupChoice},
    error::Error,
    output::{Output, print_json},
    table::aligned,
};

/// A wish may take ten seconds.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// Which parked events of a listener.
#[derive(Clone, Debug, Default)]
pub struct ParkedChoice {
    /// The listener's id.
    pub listener: String,
    /// Only this queue.
    pub queue: Option<String>,
    /// Only of this table: `table` or `schema.table`.
    pub table: Option<String>,
    /// Only of this key, as `list` shows it.
    pub key: Option<String>,
    /// Only with this text in their error.
    pub error: Option<String>,
}

impl ParkedChoice {
    fn takes(&self, queue: &ParkedQueue) -> bool {
        let is = |wanted: &Option<String>, found: &dyn Fn(&str) -> bool| {
            wanted.as_deref().is_none_or(found)
        };
        let said = queue.said.as_deref().unwrap_or_default();
        is(&self.queue, &|name| queue.queue == name)
            && is(&self.table, &|table| {
                queue.table == table || queue.table.ends_with(&format!(".{table}"))
            })
            && is(&self.key, &|key| queue.keys.iter().any(|known| known == key))
            && is(&self.error, &|text| queue.error.contains(text) || said.contains(text))
    }

    /// Whether something is named beside the listener.
    fn is_narrow(&self) -> bool {
        self.queue.is_some() || self.table.is_some() || self.key.is_some() || self.error.is_some()
    }
}

/// What to do with parked events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkedVerb {
    /// Call the handler now, once.
    Retry,
    /// Give the events again from the first one on, and unpark them.
    Replay,
}

/// Prints what waits aside.
///
/// # Errors
///
/// When the config is wrong, or nothing answers.
pub async fn list_parked(
    (file, groups): (&Path, &GroupChoice),
    choice: &ParkedChoice,
    output: Output,
) -> Result<(), Error> {
    let found = find((file, groups), choice, false).await?;
    if output == Output::Json {
        print_json(&json!({ "parked": found }));
        return Ok(());
    }
    if found.is_empty() {
        nothing(choice);
        return Ok(());
    }
    let mut lines = vec![
        ["QUEUE", "STATE", "TABLE", "KEY", "EVENTS", "ATTEMPTS", "SINCE", "ERROR"]
            .map(str::to_owned),
    ];
    lines.extend(found.iter().map(line));
    for line in aligned(&lines) {
        say!("{line}");
    }
    Ok(())
}

/// Says that nothing was found. If something was named, that is a refusal.
fn nothing(choice: &ParkedChoice) -> Exit {
    if choice.is_narrow() {
        say!("nothing that waits aside is like that");
        return Exit::Refused;
    }
    say!("nothing waits aside");
    Exit::Done
}

fn line(queue: &ParkedQueue) -> [String; 8] {
    let error = queue.said.as_ref().unwrap_or(&queue.error);
    [
        queue.queue.clone(),
        queue.state.clone(),
        queue.table.clone(),
        queue.keys.join(" "),
        queue.events.to_string(),
        queue.attempts.to_string(),
        time(queue.since_ms),
        error.clone(),
    ]
}

fn time(ms: u64) -> String {
    if ms == 0 {
        return "-".to_owned();
    }
    let time = std::time::UNIX_EPOCH + Duration::from_millis(ms);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Prints the events that wait aside, a line of JSON each.
///
/// # Errors
///
/// As [`list_parked`].
pub async fn show_parked(
    (file, groups): (&Path, &GroupChoice),
    choice: &ParkedChoice,
) -> Result<(), Error> {
    for queue in find((file, groups), choice, true).await? {
        for event in queue.list {
            say!("{}", event.event.get());
        }
    }
    Ok(())
}

/// Tries parked events now, or replays them. Exits with 69 when some still wait.
///
/// # Errors
///
/// As [`list_parked`].
pub async fn steer_parked(
    (file, groups): (&Path, &GroupChoice),
    choice: &ParkedChoice,
    verb: ParkedVerb,
) -> Result<Exit, Error> {
    let found = find((file, groups), choice, false).await?;
    let queues: Vec<&str> = found.iter().map(|queue| queue.queue.as_str()).collect();
    let verb = match verb {
        ParkedVerb::Retry => "retry",
        ParkedVerb::Replay => "replay",
    };
    if found.is_empty() {
        return Ok(nothing(choice));
    }
    let body = json!({ "queues": queues });
    let outcomes = ask((file, groups), (&choice.listener, verb), &body).await?;
    Ok(tell(&found, &outcomes))
}

/// Drops parked events, once a human has confirmed that; keeps them in a file.
///
/// # Errors
///
/// As [`list_parked`], and when the file cannot be written: then nothing is dropped.
pub async fn drop_parked(
    (file, groups): (&Path, &GroupChoice),
    choice: &ParkedChoice,
    (kept_in, is_confirmed): (Option<PathBuf>, bool),
) -> Result<Exit, Error> {
    let found = find((file, groups), choice, true).await?;
    let events: u64 = found.iter().map(|queue| queue.events).sum();
    if found.is_empty() {
        return Ok(nothing(choice));
    }
    say!("to be dropped, {events} in all:");
    for ParkedQueue { table, keys, events, .. } in &found {
        say!("  {table} {}: {events}", keys.join(" "));
    }
    if !is_confirmed && !confirms(&choice.listener) {
        say!("nothing is dropped");
        return Ok(Exit::Refused);
    }
    let path = kept_in.unwrap_or_else(|| {
        PathBuf::from(format!("parked-{}-{}.jsonl", choice.listener, service::clock::now_ms()))
    });
    keep(&path, &found)?;
    say!("their events are kept in {}", path.display());
    let drops: Vec<Value> = found
        .iter()
        .map(|queue| {
            let entries: Vec<&str> = queue.list.iter().map(|event| event.entry.as_str()).collect();
            json!({ "queue": queue.queue, "entries": entries })
        })
        .collect();
    let body = json!({ "drops": drops });
    let outcomes = ask((file, groups), (&choice.listener, "drop"), &body).await?;
    let exit = tell(&found, &outcomes);
    tell_what_lacks(&choice.listener, &found);
    Ok(exit)
}

/// Says what the target lacks, and how to bring it there.
fn tell_what_lacks(listener: &str, dropped: &[ParkedQueue]) {
    let deleted: Vec<String> = dropped.iter().flat_map(ParkedQueue::deleted).collect();
    if !deleted.is_empty() {
        say!(
            "these rows may still be in the target, for their deletes were dropped: remove them \
             there first, as a full sync sends no deletes:"
        );
        deleted.iter().for_each(|row| say!("  {row}"));
    }
    let tables: BTreeSet<&str> = dropped.iter().map(|queue| queue.table.as_str()).collect();
    for table in tables {
        say!(
            "the target lacks these changes of {table}; to send its rows as they are now: \
             event-worker full-sync start -t {listener} {table} (a row that still fails is set \
             aside again)"
        );
    }
}

fn confirms(listener: &str) -> bool {
    say!("the handler will never get them. To confirm, type the listener's id ({listener}):");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).is_ok() && line.trim() == listener
}

/// Writes the events to a new file, and waits until they are on disk.
fn keep(path: &Path, queues: &[ParkedQueue]) -> Result<(), Error> {
    let write = || {
        let mut file: File = private::options().write(true).create_new(true).open(path)?;
        for event in queues.iter().flat_map(|queue| &queue.list) {
            writeln!(file, "{}", event.event.get())?;
        }
        file.sync_all()
    };
    write().map_err(Error::io(format!("cannot keep the events in {}", path.display())))
}

fn tell(found: &[ParkedQueue], outcomes: &[CallOutcome]) -> Exit {
    let mut exit = Exit::Done;
    for CallOutcome { queue, outcome, error } in outcomes {
        let known = found.iter().find(|known| known.queue == *queue);
        let keys = known.map(|known| known.keys.join(" ")).unwrap_or_default();
        let what = match (outcome.as_str(), error) {
            ("done", _) => "nothing of it waits any more".to_owned(),
            ("moved", _) => "it moves: the events are given in order".to_owned(),
            ("absent", _) => "nothing like that waits aside".to_owned(),
            (_, Some(error)) => format!("failed again: {error}"),
            _ => "nothing has happened yet: see whether the listener runs and is not paused \
                  (event-worker status), on the node that has the partition"
                .to_owned(),
        };
        if !matches!(outcome.as_str(), "done" | "moved") {
            exit = Exit::Refused;
        }
        say!("{queue} {keys}: {what}");
    }
    exit
}

async fn find(
    (file, groups): (&Path, &GroupChoice),
    choice: &ParkedChoice,
    with_events: bool,
) -> Result<Vec<ParkedQueue>, Error> {
    let id = &choice.listener;
    let config = Config::open_to_call(file, groups, Some(id))?;
    config.listener(id)?;
    let path = format!("/api/v1/listeners/{id}/parked?events={with_events}");
    let api = ApiClient::new(&config.listen)?;
    let list = api.get::<ParkedList>(&path, ANSWER_DEADLINE).await?;
    let found: Vec<_> = list.parked.into_iter().filter(|queue| choice.takes(queue)).collect();
    Ok(found)
}

async fn ask(
    (file, groups): (&Path, &GroupChoice),
    (id, verb): (&str, &str),
    body: &Value,
) -> Result<Vec<CallOutcome>, Error> {
    let config = Config::open_to_call(file, groups, Some(id))?;
    let path = format!("/api/v1/listeners/{id}/parked/{verb}");
    Ok(ApiClient::new(&config.listen)?.post(&path, body, ANSWER_DEADLINE).await?)
}
