//! One `[listeners.ID]` table.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use bytesize::ByteSize;
use event_bus::{BusConfig, GroupTable, Start, Subscription};
use serde_json::Value;
use service::{BackoffConfig, config::Section};

use super::{
    HandlerConfig,
    group::{DEFAULT_GROUP, NAME_RULE, is_name},
    park::ParkConfig,
    sizes::{read_bytes, read_count},
};

/// The config of a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerConfig {
    /// The group of listeners that it belongs to. A process may run only some groups.
    pub group: String,
    /// Patterns of schema and table; empty means every table.
    pub subscribe: Vec<(String, String)>,
    /// Which kinds of change.
    pub actions: Actions,
    /// If not empty: only updates that change one of these columns.
    pub columns: Vec<String>,
    /// How many handler calls may run at once.
    pub workers: usize,
    /// How many events a call gets at most.
    pub batch_size: usize,
    /// How many bytes of events a call gets at most; one event may be larger.
    pub batch_bytes: usize,
    /// How many bytes of events may wait for the handler. One poll may bring more.
    pub max_buffer_bytes: usize,
    /// Where a new listener begins.
    pub start: Start,
    /// Whether a new listener first gets all rows of its tables, by full syncs.
    pub full_sync_first: bool,
    /// How long to wait before a failed batch is tried again.
    pub retry: BackoffConfig,
    /// When a failing event is parked with its key; `None`: it is tried again for ever, and the
    /// events after it wait.
    pub park: Option<ParkConfig>,
    /// Whether the listener takes full syncs. `false` for a handler that must not repeat its work
    /// for rows that did not change.
    pub full_sync: bool,
    /// How whole numbers above 2^53 reach the handler.
    pub big_int: BigInt,
    /// Whether log, status and API show what a handler says of its failures. That may contain
    /// values of rows.
    pub show_output: bool,
    /// What is called.
    pub handler: HandlerConfig,
    /// Of two environments, the one with the greater version runs the listener.
    pub version: u64,
    /// After so long the process ends by itself, and a new one replaces it.
    pub life_time: Option<Duration>,
}

/// How whole numbers that a double does not hold exactly are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BigInt {
    /// As numbers, with all digits.
    Number,
    /// As texts, for languages in which every number is a double.
    Text,
}

/// Which kinds of change a listener wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions {
    /// New rows.
    pub insert: bool,
    /// Changed rows.
    pub update: bool,
    /// Deleted rows.
    pub delete: bool,
}

/// How many events a call gets by default.
const BATCH_SIZE: usize = 128;

/// The same of a sink: a call is a request or a transaction, which costs more than its rows. With
/// larger batches nothing is gained any more.
const SINK_BATCH_SIZE: usize = 1000;

impl ListenerConfig {
    pub(super) fn read(section: &Section) -> Self {
        let handler = HandlerConfig::read(section);
        let batch_size = match handler {
            HandlerConfig::Sink(_) => SINK_BATCH_SIZE,
            _ => BATCH_SIZE,
        };
        Self {
            group: read_group(section),
            subscribe: read_subscribe(section),
            actions: Actions::read(section),
            columns: section.or("columns", Vec::new()),
            workers: read_count(section, "workers", 1, 256),
            batch_size: read_count(section, "batchSize", batch_size, 100_000),
            batch_bytes: read_bytes(section, "batchBytes", ByteSize::mib(8)),
            max_buffer_bytes: read_bytes(section, "maxBufferBytes", ByteSize::mib(64)),
            start: read_start(section),
            full_sync_first: is_full_sync(section),
            retry: BackoffConfig::read(&section.section("retry")),
            park: ParkConfig::read(section),
            full_sync: read_full_sync(section),
            big_int: match section.choice("bigint", ["number", "string"]) {
                Some(1) => BigInt::Text,
                _ => BigInt::Number,
            },
            show_output: section.or("showOutput", true),
            handler,
            version: section.or("version", 0),
            life_time: read_life_time(section),
        }
    }

    /// Patterns of schema and table.
    pub(super) fn tables(&self) -> Cow<'_, [(String, String)]> {
        match &self.subscribe[..] {
            [] => Cow::Owned(vec![("*".to_owned(), "*".to_owned())]),
            some => Cow::Borrowed(some),
        }
    }

    /// The subscription of this listener. Only a supervisor sets `instance`, because somebody may
    /// start the same listener twice by hand.
    pub fn subscription(&self, id: &str, bus: &BusConfig) -> Subscription {
        Subscription {
            group: format!("{}.listener.{id}", bus.topic_prefix),
            topics: bus.topics().filter(&self.tables()),
            start: self.start,
            client: format!("event-worker {id}, pid {}", std::process::id()),
            instance: None,
            addressee: Some((full_sync::LISTENER_HEADER.to_owned(), id.to_owned())),
            // Also without `park`: what was parked before must be known.
            table: Some(GroupTable { name: parked_table(id), is_optional: self.park.is_none() }),
        }
    }
}

/// The table on the bus that keeps what a listener has parked.
pub(crate) fn parked_table(id: &str) -> String {
    format!("parked.{id}")
}

impl Actions {
    const ALL: Self = Self { insert: true, update: true, delete: true };

    fn read(section: &Section) -> Self {
        let Some(words) = section.optional::<Vec<String>>("actions") else { return Self::ALL };
        for word in &words {
            if !["insert", "update", "delete"].contains(&word.as_str()) {
                let problem = format!("{word:?} is not known");
                section.note("actions", &problem, "write insert, update or delete");
            }
        }
        if words.is_empty() {
            section.note("actions", "is empty", "name at least one, or leave it out for all");
        }
        let has = |word: &str| words.iter().any(|other| other == word);
        Self { insert: has("insert"), update: has("update"), delete: has("delete") }
    }
}

fn read_group(section: &Section) -> String {
    let group = section.or("group", DEFAULT_GROUP.to_owned());
    if !is_name(&group) {
        section.note("group", "cannot be the name of a group", NAME_RULE);
    }
    group
}

fn read_subscribe(section: &Section) -> Vec<(String, String)> {
    if matches!(section.raw("subscribe"), Some(Value::Array(_) | Value::String(_))) {
        let remedy = "name tables below their schema: subscribe = { shop = [\"item\"] }";
        section.note("subscribe", "is no table of schemas", remedy);
        return Vec::new();
    }
    let subscribe = section.section("subscribe");
    if subscribe.is_present() && subscribe.keys().next().is_none() {
        section.note("subscribe", "is empty", "name a schema, or leave it out for every table");
    }
    let mut globs = Vec::new();
    for schema in subscribe.keys() {
        let tables = subscribe.or::<Vec<String>>(schema, Vec::new());
        if tables.is_empty() {
            globs.push((schema.to_owned(), "*".to_owned()));
        }
        globs.extend(tables.into_iter().map(|table| (schema.to_owned(), table)));
    }
    globs
}

fn read_start(section: &Section) -> Start {
    const FORMS: &str =
        r#"write "latest", "earliest", "full-sync" or { time = "2026-01-31T12:00:00Z" }"#;
    let time = |table: &serde_json::Map<String, Value>| {
        let text = table.get("time").filter(|_| table.len() == 1)?.as_str()?;
        humantime::parse_rfc3339_weak(text).ok().filter(|time| *time >= SystemTime::UNIX_EPOCH)
    };
    let problem = match section.raw("start") {
        None => return Start::Latest,
        Some(Value::String(word)) if word == "latest" => return Start::Latest,
        Some(Value::String(word)) if word == "earliest" => return Start::Earliest,
        // The existing rows come by full syncs.
        Some(Value::String(_)) if is_full_sync(section) => return Start::Latest,
        Some(Value::Object(table)) => match time(table) {
            Some(time) => return Start::Time(time),
            None => "is not a time",
        },
        Some(_) => "is not known",
    };
    section.note("start", problem, FORMS);
    Start::Latest
}

fn is_full_sync(section: &Section) -> bool {
    section.raw("start").and_then(Value::as_str) == Some("full-sync")
}

/// With a shorter life the process would only start and end.
fn read_life_time(section: &Section) -> Option<Duration> {
    let life_time = section.optional("lifeTime")?;
    if life_time < Duration::from_secs(1) {
        section.note("lifeTime", "is below a second", "leave it out, or write one of hours");
    }
    Some(life_time)
}

/// Whether the listener takes full syncs.
fn read_full_sync(section: &Section) -> bool {
    let takes = section.or("fullSync", true);
    if !takes && is_full_sync(section) {
        let remedy = "remove it, or let it begin at another `start`";
        section.note("fullSync", "is false, while `start` asks for full syncs", remedy);
    }
    takes
}
