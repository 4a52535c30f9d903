//! What waits aside, queue by queue.

use std::collections::BTreeMap;

use event_bus::Kept;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::listener::parking::entry::{self, ParkedEntry};

/// All queues of a listener.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ParkedList {
    pub(crate) parked: Vec<ParkedQueue>,
}

/// Events that wait for each other: those of a key, behind one that failed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ParkedQueue {
    /// The name of the queue.
    pub(crate) queue: String,
    /// `parked`: it waits for a human. `retrying`: the first event is tried again by itself.
    pub(crate) state: String,
    /// `schema.table` of the first event.
    pub(crate) table: String,
    /// The keys; more than one when the key of a row changed.
    pub(crate) keys: Vec<String>,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// Failed calls for the first event alone.
    pub(crate) attempts: u32,
    /// Since when it fails, in ms since the Unix epoch.
    pub(crate) since_ms: u64,
    pub(crate) parked_ms: Option<u64>,
    pub(crate) error: String,
    pub(crate) said: Option<String>,
    /// The first event, and its place on the bus.
    pub(crate) first_ev_id: String,
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    /// The events, where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) list: Vec<ParkedEvent>,
}

/// A parked event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ParkedEvent {
    /// The key of its entry.
    pub(crate) entry: String,
    /// As the handler gets it.
    pub(crate) event: Box<RawValue>,
}

/// The part of an event that says which row it is of, and what happened to the row.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RowOf {
    schema: String,
    table_name: String,
    action: String,
    #[serde(rename = "PK")]
    pk: serde_json::Value,
}

impl ParkedQueue {
    /// The rows that some event here deletes, where the events were asked for.
    pub(crate) fn deleted(&self) -> Vec<String> {
        let rows = self.list.iter().map(|event| serde_json::from_str(event.event.get()));
        let rows = rows.filter_map(Result::<RowOf, _>::ok).filter(|row| row.action == "delete");
        let named = rows.map(|row| format!("{}.{} {}", row.schema, row.table_name, row.pk));
        let mut named: Vec<String> = named.collect();
        named.dedup();
        named
    }
}

/// The queues of entries, those whose first event failed before the others; with all events, or
/// without.
///
/// # Errors
///
/// What is wrong with an entry.
pub(crate) fn queues(kept: &[Kept], with_events: bool) -> Result<Vec<ParkedQueue>, String> {
    let entries = kept.iter().map(|one| Ok((one, entry::decode(one, 0)?)));
    let mut entries = entries.collect::<Result<Vec<_>, String>>()?;
    entries.sort_by(|(_, one), (_, other)| entry::order(one, other));
    let (mut queues, mut numbers) = (Vec::<ParkedQueue>::new(), BTreeMap::new());
    for (one, entry) in entries {
        let number = *numbers.entry(entry.about.queue.clone()).or_insert_with(|| {
            queues.push(begin(&entry));
            queues.len() - 1
        });
        let Some(queue) = queues.get_mut(number) else { continue };
        add(queue, &entry);
        if with_events {
            let event = RawValue::from_string(entry.event.json().to_owned());
            let event = event.map_err(|error| error.to_string())?;
            queue.list.push(ParkedEvent { entry: one.key.clone(), event });
        }
    }
    Ok(queues)
}

fn begin(ParkedEntry { event, about }: &ParkedEntry) -> ParkedQueue {
    let RowOf { schema, table_name, .. } = serde_json::from_str(event.json()).unwrap_or_default();
    let (partition, offset) = event.place();
    let trouble = about.trouble.clone().unwrap_or_default();
    ParkedQueue {
        queue: about.queue.clone(),
        state: if trouble.parked_ms.is_some() { "parked" } else { "retrying" }.to_owned(),
        table: format!("{schema}.{table_name}"),
        attempts: trouble.attempts,
        since_ms: trouble.since_ms,
        parked_ms: trouble.parked_ms,
        error: trouble.error,
        said: trouble.said,
        first_ev_id: event.ev_id().to_owned(),
        topic: partition.topic.to_string(),
        partition: partition.number,
        offset,
        ..ParkedQueue::default()
    }
}

fn add(queue: &mut ParkedQueue, ParkedEntry { event, .. }: &ParkedEntry) {
    queue.events += 1;
    queue.bytes += event.bytes() as u64;
    if let Some(record) = event.record() {
        let key = String::from_utf8_lossy(&record.key).into_owned();
        if !queue.keys.contains(&key) {
            queue.keys.push(key);
        }
    }
}
