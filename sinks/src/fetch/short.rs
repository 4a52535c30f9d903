//! Events of which the rows were too large.

use std::borrow::Cow;

use bytesize::ByteSize;
use change_event::{Action, ChangeEvent, Columns};
use handler::Event;

use crate::change::{Fault, Unusable, push_member, too_large};

/// What an event has that lacks its row. No text in a value has it: quotes are escaped there.
const MARK: &str = "\"Oversized\":";

/// Given events, sorted by what they lack.
pub(super) struct Given<'a> {
    /// Each event at its place; `None` where its row is fetched, or cannot be.
    pub(super) slots: Vec<Option<Cow<'a, Event>>>,
    pub(super) short: Vec<Short<'a>>,
    pub(super) unusable: Vec<Unusable>,
}

/// An event that has only its row's key.
pub(super) struct Short<'a> {
    /// Its place among those that were given.
    pub(super) at: usize,
    event: &'a Event,
    pub(super) read: ChangeEvent<'a>,
    pub(super) key: Columns<'a>,
}

/// A table, and the columns by which its events name rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TablePlace {
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) key: Vec<String>,
}

impl TablePlace {
    /// `schema.table`.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }
}

impl<'a> Given<'a> {
    /// Rows that had more than `max_bytes` are not asked for.
    pub(super) fn of(events: &[&'a Event], max_bytes: u64) -> Self {
        let mut given = Self {
            slots: Vec::with_capacity(events.len()),
            short: Vec::new(),
            unusable: Vec::new(),
        };
        for (at, event) in events.iter().enumerate() {
            let slot = given.sort(at, event, max_bytes);
            given.slots.push(slot);
        }
        given
    }

    fn sort(&mut self, at: usize, event: &'a Event, max_bytes: u64) -> Option<Cow<'a, Event>> {
        let Some((read, bytes)) = read_short(event) else { return Some(Cow::Borrowed(event)) };
        let Ok(key) = Columns::read(read.key) else { return Some(Cow::Borrowed(event)) };
        let short = Short { at, event, read, key };
        if short.read.action == Action::Delete {
            // The key says all of a row that is not there any more.
            return Some(Cow::Owned(short.without_mark()));
        }
        if short.key.iter().len() == 0 {
            self.unusable.push(short.unusable(too_large(&short.read, bytes)));
        } else if bytes > max_bytes {
            self.unusable.push(short.too_large(bytes, max_bytes));
        } else {
            self.short.push(short);
        }
        None
    }
}

/// How many bytes an event would have had that lacks its row.
pub(super) fn oversized_bytes(event: &Event) -> Option<u64> {
    read_short(event).map(|(_, bytes)| bytes)
}

/// An event that cannot be read is refused later, with the others.
fn read_short(event: &Event) -> Option<(ChangeEvent<'_>, u64)> {
    if !event.json().contains(MARK) {
        return None;
    }
    let read = ChangeEvent::read_text(event.json()).ok()?;
    let bytes = read.oversized?;
    Some((read, bytes))
}

impl Short<'_> {
    pub(super) fn place(&self) -> TablePlace {
        TablePlace {
            schema: self.read.schema.clone().into_owned(),
            table: self.read.table_name.clone().into_owned(),
            key: self.key.iter().map(|(name, _)| name.to_owned()).collect(),
        }
    }

    /// The same event with the row that was fetched: an object of columns.
    pub(super) fn completed(&self, data: &str) -> Event {
        Event { is_fetched: true, ..self.with_data(data) }
    }

    fn without_mark(&self) -> Event {
        self.with_data(self.read.data)
    }

    fn with_data(&self, data: &str) -> Event {
        let text = self.event.json();
        let mut json = String::with_capacity(text.len() + data.len());
        // It was read before.
        for (name, value) in Columns::read(text).unwrap_or_default().iter() {
            match name {
                "Oversized" => {}
                "Data" => push_member(&mut json, name, data),
                _ => push_member(&mut json, name, value),
            }
        }
        Event { json: format!("{{{json}}}"), ..self.event.clone() }
    }

    pub(super) fn too_large(&self, bytes: u64, max_bytes: u64) -> Unusable {
        self.unusable(format!(
            "the row has {bytes} bytes as an event, more than oversized.fetch.maxBytes ({}): raise \
             that, or skip the event",
            ByteSize::b(max_bytes)
        ))
    }

    pub(super) fn unusable(&self, why: impl Into<String>) -> Unusable {
        let ev_id = self.event.ev_id().to_owned();
        Unusable { ev_id, why: why.into(), fault: Fault::Row }
    }
}
