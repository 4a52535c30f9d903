//! The records that changes become.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use change_event::{Action, Origin};
use handler::Place;
use rdkafka::message::{Header, OwnedHeaders};
use xxhash_rust::xxh3::xxh3_64;

use super::{Content, RecordForm};
use crate::{
    change::{Change, Fault, Unusable},
    message,
    shape::{Shape, Wanted},
    template::Template,
};

/// Kafka's limit on a topic's name, in bytes.
const MAX_TOPIC_BYTES: usize = 249;

/// What is written for a change, all or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) ev_id: String,
    /// The same for all changes of a row.
    pub(super) row: u64,
    /// By which the change is recognised when it comes again; `None` where that is wanted.
    pub(super) mark: Option<Mark>,
    pub(super) records: Vec<OutgoingRecord>,
    pub(super) is_delete: bool,
    action: Action,
    seq: Option<u64>,
}

/// A record of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OutgoingRecord {
    pub(super) topic: String,
    pub(super) key: Option<String>,
    /// `None`: the row is not there any more.
    pub(super) value: Option<String>,
}

/// A place in a source, and what was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The partition that it was taken from.
    pub(super) source: String,
    pub(super) offset: u64,
    /// As in [`Place`].
    pub(super) saved: u64,
    pub(super) is_aside: bool,
    pub(super) assigned_ms: u64,
    /// Of the event's id.
    pub(super) hash: u32,
}

impl Outgoing {
    /// How large it is, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.records.iter().map(OutgoingRecord::bytes).sum()
    }

    pub(super) fn headers(&self) -> OwnedHeaders {
        let add = |headers: OwnedHeaders, key, value: &str| {
            headers.insert(Header { key, value: Some(value) })
        };
        let headers = add(OwnedHeaders::new_with_capacity(3), "EvId", &self.ev_id);
        let headers = add(headers, "Action", self.action.as_str());
        match self.seq {
            Some(seq) => add(headers, "Seq", &seq.to_string()),
            None => headers,
        }
    }

    /// The same change, as one that cannot be written.
    pub(super) fn unusable(&self, why: impl Into<String>) -> Unusable {
        Unusable { ev_id: self.ev_id.clone(), why: why.into(), fault: Fault::Row }
    }
}

impl OutgoingRecord {
    pub(super) fn bytes(&self) -> usize {
        self.key.as_deref().map_or(0, str::len) + self.value.as_deref().map_or(0, str::len)
    }
}

impl Mark {
    fn of(change: &Change<'_>) -> Option<Self> {
        let Place { topic, partition, .. } = change.event.place();
        let Place { offset, saved, is_aside, assigned_ms, .. } = *change.event.place();
        // The upper half of the hash is not needed: only an event at the same place can meet it.
        let hash = (xxh3_64(change.read.id.as_bytes()) & u64::from(u32::MAX)) as u32;
        // Who tries an event by hand names no place.
        let is_wanted = change.read.origin == Origin::Replay || topic.is_empty();
        let source = format!("{topic}/{partition}");
        (!is_wanted).then_some(Self { source, offset, saved, is_aside, assigned_ms, hash })
    }
}

impl RecordForm {
    /// What is written for a change.
    ///
    /// # Errors
    ///
    /// Why nothing can be.
    pub(super) fn outgoing(
        &self,
        wanted: &Wanted<'_>,
        shape: &Shape,
    ) -> Result<Outgoing, Unusable> {
        let (change, read) = (&wanted.change, &wanted.change.read);
        let records = match self.content {
            Content::Event => self.event(wanted, shape).map(|record| vec![record]),
            Content::Row => self.row(wanted),
        };
        Ok(Outgoing {
            records: records.map_err(|why| change.misfit(why))?,
            ev_id: change.event.ev_id().to_owned(),
            row: row_of(change),
            mark: Mark::of(change),
            is_delete: wanted.row.is_none(),
            action: message::action(wanted),
            seq: read.seq,
        })
    }

    fn event(&self, wanted: &Wanted<'_>, shape: &Shape) -> Result<OutgoingRecord, String> {
        let (topic, key) = self.place(&wanted.change)?;
        Ok(OutgoingRecord { topic, key, value: Some(message::message(wanted, shape)?) })
    }

    /// The row as it is now; and where it was before, that it is not there any more.
    fn row(&self, wanted: &Wanted<'_>) -> Result<Vec<OutgoingRecord>, String> {
        let before = match wanted.begins {
            true => None,
            false => wanted.change.with_row_before(),
        };
        let before = before.as_ref().map(|before| self.place(before)).transpose()?;
        let now = match (&before, &wanted.row) {
            (Some(before), None) => before.clone(),
            _ => self.place(&wanted.change)?,
        };
        let mut records = Vec::with_capacity(1);
        let value = wanted.row.as_deref().map(message::object);
        for ((topic, key), value) in before
            .filter(|before| *before != now)
            .map(|before| (before, None))
            .into_iter()
            .chain([(now, value)])
        {
            if value.is_none() && key.is_none() {
                let table = &wanted.change.read.table_name;
                return Err(format!(
                    "the table {table} has no key, so nothing can say that a row is gone: set \
                     `key`, or content = \"event\""
                ));
            }
            records.push(OutgoingRecord { topic, key, value });
        }
        Ok(records)
    }

    /// Topic and key.
    fn place(&self, change: &Change<'_>) -> Result<(String, Option<String>), String> {
        let topic = rendered("topic", &self.topic, change)?;
        if let Some(problem) = topic_problem(&topic) {
            return Err(format!("topic: {topic:?} {problem}"));
        }
        let key = match &self.key {
            Some(key) => Some(rendered("key", key, change)?),
            None if change.key.iter().next().is_none() => None,
            None => Some(change.read.key.to_owned()),
        };
        Ok((topic, key))
    }
}

/// The same for all changes of a row.
pub(super) fn row_of(change: &Change<'_>) -> u64 {
    let mut row = DefaultHasher::new();
    (&change.read.schema, &change.read.table_name, change.read.key).hash(&mut row);
    row.finish()
}

fn rendered(name: &str, template: &Template, change: &Change<'_>) -> Result<String, String> {
    template.render(change).map_err(|why| format!("{name}: {why}"))
}

/// Why no topic has this name.
pub(super) fn topic_problem(name: &str) -> Option<&'static str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.chars().all(is_plain) {
        return Some(
            "has a character that no topic's name has: use a filter, for example \
             {{ TableName | replace(' ', '_') }}",
        );
    }
    let is_name = !["", ".", ".."].contains(&name) && name.len() <= MAX_TOPIC_BYTES;
    (!is_name).then_some("is no topic's name, which has 1 to 249 characters")
}
