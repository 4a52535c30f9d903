//! Writes the rows of a full sync as change events: an `insert` each, for one listener only.

use std::ops::Range;

use crate::{Action, Source, TableText, json};

/// The parts of an event that are the same for all rows that were read at once.
#[derive(Clone, Debug, Default)]
pub struct FullSyncText {
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// A row that was read from its table.
#[derive(Clone, Copy, Debug)]
pub struct FullSyncRow<'a> {
    /// The canonical JSON of its key.
    pub id: &'a [u8],
    /// The columns of its primary key: a JSON object.
    pub key: &'a [u8],
    /// Its columns: a JSON object.
    pub data: &'a [u8],
    /// How many bytes the whole event would have had, where `data` holds only the key.
    pub oversized: Option<usize>,
}

impl FullSyncText {
    /// For rows that `task` read for `listener` at a time in milliseconds since 1970. They show no
    /// change after the place in the binlog that `high` names. Its row number is not used.
    pub fn new((task, listener): (&str, &str), millis: u64, high: &Source<'_>) -> Self {
        let mut head = b"{\"EvId\":\"".to_vec();
        json::write_escaped(&mut head, task);
        head.push(b':');
        json::write_escaped(&mut head, &high.file);
        head.push(b':');
        json::write_u64(&mut head, high.pos);
        head.push(b'#');
        let mut tail = b",\"Origin\":\"full_sync\",\"Listener\":".to_vec();
        json::write_str(&mut tail, listener);
        tail.extend_from_slice(b",\"Ts\":");
        json::write_u64(&mut tail, millis);
        tail.extend_from_slice(b",\"Source\":{\"serverId\":");
        json::write_u64(&mut tail, high.server_id.into());
        tail.extend_from_slice(b",\"file\":");
        json::write_str(&mut tail, &high.file);
        tail.extend_from_slice(b",\"pos\":");
        json::write_u64(&mut tail, high.pos);
        tail.extend_from_slice(b",\"row\":0}}");
        Self { head, tail }
    }

    /// Appends the event of a row, which is number `seq`, and says where it stands.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        table: &TableText,
        (row, seq): (FullSyncRow<'_>, u64),
    ) -> Range<usize> {
        let start = out.len();
        out.extend_from_slice(&self.head);
        // It was written as JSON by us, so it is text.
        json::write_escaped(out, &String::from_utf8_lossy(row.id));
        out.extend_from_slice(&table.0);
        out.extend_from_slice(Action::Insert.as_str().as_bytes());
        out.extend_from_slice(b"\",\"PK\":");
        out.extend_from_slice(row.key);
        out.extend_from_slice(b",\"Data\":");
        out.extend_from_slice(row.data);
        if let Some(bytes) = row.oversized {
            out.extend_from_slice(b",\"Oversized\":");
            json::write_u64(out, bytes as u64);
        }
        out.extend_from_slice(b",\"Seq\":");
        json::write_u64(out, seq);
        out.extend_from_slice(&self.tail);
        start..out.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChangeEvent, Columns, Origin};

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let high = Source { server_id: 7, file: "b.000001".into(), pos: 99, ..Source::default() };
        let text = FullSyncText::new(("t\"1", "search"), 5, &high);
        let table = TableText::new("shop", "item");
        let row = FullSyncRow {
            id: br#"{"id":"a\"b"}"#,
            key: br#"{"id":"a\"b"}"#,
            data: br#"{"id":"a\"b","n":1}"#,
            oversized: None,
        };
        let mut out = b"x".to_vec();
        let at = text.write(&mut out, &table, (row, 12));
        let event = ChangeEvent::read(&out[at]).unwrap();
        assert_eq!(event.id, r#"t"1:b.000001:99#{"id":"a\"b"}"#);
        assert_eq!((&*event.schema, &*event.table_name), ("shop", "item"));
        assert_eq!((event.origin, event.action), (Origin::FullSync, Action::Insert));
        assert_eq!((event.listener.as_deref(), event.seq), (Some("search"), Some(12)));
        assert_eq!(Columns::read(event.data).unwrap().get("n"), Some("1"));
        assert_eq!((event.source.server_id, event.source.pos, event.ts), (7, 99, 5));
    }
}
