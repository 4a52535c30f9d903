//! An event, as a handler gets it.

use std::sync::Arc;

/// A change of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// See [`Event::json`].
    pub json: String,
    /// See [`Event::ev_id`].
    pub ev_id: String,
    /// See [`Event::seq`].
    pub seq: Option<u64>,
    /// See [`Event::committed_ms`].
    pub committed_ms: u64,
    /// See [`Event::is_of_full_sync`].
    pub is_of_full_sync: bool,
    /// Whether the row comes from its table and not from the change: it may be newer, and nobody
    /// knows which columns the change changed.
    pub is_fetched: bool,
    /// See [`Event::place`].
    pub place: Place,
}

/// Where an event was taken from: together with its id the same each time that it is delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// A number of the ordered records of this topic,
    pub topic: Arc<str>,
    /// in this partition.
    pub partition: u32,
    /// The number of the record there.
    pub offset: u64,
    /// Records below this one were done when the event was taken: they do not come again, unless
    /// they were kept aside or the listener is set back.
    pub saved: u64,
    /// Whether the event was kept aside: then it may be below.
    pub is_aside: bool,
    /// Since when the listener's process has the partition, in ms since the Unix epoch.
    pub assigned_ms: u64,
}

impl Event {
    /// The JSON text (`docs/event-format.md`): one line, without a line break.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The event's id: the same each time that the event is delivered.
    pub fn ev_id(&self) -> &str {
        &self.ev_id
    }

    /// The number of the event: a version number, which only grows over all events of one `dts`.
    /// `None` in records of an old `dts` that wrote no numbers.
    pub fn seq(&self) -> Option<u64> {
        self.seq
    }

    /// When the change was committed in the source, in ms since the Unix epoch; 0 if unknown.
    pub fn committed_ms(&self) -> u64 {
        self.committed_ms
    }

    /// Where it was taken from.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether a full sync sent it, and not a change.
    pub fn is_of_full_sync(&self) -> bool {
        self.is_of_full_sync
    }
}

/// The events as one JSON array, without line breaks.
pub fn json_array(events: &[&Event]) -> Vec<u8> {
    let mut array = Vec::new();
    write_json_array(events, &mut array);
    array
}

/// Appends the same to a buffer.
pub fn write_json_array(events: &[&Event], array: &mut Vec<u8>) {
    let bytes: usize = events.iter().map(|event| event.json.len() + 1).sum();
    array.reserve(bytes + 2);
    array.push(b'[');
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            array.push(b',');
        }
        array.extend_from_slice(event.json.as_bytes());
    }
    array.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_a_json_array() {
        let event = |json: &str| Event { json: json.to_owned(), ..Event::default() };
        let (first, second) = (event(r#"{"EvId":"a"}"#), event(r#"{"EvId":"b"}"#));
        assert_eq!(json_array(&[&first, &second]), br#"[{"EvId":"a"},{"EvId":"b"}]"#);
        assert_eq!(json_array(&[]), b"[]");
    }
}
