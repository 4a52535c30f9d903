//! `event-log-relay.toml`: the relays of a process, a table `[relay.NAME]` each.

use std::path::PathBuf;

use bytesize::ByteSize;
use event_log::{ClientConfig, Start, is_stream_name};
use relay::{Directory, OnGone, RecordChoice, RelayConfig, RelaySource};
use serde_json::Value;
use service::{
    BackoffConfig,
    config::{File, Section},
};

use super::{super::point, handler::RelayHandler};

pub(super) const BATCH_BYTES: usize = 8 << 20;
const MAX_BATCH_SIZE: usize = 100_000;

/// A relay and what it calls.
pub(super) struct NamedRelay {
    pub(super) config: RelayConfig,
    pub(super) handler: RelayHandler,
}

/// Reads all relays, or only the one of a name; mistakes are noted.
pub(super) fn read(file: &File, only: Option<&str>) -> Vec<NamedRelay> {
    let tables = file.root().section("relay");
    let mut relays = Vec::new();
    for name in tables.keys() {
        let relay = read_relay(name, &tables.section(name));
        if only.is_none_or(|only| only == name) {
            relays.extend(relay);
        }
    }
    let names: Vec<&str> = tables.keys().collect();
    if names.is_empty() {
        file.root().note("relay", "is missing", "add a table [relay.NAME] for each relay");
    } else if let Some(only) = only.filter(|only| !names.contains(only)) {
        let problem = format!("has no relay {only:?}, which --name asks for");
        tables.note("", &problem, &format!("name one of {}", names.join(", ")));
    }
    // A process must not get the secrets of the other relays either.
    let secrets = file.secret_variables();
    let hide =
        |relay: NamedRelay| NamedRelay { handler: relay.handler.hiding(secrets.clone()), ..relay };
    relays.into_iter().map(hide).collect()
}

fn read_relay(name: &str, section: &Section) -> Option<NamedRelay> {
    if !is_stream_name(name) {
        section.note("", "cannot be the name of a relay", NAME_RULE);
    }
    let handler = RelayHandler::read(section);
    let size = handler.as_ref().map_or(1, RelayHandler::batch_size);
    let stream = section.or("stream", "dbevents".to_owned());
    let source = read_source(name, section);
    let config = RelayConfig {
        name: name.to_owned(),
        stream,
        start: read_start(section),
        choice: RecordChoice {
            topics: section.or("topics", Vec::new()),
            kinds: read_numbers(section, "types"),
            origins: read_numbers(section, "origins"),
            not_origins: read_numbers(section, "notOrigins"),
        },
        batch_size: read_batch_size(section, size),
        batch_bytes: read_batch_bytes(section),
        retry: BackoffConfig::read(&section.section("retry")),
        on_gone: match section.choice("onGone", ["stop", "earliest"]) {
            Some(1) => OnGone::Earliest,
            _ => OnGone::Stop,
        },
        show_output: section.or("showOutput", true),
        source: source?,
    };
    Some(NamedRelay { config, handler: handler? })
}

pub(super) const NAME_RULE: &str =
    "use 1 to 64 letters, digits, _, - and ., the first a letter or digit";

/// Where the place of a relay on a directory is kept, unless the user says so.
pub(super) fn default_state(name: &str) -> PathBuf {
    format!("data/event-log-relay/{name}.json").into()
}

fn read_source(name: &str, section: &Section) -> Option<RelaySource> {
    let from: Option<String> = section.optional("from");
    let directory: Option<PathBuf> = section.optional("directory");
    let state: Option<PathBuf> = section.optional("state");
    if state.is_some() && directory.is_none() {
        section.note("state", "is set without directory", "remove it: a server keeps the place");
    }
    match (from, directory) {
        (Some(from), None) => Some(RelaySource::Server(ClientConfig::read(section, from))),
        (None, Some(log)) => {
            let state = state.unwrap_or_else(|| default_state(name));
            Some(RelaySource::Directory(Directory { log, state }))
        }
        (None, None) => {
            let remedy = r#"set from = "host:port" for a server, or directory = "…" for its files"#;
            section.note("from", "is missing", remedy);
            None
        }
        (Some(_), Some(_)) => {
            section.note("from", "is set beside directory", "keep one of them");
            None
        }
    }
}

fn read_start(section: &Section) -> Start {
    let text: Option<String> = section.optional("start");
    let start = text.map(|text| point::start(&text));
    start.unwrap_or(Ok(Start::Earliest)).unwrap_or_else(|remedy| {
        section.note("start", "is not known", &remedy);
        Start::Earliest
    })
}

fn read_numbers(section: &Section, key: &str) -> Vec<u32> {
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let read = match section.raw(key) {
        None => return Vec::new(),
        Some(Value::Array(list)) => list.iter().map(number).collect::<Option<Vec<u32>>>(),
        Some(_) => None,
    };
    read.unwrap_or_else(|| {
        section.note(key, "is no list of numbers", "write one, for example [1101, 1201]");
        Vec::new()
    })
}

fn read_batch_size(section: &Section, default: usize) -> usize {
    let size = section.or("batchSize", default);
    if !(1..=MAX_BATCH_SIZE).contains(&size) {
        let remedy = format!("write a number from 1 to {MAX_BATCH_SIZE}");
        section.note("batchSize", &format!("{size} is out of range"), &remedy);
    }
    size
}

fn read_batch_bytes(section: &Section) -> usize {
    let size = section.or("batchBytes", ByteSize::b(BATCH_BYTES as u64));
    if !(ByteSize::kib(1)..=ByteSize::gib(1)).contains(&size) {
        section.note("batchBytes", &format!("{size} is out of range"), "write 1KiB to 1GiB");
    }
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
