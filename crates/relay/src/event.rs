//! Records as the events that a handler gets.

use std::{collections::BTreeMap, sync::Arc};

use change_event::{ChangeEvent, Origin};
use event_log::{APP_LOG, AppLog, DATABASE_CHANGE, JSON, PrintedRecord, Record, timestamp};
use handler::{Batch, Event, Handler, Place};
use serde_json::{Value, value::RawValue};
use service::clock::now_ms;

use crate::callback::{Answer, Callback};

/// How a record that is no change event is shown to a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordForm {
    /// As `event-log cat` prints it, with its offset as `EvId`.
    Printed,
    /// As the insert of a row: for handlers that only know change events. The stream is the schema,
    /// the topic is the table, the key is the offset.
    Insert,
}

/// A handler as a callback.
pub struct ByHandler {
    handler: Box<dyn Handler>,
    form: RecordForm,
    stream: String,
    since_ms: u64,
}

impl ByHandler {
    /// Shows the records of this stream to a handler.
    pub fn new(handler: Box<dyn Handler>, form: RecordForm, stream: &str) -> Self {
        Self { handler, form, stream: stream.to_owned(), since_ms: now_ms() }
    }

    fn event(&self, record: &Record, first: u64) -> Event {
        let place = Place {
            topic: Arc::from(record.topic()),
            partition: 0,
            offset: record.offset,
            saved: first,
            is_aside: false,
            assigned_ms: self.since_ms,
        };
        let event = (record.kind == DATABASE_CHANGE).then(|| change(record)).flatten();
        let event = event.unwrap_or_else(|| match self.form {
            RecordForm::Printed => printed(record),
            RecordForm::Insert => insert(&self.stream, record),
        });
        Event { place, ..event }
    }
}

impl Callback for ByHandler {
    async fn call(&mut self, records: &[Record], attempt: u32) -> Answer {
        let first = records.first().map_or(0, |record| record.offset);
        let events: Vec<Event> = records.iter().map(|record| self.event(record, first)).collect();
        let given: Vec<&Event> = events.iter().collect();
        let outcome = self.handler.handle(Batch { events: &given, attempt }).await;
        let ids: Vec<&str> = events.iter().map(Event::ev_id).collect();
        let offsets: Vec<u64> = records.iter().map(|record| record.offset).collect();
        Answer::of(outcome, &ids, &offsets)
    }

    fn remedy(&self) -> &'static str {
        self.handler.remedy()
    }

    async fn end(&mut self) {
        self.handler.rest().await;
    }
}

/// A change event as listeners get it, with its place; `None` when it is none.
fn change(record: &Record) -> Option<Event> {
    let text = std::str::from_utf8(&record.payload).ok()?.trim_ascii();
    let change = ChangeEvent::read_text(text).ok()?;
    let topic = Value::from(record.topic());
    let offset = record.offset;
    let members = text.strip_suffix('}')?;
    let json = format!(r#"{members},"Bus":{{"topic":{topic},"partition":0,"offset":{offset}}}}}"#);
    Some(Event {
        // JSON allows line breaks only between tokens; an event is one line.
        json: if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ") } else { json },
        is_of_full_sync: change.origin == Origin::FullSync,
        is_fetched: false,
        seq: change.seq,
        committed_ms: change.ts,
        ev_id: change.id.into_owned(),
        place: Place::default(),
    })
}

fn printed(record: &Record) -> Event {
    // Texts and numbers can always be written.
    let json = serde_json::to_string(&PrintedRecord::of(record)).unwrap_or_default();
    let members = json.strip_prefix('{').unwrap_or_default();
    let ev_id = record.offset.to_string();
    Event {
        json: format!(r#"{{"EvId":"{ev_id}",{members}"#),
        ev_id,
        seq: Some(record.offset),
        committed_ms: record.time_ms,
        ..Event::default()
    }
}

fn insert(stream: &str, record: &Record) -> Event {
    let (offset, time_ms, origin) = (record.offset, record.time_ms, record.origin);
    let ev_id = format!("{stream}:{offset}");
    let [schema, table, id] = [stream, record.topic(), &ev_id].map(Value::from);
    let data = serde_json::to_string(&columns(record)).unwrap_or_default();
    let json = format!(
        r#"{{"EvId":{id},"Schema":{schema},"TableName":{table},"Action":"insert","PK":{{"offset":{offset}}},"Data":{data},"Seq":{offset},"Origin":"binlog","Ts":{time_ms},"Source":{{"serverId":{origin},"file":{schema},"pos":{offset},"row":0}}}}"#
    );
    let (seq, committed_ms) = (Some(offset), time_ms);
    Event { json, ev_id, seq, committed_ms, ..Event::default() }
}

/// Columns with their values as JSON, with all digits.
type Columns = BTreeMap<String, Box<RawValue>>;

/// The columns of a record: the members of an app log or of a JSON object, or those of the record
/// as it is printed; `offset`; and `receivedAt`, when the log took it in.
fn columns(record: &Record) -> Columns {
    let own = match record.kind {
        APP_LOG | JSON => members(&record.payload),
        _ => None,
    };
    let printed = || members(&serde_json::to_vec(&PrintedRecord::of(record)).unwrap_or_default());
    let mut columns = own.or_else(printed).unwrap_or_default();
    if record.kind == APP_LOG
        && let Ok(log) = AppLog::read(&record.payload)
        && log.time_ns > 0
    {
        set(&mut columns, "time", timestamp(log.time_ns / 1_000_000));
    }
    set(&mut columns, "offset", record.offset);
    set(&mut columns, "receivedAt", timestamp(record.time_ms));
    columns
}

fn members(json: &[u8]) -> Option<Columns> {
    serde_json::from_slice(json).ok()
}

fn set(columns: &mut Columns, name: &str, value: impl Into<Value>) {
    if let Ok(value) = serde_json::value::to_raw_value(&value.into()) {
        columns.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests;
