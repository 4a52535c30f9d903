//! A parked event as the bus keeps it: a line of JSON that says what it is, then its key, then the
//! event as the handler gets it.

use std::sync::Arc;

use bytes::Bytes;
use event_bus::{Kept, Partition};
use serde::{Deserialize, Serialize};

use crate::{
    event::{EventFacts, RecordKey, TakenEvent},
    table_name::TableName,
};

/// A parked event that was read, and what waits with it.
#[derive(Clone, Debug)]
pub(crate) struct ParkedEntry {
    pub(crate) event: TakenEvent,
    pub(crate) about: About,
}

/// What is kept of an event besides its key and its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct About {
    pub(crate) ev_id: String,
    pub(crate) topic: String,
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) offset: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seq: Option<u64>,
    pub(crate) committed_ms: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) full_sync: bool,
    #[serde(default)]
    pub(crate) failures: u32,
    /// Events with the same one wait for each other.
    pub(crate) queue: String,
    /// Why the event failed; events that only wait behind it have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<Trouble>,
    /// How long the key is, in bytes.
    key_bytes: usize,
}

/// Why an event failed, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trouble {
    /// Failed calls for the event alone.
    pub(crate) attempts: u32,
    /// When the first of them failed, in ms since the Unix epoch.
    pub(crate) since_ms: u64,
    /// When the event was parked: since then it is not tried by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parked_ms: Option<u64>,
    pub(crate) error: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) said: Option<String>,
}

/// What an event takes on the bus and in memory while it waits aside, at most, but for what the
/// handler says of it.
pub(super) fn cost(event: &TakenEvent) -> usize {
    /// Names of members, numbers, and how a bus keeps an entry.
    const OVERHEAD_BYTES: usize = 600;
    let names = event.record().map_or(0, |record| 4 * record.topic.len());
    event.bytes() + 2 * event.ev_id().len() + names + OVERHEAD_BYTES
}

/// The key of an event's entry: events of a partition are in the order of these texts.
pub(super) fn key_of(event: &TakenEvent) -> String {
    format!("{:020}.{}", event.place().1, event.ev_id())
}

/// The entry of an event. An event without a record key cannot be parked.
pub(super) fn encode(event: &TakenEvent, queue: &str, trouble: Option<&Trouble>) -> Option<Bytes> {
    let RecordKey { topic, key } = event.record()?;
    let facts = event.facts();
    let about = About {
        ev_id: facts.ev_id.to_owned(),
        topic: topic.to_string(),
        schema: facts.table.schema.clone(),
        table: facts.table.table.clone(),
        offset: event.place().1,
        seq: facts.seq,
        committed_ms: facts.committed_ms,
        full_sync: facts.is_of_full_sync,
        failures: facts.failures,
        queue: queue.to_owned(),
        trouble: trouble.cloned(),
        key_bytes: key.len(),
    };
    // Texts and numbers always serialise.
    let mut entry = serde_json::to_vec(&about).unwrap_or_default();
    entry.push(b'\n');
    entry.extend_from_slice(key);
    entry.extend_from_slice(facts.json.as_bytes());
    Some(entry.into())
}

/// The order in which the events of a queue come again: what failed first, then by number. The
/// events of a partition are in the order of their offsets in any case.
pub(crate) fn order(one: &ParkedEntry, other: &ParkedEntry) -> std::cmp::Ordering {
    let place = |ParkedEntry { event, about }: &ParkedEntry| {
        let (partition, offset) = event.place();
        (about.trouble.is_none(), about.seq, partition.clone(), offset)
    };
    place(one).cmp(&place(other))
}

/// Reads an entry of a partition that is ours in this generation.
///
/// # Errors
///
/// What is wrong with an entry that was not written by [`encode`].
pub(crate) fn decode(kept: &Kept, generation: u64) -> Result<ParkedEntry, String> {
    let bytes = &kept.value;
    let line = memchr::memchr(b'\n', bytes).ok_or("it has no first line")?;
    let about: About = serde_json::from_slice(&bytes[..line]).map_err(|error| error.to_string())?;
    let rest = &bytes[line + 1..];
    let (key, json) = rest.split_at_checked(about.key_bytes).ok_or("its key is cut off")?;
    let json = std::str::from_utf8(json).map_err(|error| error.to_string())?;
    let facts = EventFacts {
        json,
        ev_id: &about.ev_id,
        seq: about.seq,
        committed_ms: about.committed_ms,
        is_of_full_sync: about.full_sync,
        failures: about.failures,
        table: Arc::new(TableName { schema: about.schema.clone(), table: about.table.clone() }),
    };
    let record = RecordKey { topic: Arc::from(&*about.topic), key: key.into() };
    let partition: &Partition = &kept.partition;
    let event = TakenEvent::restored(&facts, record, (partition, about.offset, generation));
    Ok(ParkedEntry { event, about })
}
