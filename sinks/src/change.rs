//! An event, read for a sink.

use std::borrow::Cow;

use change_event::{Action, ChangeEvent, Columns, Origin};
use full_sync::Table;
use handler::Event;

/// What a sink needs of an event. Values stay JSON text.
#[derive(Clone, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) event: &'a Event,
    pub(crate) read: ChangeEvent<'a>,
    /// The key's columns.
    pub(crate) key: Columns<'a>,
    /// The row after the change; for a delete the row before it.
    pub(crate) data: Columns<'a>,
    /// What changed columns held before an update; empty for other changes.
    pub(crate) old: Columns<'a>,
}

/// A column with its value as JSON text.
pub(crate) type Column<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Why a sink cannot do anything with an event. The event fails, and is named; the others go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) ev_id: String,
    /// What is wrong, and what to do. It may hold values of the row.
    pub(crate) why: String,
    pub(crate) fault: Fault,
}

/// What does not fit the other: a row and its target, or the config and the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The row and the target.
    Row,
    /// A template or the condition of the config, and the row: as a rule no row fits it.
    Config,
}

impl<'a> Change<'a> {
    /// # Errors
    ///
    /// When the text is not a change event.
    pub(crate) fn read(event: &'a Event) -> Result<Self, Unusable> {
        let unusable = |error: change_event::ReadError| Unusable {
            ev_id: event.ev_id().to_owned(),
            why: error.to_string(),
            fault: Fault::Row,
        };
        let read = ChangeEvent::read_text(event.json()).map_err(unusable)?;
        Ok(Self {
            event,
            key: Columns::read(read.key).map_err(unusable)?,
            data: Columns::read(read.data).map_err(unusable)?,
            old: read
                .old
                .map_or_else(|| Ok(Columns::default()), Columns::read)
                .map_err(unusable)?,
            read,
        })
    }

    /// What is common to the ids of both halves of an update that changed the key
    /// (docs/event-format.md), if the change is the half `d` or `i`.
    pub(crate) fn half(&self, which: char) -> Option<&'a str> {
        self.event.ev_id().strip_suffix(which).filter(|_| self.read.origin == Origin::Binlog)
    }

    /// The row before the change, as far as it is known; `None` for an insert.
    pub(crate) fn before(&self) -> Option<Vec<(&str, &'a str)>> {
        match self.read.action {
            Action::Insert => None,
            Action::Delete => Some(self.data.iter().collect()),
            Action::Update => {
                let now = self.data.iter().filter(|(name, _)| self.old.get(name).is_none());
                Some(now.chain(self.old.iter()).collect())
            }
        }
    }

    /// The same change with the row before an update in the place of the row after it, as far as it
    /// is known; `None` where there was no other row.
    pub(crate) fn with_row_before(&self) -> Option<Change<'_>> {
        if self.old.iter().len() == 0 {
            return None;
        }
        let before = self.before()?.into_iter();
        let data = before.map(|(name, json)| (Cow::Borrowed(name), json)).collect();
        Some(Change { data, ..self.clone() })
    }

    /// A column of its table that the event lacks.
    pub(crate) fn lacks<'t>(&self, table: &'t Table) -> Option<&'t str> {
        let columns = table.columns.iter().flatten().map(|column| column.name.as_str());
        columns.into_iter().find(|name| self.data.get(name).is_none())
    }

    /// The same event, as one that the sink can do nothing with.
    pub(crate) fn unusable(&self, why: impl Into<String>) -> Unusable {
        let ev_id = self.event.ev_id().to_owned();
        Unusable { ev_id, why: why.into(), fault: Fault::Row }
    }

    /// The same, where a template or the condition of the config does not fit the event.
    pub(crate) fn misfit(&self, why: impl Into<String>) -> Unusable {
        Unusable { fault: Fault::Config, ..self.unusable(why) }
    }
}

/// Why an event whose row was too large for it cannot be used, and what to do. A full sync of its
/// key brings the row again, as it is then.
pub(crate) fn too_large(read: &ChangeEvent<'_>, bytes: u64) -> String {
    let (schema, table) = (&read.schema, &read.table_name);
    let key = Columns::read(read.key).ok();
    let key: Vec<(&str, &str)> = key.iter().flat_map(Columns::iter).collect();
    let range = match key[..] {
        [(name, json)] => {
            let text = serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned());
            let text = text.replace('\'', "'\\''");
            format!(" --pk {name} --from '{text}' --to '{text}'")
        }
        _ => String::new(),
    };
    format!(
        "the event holds only the row's key, because it would have {bytes} bytes: raise maxRowBytes \
         of dts (on Kafka also max.message.bytes of the topic), skip this event, and fetch the row \
         again with `event-worker full-sync start -t ID {schema}.{table}{range}`; or leave the large \
         column out there"
    )
}

/// Appends a member of a JSON object to the members before it.
pub(crate) fn push_member(text: &mut String, name: &str, json: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(&serde_json::Value::from(name).to_string());
    text.push(':');
    text.push_str(json);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An event of the table `shop.item` with the key `id` 7.
    pub(crate) fn event(action: &str, data: &str, old: Option<&str>) -> Event {
        let old = old.map_or_else(String::new, |old| format!(r#""Old":{old},"#));
        let json = format!(
            r#"{{"EvId":"g:1#0","Schema":"shop","TableName":"item","Action":"{action}","PK":{{"id":7}},"Data":{data},{old}"Seq":5,"Origin":"binlog","Ts":1700000000123,"Source":{{"serverId":1,"file":"b.1","pos":4,"row":0}}}}"#
        );
        Event { json, ev_id: "g:1#0".to_owned(), seq: Some(5), ..Event::default() }
    }

    #[test]
    fn the_row_before_an_update_is_the_row_now_with_what_changed() {
        let event = event("update", r#"{"id":7,"a":1,"b":null}"#, Some(r#"{"a":0}"#));
        let change = Change::read(&event).unwrap();
        let before: std::collections::BTreeMap<_, _> =
            change.before().unwrap().into_iter().collect();
        assert_eq!(before, [("a", "0"), ("b", "null"), ("id", "7")].into());
    }

    #[test]
    fn a_row_that_was_too_large_is_fetched_again_by_its_key() {
        let said = |key: &str| {
            let one = event("insert", "{}", None);
            let one = Event { json: one.json.replace(r#"{"id":7}"#, key), ..one };
            too_large(&Change::read(&one).unwrap().read, 99)
        };
        assert!(said(r#"{"id":7}"#).contains("-t ID shop.item --pk id --from '7' --to '7'`"));
        assert!(said(r#"{"k":"d'e"}"#).contains(r"--pk k --from 'd'\''e' --to"));
        assert!(said(r#"{"a":1,"b":2}"#).contains("-t ID shop.item`"));
    }

    #[test]
    fn a_text_that_is_no_event_is_named() {
        let event = Event { json: "{}".into(), ev_id: "x".into(), ..Event::default() };
        let unusable = Change::read(&event).unwrap_err();
        assert_eq!(unusable.ev_id, "x");
        assert!(unusable.why.contains("not a change event"), "{}", unusable.why);
    }
}
