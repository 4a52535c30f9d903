//! An event on its way to a handler: the bytes of the record, and what the listener needs to know
//! of it.

mod bigint;

use std::{
    fmt::Write,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use change_event::{ChangeEvent, Origin, order_key};
use event_bus::{Delivery, Partition};
use handler::{Event, Place};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::table_name::TableName;

/// What an event needs in memory besides its text, roughly.
const OVERHEAD_BYTES: usize = 160;

/// An event that a listener has taken from the bus.
#[derive(Clone, Debug)]
pub(crate) struct TakenEvent {
    /// As the handler gets it: the record's JSON as it lies on the bus, with `"Bus":{…}` added at
    /// its end.
    shown: Event,
    partition: Partition,
    offset: u64,
    /// A hash of its topic and key. All keys that may mean the same row have the same hash. When
    /// other keys share the hash, one event waits for the other.
    key: u64,
    /// Calls that failed with it.
    failures: u32,
    /// Its topic and its key as they are on the bus, where they are needed later.
    record: Option<RecordKey>,
    /// Whether it is kept aside on the bus.
    pub(crate) is_kept: bool,
    /// Which assignment of its partition it came with.
    pub(crate) generation: u64,
    /// Which table it is of, for those who count.
    table: Arc<TableName>,
    /// The number of the run that gives it once more, if a replay does.
    replay: Option<u64>,
}

/// The topic and the key of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordKey {
    pub(crate) topic: Arc<str>,
    pub(crate) key: Box<[u8]>,
}

/// An event without its places: what is kept of it for later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventFacts<'a> {
    pub(crate) json: &'a str,
    pub(crate) ev_id: &'a str,
    pub(crate) seq: Option<u64>,
    pub(crate) committed_ms: u64,
    pub(crate) is_of_full_sync: bool,
    pub(crate) failures: u32,
    pub(crate) table: Arc<TableName>,
}

impl TakenEvent {
    /// Makes the event of a delivery. `text` is the value of the delivery, and `change` was read
    /// from it.
    pub(crate) fn new(
        (delivery, text): (&Delivery, &str),
        change: ChangeEvent<'_>,
        generation: u64,
    ) -> Self {
        Self {
            shown: Event {
                json: add_bus(delivery, text),
                is_of_full_sync: change.origin == Origin::FullSync,
                is_fetched: false,
                ev_id: change.id.into_owned(),
                seq: change.seq,
                committed_ms: change.ts,
                place: place_at(&delivery.partition, delivery.offset),
            },
            partition: delivery.partition.clone(),
            offset: delivery.offset,
            key: key_of(&delivery.topic, &delivery.key),
            failures: 0,
            record: None,
            is_kept: false,
            generation,
            replay: None,
            table: Arc::default(),
        }
    }

    /// Makes an event again of what was kept of it.
    pub(crate) fn restored(
        facts: &EventFacts<'_>,
        record: RecordKey,
        (partition, offset, generation): (&Partition, u64, u64),
    ) -> Self {
        Self {
            shown: Event {
                json: facts.json.to_owned(),
                ev_id: facts.ev_id.to_owned(),
                seq: facts.seq,
                committed_ms: facts.committed_ms,
                is_of_full_sync: facts.is_of_full_sync,
                is_fetched: false,
                place: place_at(partition, offset),
            },
            partition: partition.clone(),
            offset,
            key: key_of(&record.topic, &record.key),
            failures: facts.failures,
            table: Arc::clone(&facts.table),
            record: Some(record),
            replay: None,
            is_kept: true,
            generation,
        }
    }

    /// The same event, which knows the topic and the key of its record.
    pub(crate) fn with_record_key(self, delivery: &Delivery) -> Self {
        let (topic, key) = (Arc::clone(&delivery.topic), Box::from(&*delivery.key));
        Self { record: Some(RecordKey { topic, key }), ..self }
    }

    /// The topic and the key of its record, where they were kept.
    pub(crate) fn record(&self) -> Option<&RecordKey> {
        self.record.as_ref()
    }

    /// What is kept of it.
    pub(crate) fn facts(&self) -> EventFacts<'_> {
        EventFacts {
            json: &self.shown.json,
            ev_id: &self.shown.ev_id,
            seq: self.shown.seq,
            committed_ms: self.shown.committed_ms,
            is_of_full_sync: self.shown.is_of_full_sync,
            failures: self.failures,
            table: Arc::clone(&self.table),
        }
    }

    /// The same event, given once more by the run of a replay: its `Origin` says so.
    pub(crate) fn replayed_by(self, run: u64) -> Self {
        let json = with_origin(&self.shown.json, Origin::Replay);
        let json = json.unwrap_or(self.shown.json);
        let shown = Event { json, is_of_full_sync: false, ..self.shown };
        Self { shown, replay: Some(run), ..self }
    }

    /// The same event, which is counted as one of a table.
    pub(crate) fn counted_as(self, table: Arc<TableName>) -> Self {
        Self { table, ..self }
    }

    /// The same event, which knows how far its partition is saved, and since when it is ours.
    pub(crate) fn with_standing(mut self, (saved, assigned_ms): (u64, u64)) -> Self {
        (self.shown.place.saved, self.shown.place.assigned_ms) = (saved, assigned_ms);
        self
    }

    /// The same event, which is kept aside: its partition is saved beyond it.
    pub(crate) fn kept_aside(mut self) -> Self {
        self.shown.place.is_aside = true;
        self
    }

    /// The table that it is counted as one of.
    pub(crate) fn table(&self) -> &Arc<TableName> {
        &self.table
    }

    /// The same event with whole numbers that a double would round as texts.
    pub(crate) fn with_texts_for_big_numbers(self) -> Self {
        let shown = Event { json: bigint::quote(&self.shown.json), ..self.shown };
        Self { shown, ..self }
    }

    /// As the handler gets it.
    pub(crate) fn shown(&self) -> &Event {
        &self.shown
    }

    /// See [`Event::json`].
    pub(crate) fn json(&self) -> &str {
        &self.shown.json
    }

    /// See [`Event::ev_id`].
    pub(crate) fn ev_id(&self) -> &str {
        &self.shown.ev_id
    }

    /// Where the event is on the bus.
    pub(crate) fn place(&self) -> (&Partition, u64) {
        (&self.partition, self.offset)
    }

    /// See [`Event::seq`].
    pub(crate) fn seq(&self) -> Option<u64> {
        self.shown.seq
    }

    /// See [`Event::committed_ms`].
    pub(crate) fn committed_ms(&self) -> u64 {
        self.shown.committed_ms
    }

    /// See [`Event::is_of_full_sync`].
    pub(crate) fn is_of_full_sync(&self) -> bool {
        self.shown.is_of_full_sync
    }

    /// The run that gives it once more; `None` for an event of the live stream.
    pub(crate) fn replay(&self) -> Option<u64> {
        self.replay
    }

    /// The same for all events of its topic and key.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// How many calls failed with it, since it was last taken from the bus.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// A call failed with it.
    pub(crate) fn note_failure(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let key = self.record.as_ref().map_or(0, |record| record.key.len());
        self.shown.json.len() + self.shown.ev_id.len() + key + OVERHEAD_BYTES
    }

    /// Whether it is the first half of an update that changed the key: the delete of the old key.
    pub(crate) fn is_first_half(&self) -> bool {
        self.ev_id().ends_with('d')
    }

    /// The id of the second half, if it is the first half of an update that changed the key.
    pub(crate) fn second_half(&self) -> Option<String> {
        Some(self.ev_id().strip_suffix('d')?.to_owned() + "i")
    }

    /// Whether `next` is the second half of an update that changed the key, and this the first.
    pub(crate) fn is_split_from(&self, next: &Self) -> bool {
        let halves = (self.ev_id().strip_suffix('d'), next.ev_id().strip_suffix('i'));
        matches!(halves, (Some(first), Some(second)) if first == second)
    }
}

fn place_at(partition: &Partition, offset: u64) -> Place {
    let (topic, partition) = (Arc::clone(&partition.topic), partition.number);
    Place { topic, partition, offset, ..Place::default() }
}

fn key_of(topic: &Arc<str>, key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (topic, order_key(key)).hash(&mut hasher);
    hasher.finish()
}

/// The value with `,"Bus":{…}` before its last brace. Everything else stays the same, byte by byte,
/// except that a line break becomes a space, because an event is one line. JSON allows line breaks
/// only between tokens.
fn add_bus(delivery: &Delivery, text: &str) -> String {
    /// What is added beside the topic, with numbers as long as they can be.
    const MAX_ADDED_BYTES: usize = 80;
    let text = text.trim_ascii_end();
    let members = text.strip_suffix('}').unwrap_or(text);
    let topic = delivery.topic.as_ref();
    let mut json = String::with_capacity(members.len() + topic.len() + MAX_ADDED_BYTES);
    json.push_str(members);
    json.push_str(r#","Bus":{"topic":"#);
    push_json(&mut json, topic);
    let (number, offset) = (delivery.partition.number, delivery.offset);
    // Writing to a string does not fail.
    let _ = write!(json, r#","partition":{number},"offset":{offset}}}}}"#);
    if memchr::memchr2(b'\n', b'\r', json.as_bytes()).is_some() {
        json = json.replace(['\n', '\r'], " ");
    }
    json
}

/// The event with another `Origin`; `None` where it has none.
fn with_origin(json: &str, origin: Origin) -> Option<String> {
    #[derive(Deserialize)]
    struct Found<'a> {
        #[serde(borrow, rename = "Origin")]
        origin: &'a RawValue,
    }
    let found = serde_json::from_str::<Found<'_>>(json).ok()?.origin.get();
    // A part of the text, so it begins at or after the text's beginning.
    let at = found.as_ptr().addr().checked_sub(json.as_ptr().addr())?;
    let (before, after) = (json.get(..at)?, json.get(at + found.len()..)?);
    Some([before, "\"", origin.as_str(), "\"", after].concat())
}

fn push_json(json: &mut String, text: &str) {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        json.extend(["\"", text, "\""]);
    } else {
        json.push_str(&serde_json::Value::from(text).to_string());
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;

    use super::*;

    pub(crate) fn delivery(offset: u64, value: &str) -> Delivery {
        Delivery {
            partition: Partition { topic: "stream".into(), number: 2 },
            offset,
            topic: "db.s.t".into(),
            key: Bytes::new(),
            value: Bytes::copy_from_slice(value.as_bytes()),
            headers: event_bus::Headers::default(),
        }
    }

    pub(crate) fn value(ev_id: &str) -> String {
        [
            r#"{"EvId":""#,
            ev_id,
            r#"","Schema":"s","TableName":"t","Action":"insert","PK":{},"Data":{},"#,
            r#""Origin":"binlog","Ts":7,"#,
            r#""Source":{"serverId":1,"file":"b.1","pos":4,"row":0}}"#,
        ]
        .concat()
    }

    /// Each event has a key of its own.
    pub(crate) fn event(offset: u64, ev_id: &str) -> TakenEvent {
        event_of_key(offset, ev_id, ev_id)
    }

    pub(crate) fn event_of_key(offset: u64, ev_id: &str, key: &str) -> TakenEvent {
        let value = value(ev_id);
        let key = Bytes::copy_from_slice(key.as_bytes());
        let delivery = Delivery { key, ..delivery(offset, &value) };
        TakenEvent::new((&delivery, &value), ChangeEvent::read_text(&value).unwrap(), 0)
    }

    pub(crate) fn event_of(partition: &Partition, offset: u64, generation: u64) -> TakenEvent {
        let value = value("g:1#0");
        let delivery = Delivery { partition: partition.clone(), ..delivery(offset, &value) };
        TakenEvent::new((&delivery, &value), ChangeEvent::read_text(&value).unwrap(), generation)
    }

    #[test]
    fn the_records_bytes_go_through_unchanged_but_for_the_place_at_their_end() {
        let data = r#""Data":{ "d":1.50,"x":1e400,"u":18446744073709551615,"s":"\u0041\/" }"#;
        let value = value("g:1#0").replace(r#""Data":{}"#, data);
        let change = ChangeEvent::read(value.as_bytes()).unwrap();
        let event = TakenEvent::new((&delivery(9, &value), &value), change, 0);
        let bus = r#","Bus":{"topic":"db.s.t","partition":2,"offset":9}}"#;
        assert_eq!(event.json(), format!("{}{bus}", value.strip_suffix('}').unwrap()));
        assert_eq!((event.ev_id(), event.committed_ms()), ("g:1#0", 7));
    }

    #[test]
    fn a_topic_of_any_characters_is_told_as_it_is() {
        let value = value("1");
        for topic in ["plain.t", "a \"b\\c", "t\u{e4}\n"] {
            let delivery = Delivery { topic: topic.into(), ..delivery(1, &value) };
            let change = ChangeEvent::read_text(&value).unwrap();
            let event = TakenEvent::new((&delivery, &value), change, 0);
            let parsed: serde_json::Value = serde_json::from_str(event.json()).unwrap();
            assert_eq!(parsed["Bus"]["topic"], topic);
        }
    }

    #[test]
    fn a_record_with_line_breaks_becomes_one_line_with_the_same_meaning() {
        let value = value("1").replace(',', ",\r\n ") + "\n";
        let change = ChangeEvent::read(value.as_bytes()).unwrap();
        let event = TakenEvent::new((&delivery(1, &value), &value), change, 0);
        assert!(!event.json().contains(['\n', '\r']));
        let parsed: serde_json::Value = serde_json::from_str(event.json()).unwrap();
        assert_eq!((&parsed["EvId"], &parsed["Bus"]["offset"]), (&"1".into(), &1.into()));
    }

    #[test]
    fn an_event_that_comes_once_more_says_so_and_nothing_else_of_it_changes() {
        let value = value("1").replace(r#""Data":{}"#, r#""Data":{"Origin":"binlog"}"#);
        let change = ChangeEvent::read_text(&value).unwrap();
        let event = TakenEvent::new((&delivery(9, &value), &value), change, 3);
        let again = event.clone().replayed_by(7);
        let expected =
            event.json().replace(r#""Origin":"binlog","Ts""#, r#""Origin":"replay","Ts""#);
        assert_eq!(again.json(), expected);
        assert_eq!(
            (again.replay(), again.place(), again.key()),
            (Some(7), event.place(), event.key())
        );
    }

    #[test]
    fn the_halves_of_a_changed_key_know_each_other() {
        assert!(event(1, "g:7#5d").is_split_from(&event(2, "g:7#5i")));
        assert!(!event(1, "g:7#5d").is_split_from(&event(2, "g:7#6i")));
        assert!(!event(1, "g:7#5i").is_split_from(&event(2, "g:7#5d")));
    }
}
