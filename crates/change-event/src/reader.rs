//! Reads change events in the native format, as their consumers get them.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{ChangeEvent, exact};

/// A record that is not a change event of the native format.
#[derive(Debug, thiserror::Error)]
#[error("not a change event in the native format: {0}")]
pub struct ReadError(#[from] serde_json::Error);

impl<'a> ChangeEvent<'a> {
    /// Reads a record's value.
    ///
    /// # Errors
    ///
    /// When it is not JSON, or not a change event; the message says what is wrong, and where.
    pub fn read(record: &'a [u8]) -> Result<Self, ReadError> {
        match std::str::from_utf8(record) {
            Ok(text) => Self::read_text(text),
            // It says where the text ends.
            Err(_) => Ok(serde_json::from_slice(record)?),
        }
    }

    /// The same of what is known to be text.
    ///
    /// # Errors
    ///
    /// As [`ChangeEvent::read`].
    pub fn read_text(record: &'a str) -> Result<Self, ReadError> {
        match exact::read(record) {
            Some(event) => Ok(event),
            None => Ok(serde_json::from_str(record)?),
        }
    }
}

/// The columns of a [`ChangeEvent`]'s `key`, `data` or `old`, in their order, with their values
/// as JSON text.
#[derive(Clone, Debug, Default)]
pub struct Columns<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Columns<'a> {
    /// Reads an object of columns.
    ///
    /// # Errors
    ///
    /// When it is not an object.
    pub fn read(object: &'a str) -> Result<Self, ReadError> {
        match exact::columns(object) {
            Some(columns) => Ok(Self(columns)),
            None => Ok(serde_json::from_str(object)?),
        }
    }

    /// Each column's name, and its value as JSON text.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }

    /// The same with names that live as long as the event, where they have no escapes.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (Cow<'a, str>, &'a str)> {
        self.0.iter().map(|(name, value)| (name.clone(), *value))
    }

    /// The value of a column, as JSON text; `None` where there is no such column.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

impl<'a> FromIterator<(Cow<'a, str>, &'a str)> for Columns<'a> {
    fn from_iter<I: IntoIterator<Item = (Cow<'a, str>, &'a str)>>(columns: I) -> Self {
        Self(columns.into_iter().collect())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Columns<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ColumnsVisitor)
    }
}

/// A name that is borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct ColumnName<'a>(#[serde(borrow)] Cow<'a, str>);

struct ColumnsVisitor;

impl<'de> Visitor<'de> for ColumnsVisitor {
    type Value = Columns<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of columns")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut columns = Vec::new();
        while let Some((ColumnName(name), value)) = map.next_entry::<_, &RawValue>()? {
            columns.push((name, value.get()));
        }
        Ok(Columns(columns))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::{Action, EventWriter, IdPart, Origin, Source, TableText, TransactionText, json};

    const GTID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:23";

    fn written() -> (String, String) {
        let mut transaction = TransactionText::default();
        let source = Source {
            server_id: 1,
            gtid: Some(GTID.into()),
            file: "binlog.000003".into(),
            ..Source::default()
        };
        transaction.set(GTID, 1_700_000_000_123, &source);
        let mut out = Vec::new();
        let table = TableText::new("weixin", "wx \"config\"");
        let change = (2, IdPart::Whole, Action::Update);
        let mut event = EventWriter::begin(&mut out, &transaction, &table, change);
        let number = |out: &mut Vec<u8>| -> Result<(), Infallible> {
            json::write_u64(out, u64::MAX);
            Ok(())
        };
        let key = event.key(|object| object.member(b"\"id\":", number)).unwrap();
        event
            .data(|object| {
                object.member(b"\"id\":", number)?;
                object.member(b"\"n\\\"\":", number)
            })
            .unwrap();
        event.old(|object| object.member(b"\"n\\\"\":", number)).unwrap();
        event.finish(77, 1234);
        let out = String::from_utf8(out).unwrap();
        let key = out[key].to_owned();
        (out, key)
    }

    #[test]
    fn an_event_has_the_documented_members_in_the_documented_order() {
        let expected = concat!(
            r#"{"EvId":"3e11fa47-71ca-11e1-9e33-c80aa9429562:23#2","Schema":"weixin","#,
            r#""TableName":"wx \"config\"","Action":"update","PK":{"id":18446744073709551615},"#,
            r#""Data":{"id":18446744073709551615,"n\"":18446744073709551615},"#,
            r#""Old":{"n\"":18446744073709551615},"Seq":77,"Origin":"binlog","#,
            r#""Ts":1700000000123,"Source":{"serverId":1,"#,
            r#""gtid":"3e11fa47-71ca-11e1-9e33-c80aa9429562:23","#,
            r#""file":"binlog.000003","pos":1234,"row":2}}"#
        );
        let (event, key) = written();
        assert_eq!(event, expected);
        assert_eq!(key, r#"{"id":18446744073709551615}"#);
    }

    #[test]
    fn an_event_reads_back_as_it_was_written() {
        let (text, key) = written();
        let event = ChangeEvent::read(text.as_bytes()).unwrap();
        assert_eq!(event.id, format!("{GTID}#2"));
        assert_eq!((&*event.schema, &*event.table_name), ("weixin", "wx \"config\""));
        assert_eq!((event.action, event.origin), (Action::Update, Origin::Binlog));
        assert_eq!((event.key, event.seq), (&*key, Some(77)));
        assert_eq!((event.ts, event.source.pos, event.source.row), (1_700_000_000_123, 1234, 2));
        assert!(matches!(event.schema, Cow::Borrowed(_)), "not copied");
        let old = Columns::read(event.old.unwrap()).unwrap();
        assert_eq!(old.get("n\""), Some("18446744073709551615"));
        assert_eq!(old.get("id"), None);
        let data = Columns::read(event.data).unwrap();
        assert_eq!(data.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["id", "n\""]);
    }

    #[test]
    fn an_event_of_before_there_were_numbers_is_read() {
        let text = written().0.replace(r#""Seq":77,"#, "");
        for text in [text.clone(), text.replace(',', ", ")] {
            let event = ChangeEvent::read(text.as_bytes()).unwrap();
            assert_eq!((event.seq, event.ts), (None, 1_700_000_000_123), "{text}");
        }
    }

    #[test]
    fn an_event_that_was_too_large_says_so() {
        let mut out = Vec::new();
        let mut transaction = TransactionText::default();
        transaction.set(GTID, 1_700_000_000_123, &Source::default());
        let change = (0, IdPart::Whole, Action::Update);
        let table = TableText::new("s", "t");
        let mut event = EventWriter::begin(&mut out, &transaction, &table, change);
        event.key(|_| Ok::<_, Infallible>(())).unwrap();
        event.data(|_| Ok::<_, Infallible>(())).unwrap();
        event.oversized(20 << 20);
        event.finish(1, 4);
        let event = ChangeEvent::read(&out).unwrap();
        assert_eq!((event.oversized, event.old.is_none()), (Some(20 << 20), true));
        let (whole, _) = written();
        assert_eq!(ChangeEvent::read(whole.as_bytes()).unwrap().oversized, None);
    }

    #[test]
    fn what_is_not_an_event_is_told_so() {
        let message = |record: &str| ChangeEvent::read(record.as_bytes()).unwrap_err().to_string();
        assert!(message("{}").contains("missing field `EvId`"), "{}", message("{}"));
        assert!(message("rubbish").starts_with("not a change event in the native format"));
        let (event, _) = written();
        assert!(message(&event.replace("\"update\"", "\"upsert\"")).contains("`upsert`"));
    }
}
