//! The native wire format: one JSON object per record (`docs/event-format.md`).

use std::{io::Write as _, ops::Range};

use change_event::json;

use super::{
    Record,
    table::{Key, Table},
};
use crate::{
    decode::{Action, Image, RowChange, Transaction},
    error::Result,
};

/// Where a record's parts stand in the buffer.
pub(super) struct Written {
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

/// Writes records; keeps what is the same for all records of a transaction.
pub(super) struct Envelope {
    server_uuid: String,
    /// `{"EvId":"…#`, once the transaction has a record.
    head: Vec<u8>,
    /// `,"Origin":"binlog","Ts":…,"Source":{…,"pos":`
    tail: Vec<u8>,
}

impl Envelope {
    pub(super) fn new(server_uuid: String) -> Self {
        Self { server_uuid, head: Vec::new(), tail: Vec::new() }
    }

    pub(super) fn end_transaction(&mut self) {
        self.head.clear();
    }

    /// Appends a record: its value, and its key unless the key is a part of the value.
    pub(super) fn write(
        &mut self,
        change: &RowChange<'_>,
        record: &Record<'_>,
        table: &Table,
        out: &mut Vec<u8>,
    ) -> Result<Written> {
        if self.head.is_empty() {
            self.begin_transaction(change.transaction);
        }
        let hashed_key = match table.key {
            Key::Columns(_) => None,
            Key::WholeRow => Some(write_hash(record.row, change.table.columns.len(), out)),
        };
        let start = out.len();
        out.extend_from_slice(&self.head);
        json::write_u64(out, change.row);
        out.extend_from_slice(record.suffix.as_bytes());
        out.extend_from_slice(&table.names);
        out.extend_from_slice(word(record.action));
        out.extend_from_slice(b"\",\"PK\":");
        let key_start = out.len();
        let key_columns = match &table.key {
            Key::Columns(columns) => columns.as_slice(),
            Key::WholeRow => &[],
        };
        write_object(change, record.row, key_columns.iter().copied(), out)?;
        let key = hashed_key.unwrap_or(key_start..out.len());
        out.extend_from_slice(b",\"Data\":");
        let all = 0..change.table.columns.len();
        write_object(change, record.row, all.clone().filter(|at| record.row.is_present(*at)), out)?;
        if let Some(old) = record.old {
            out.extend_from_slice(b",\"Old\":");
            let changed = all.filter(|at| old.is_present(*at) && differs(old, record.row, *at));
            write_object(change, old, changed, out)?;
        }
        out.extend_from_slice(&self.tail);
        json::write_u64(out, change.event_pos);
        out.extend_from_slice(b",\"row\":");
        json::write_u64(out, change.row);
        out.extend_from_slice(b"}}");
        Ok(Written { key, value: start..out.len() })
    }

    fn begin_transaction(&mut self, transaction: &Transaction) {
        let start = &transaction.start;
        let gtid = transaction.gtid.as_ref().map(ToString::to_string);
        let id = gtid
            .clone()
            .unwrap_or_else(|| format!("{}:{}:{}", self.server_uuid, start.file, start.pos));
        self.head.extend_from_slice(b"{\"EvId\":\"");
        json::write_escaped(&mut self.head, &id);
        self.head.push(b'#');
        self.tail.clear();
        let millis = transaction.commit_micros / 1000;
        let server_id = transaction.server_id;
        // Writing to a vector does not fail.
        let _ = write!(
            self.tail,
            ",\"Origin\":\"binlog\",\"Ts\":{millis},\"Source\":{{\"serverId\":{server_id}"
        );
        if let Some(gtid) = gtid {
            let _ = write!(self.tail, ",\"gtid\":\"{gtid}\"");
        }
        self.tail.extend_from_slice(b",\"file\":");
        json::write_str(&mut self.tail, &start.file);
        self.tail.extend_from_slice(b",\"pos\":");
    }
}

fn word(action: Action) -> &'static [u8] {
    match action {
        Action::Insert => b"insert",
        Action::Update => b"update",
        Action::Delete => b"delete",
    }
}

fn differs(before: &Image<'_>, after: &Image<'_>, column: usize) -> bool {
    before.raw(column) != after.raw(column)
}

/// `{"name":value,…}` of some columns of an image.
fn write_object(
    change: &RowChange<'_>,
    row: &Image<'_>,
    columns: impl Iterator<Item = usize>,
    out: &mut Vec<u8>,
) -> Result<()> {
    let start = out.len();
    for column in columns {
        out.push(b',');
        out.extend_from_slice(&change.table.columns[column].json_key);
        row.write_value(column, out)?;
    }
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
    Ok(())
}

/// The key of a row that has none: a hash over all of its bytes, as a JSON string.
fn write_hash(row: &Image<'_>, columns: usize, out: &mut Vec<u8>) -> Range<usize> {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for column in 0..columns {
        let value = row.raw(column);
        let length = value.map_or(u64::MAX, |value| value.len() as u64);
        hasher.update(&length.to_le_bytes());
        hasher.update(value.unwrap_or_default());
    }
    let start = out.len();
    let _ = write!(out, "\"{:032x}\"", hasher.digest128());
    start..out.len()
}
