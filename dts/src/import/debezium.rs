//! Debezium's stored offset: the standalone file, or lines of the topic `connect-offsets`.
//!
//! A key is `["connector",{"server":"topic prefix"}]`, a value is an object. `file` and `pos` are
//! where the current transaction begins (its BEGIN event), or where the next one would begin;
//! `gtids` are the transactions before it. `event` counts the finished events, from BEGIN on, and
//! `row` the rows of the event after these. While an event is in work, each of its records has the
//! number of its `row`s so far. An offset without `row` may be stored only when all rows are done
//! (with a heartbeat, or the end of the transaction). A commit sends no record, so a Debezium that
//! has sent everything is still inside its last transaction.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{BY_HAND, Choice, Sent, Stopped, Tool, choose, gtids_of, java_map};
use crate::error::{Error, Result};

/// Reads the offset of one server (topic prefix); without its name there must be only one.
///
/// # Errors
///
/// Refused, when the bytes are something else, it is not clear which server is meant, or its
/// snapshot is not finished.
pub fn read_debezium(bytes: &[u8], server: Option<&str>) -> Result<Stopped> {
    let entries = if bytes.starts_with(&java_map::MAGIC) {
        read_java(bytes).map_err(|reason| not_offsets(&reason))?
    } else {
        read_lines(bytes).map_err(|reason| not_offsets(&reason))?
    };
    // A later line replaces an earlier one, and removes it when the later one has no value.
    let mut found: Vec<(String, Map<String, Value>)> = Vec::new();
    for (server, offset) in entries {
        found.retain(|(known, _)| *known != server);
        found.extend(offset.filter(has_place).map(|offset| (server, offset)));
    }
    let what = Choice { kind: "server", option: "--server" };
    stopped(choose(found, server, what)?)
}

type OffsetEntries = Vec<(String, Option<Map<String, Value>>)>;

fn read_java(bytes: &[u8]) -> Result<OffsetEntries, String> {
    let mut entries = OffsetEntries::new();
    for (key, value) in java_map::read(bytes)? {
        let Some(server) = server_of(key)? else { continue };
        entries.push((server, value.map(read_object).transpose()?));
    }
    Ok(entries)
}

/// Lines of key, tab and value, as Kafka's console consumer prints them with `print.key=true`.
fn read_lines(bytes: &[u8]) -> Result<OffsetEntries, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let mut entries = OffsetEntries::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = |reason: String| format!("line {}: {reason}", at + 1);
        let (key, value) =
            line.split_once('\t').ok_or_else(|| place("it has no tab after the key".into()))?;
        let Some(server) = server_of(key.as_bytes()).map_err(place)? else { continue };
        let value = Some(value.trim()).filter(|value| *value != "null");
        let value = value.map(|value| read_object(value.as_bytes())).transpose();
        entries.push((server, value.map_err(place)?));
    }
    Ok(entries)
}

/// The server that a key names; `None` for the key of another kind of connector.
fn server_of(key: &[u8]) -> Result<Option<String>, String> {
    let key: (String, Map<String, Value>) = serde_json::from_slice(key)
        .map_err(|error| format!("the key is not [\"connector\",{{…}}]: {error}"))?;
    Ok(key.1.get("server").and_then(Value::as_str).map(str::to_owned))
}

fn read_object(value: &[u8]) -> Result<Map<String, Value>, String> {
    serde_json::from_slice(value).map_err(|error| format!("the value is not an object: {error}"))
}

/// Whether an offset belongs to a connector that reads a binlog.
fn has_place(offset: &Map<String, Value>) -> bool {
    offset.contains_key("file") && offset.contains_key("pos")
}

fn not_offsets(reason: &str) -> Error {
    Error::refused(
        format!("these are not stored offsets of Debezium: {reason}"),
        "name the file of offset.storage.file.filename, or key and value of each record of \
         the topic connect-offsets, with a tab between",
    )
}

#[derive(Deserialize)]
struct Offset {
    file: String,
    pos: u64,
    #[serde(default)]
    gtids: Option<String>,
    #[serde(default)]
    event: u64,
    #[serde(default)]
    row: u64,
}

fn stopped(offset: Map<String, Value>) -> Result<Stopped> {
    check_snapshot(&offset)?;
    let offset: Offset = serde_json::from_value(Value::Object(offset))
        .map_err(|error| not_offsets(&error.to_string()))?;
    Ok(Stopped {
        tool: Tool::Debezium,
        gtids: gtids_of(offset.gtids.as_deref())?,
        file: offset.file,
        pos: offset.pos,
        sent: Sent { events: offset.event, rows: offset.row },
    })
}

fn check_snapshot(offset: &Map<String, Value>) -> Result<()> {
    let is_set = |name: &str| match offset.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty() && text != "false",
        Some(_) => true,
    };
    if is_set("snapshot") && !is_set("snapshot_completed") {
        return Err(Error::refused(
            "Debezium's snapshot was not finished, so its target lacks tables",
            format!("let it finish and stream until it has stored an offset, or {BY_HAND}"),
        ));
    }
    if is_set("incremental_snapshot_primary_key") {
        return Err(Error::refused(
            "an incremental snapshot of Debezium is running",
            "let it finish, or stop it by the signal stop-snapshot, before Debezium is stopped",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
