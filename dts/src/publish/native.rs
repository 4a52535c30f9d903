//! The native wire format: one JSON object per record (`docs/event-format.md`).

use std::{io::Write as _, ops::Range};

use change_event::{EventWriter, ObjectWriter, Source, TransactionText};

use super::{
    Record,
    row::{Row, is_changed},
    table::{Key, Table},
};
use crate::{
    decode::{self, RowChange, TablePlan, Transaction},
    error::Result,
};

/// Where a record's parts stand in the buffer.
pub(super) struct Written {
    /// Where the first of its bytes stands.
    pub(super) start: usize,
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

/// Writes records; keeps what is the same for all records of a transaction.
pub(super) struct Native {
    server_uuid: String,
    transaction: TransactionText,
    /// Whether `transaction` is that of the row at hand.
    begun: bool,
}

impl Native {
    pub(super) fn new(server_uuid: String) -> Self {
        Self { server_uuid, transaction: TransactionText::default(), begun: false }
    }

    pub(super) fn end_transaction(&mut self) {
        self.begun = false;
    }

    /// Appends a record: its value, and its key unless the key is a part of the value.
    pub(super) fn write(
        &mut self,
        change: &RowChange<'_>,
        record: &Record<'_>,
        table: &Table,
        out: &mut Vec<u8>,
    ) -> Result<Written> {
        if !self.begun {
            self.begin_transaction(change.transaction);
        }
        let plan = change.table;
        let first = out.len();
        let (key_columns, hash) = match &table.key {
            Key::Columns(columns) => (columns.as_slice(), None),
            Key::WholeRow => (&[][..], Some(write_hash(&record.row, plan.columns.len(), out))),
        };
        let start = out.len();
        let head = (change.row, record.part, record.action);
        let mut event = EventWriter::begin(out, &self.transaction, &table.text, head);
        let row = &record.row;
        let key =
            event.key(|object| write_columns(plan, row, key_columns.iter().copied(), object))?;
        match record.oversized {
            None => write_images(&mut event, plan, record)?,
            Some(bytes) => {
                let columns = key_columns.iter().copied();
                event.data(|object| write_columns(plan, row, columns, object))?;
                event.oversized(bytes);
            }
        }
        event.finish(change.event_pos);
        Ok(Written { start: first, key: hash.unwrap_or(key), value: start..out.len() })
    }

    fn begin_transaction(&mut self, transaction: &Transaction) {
        let start = &transaction.start;
        let gtid = transaction.gtid.as_ref().map(ToString::to_string);
        let id = gtid
            .clone()
            .unwrap_or_else(|| format!("{}:{}:{}", self.server_uuid, start.file, start.pos));
        let source = Source {
            server_id: transaction.server_id,
            gtid: gtid.map(Into::into),
            file: start.file.as_ref().into(),
            pos: 0,
            row: 0,
        };
        self.transaction.set(&id, transaction.commit_micros / 1000, &source);
        self.begun = true;
    }
}

/// Writes the row, and for an update what changed of the row before.
fn write_images(
    event: &mut EventWriter<'_>,
    plan: &TablePlan,
    record: &Record<'_>,
) -> std::result::Result<(), decode::Error> {
    let row = &record.row;
    let all = 0..plan.columns.len();
    let present = all.clone().filter(|at| row.is_present(*at));
    event.data(|object| write_columns(plan, row, present, object))?;
    if let Some((before, after)) = record.images {
        let changed = all.filter(|at| is_changed(*at, before, after));
        event.old(|object| write_columns(plan, &Row::of(before), changed, object))?;
    }
    Ok(())
}

/// Writes some columns of an image as members of an object.
fn write_columns(
    plan: &TablePlan,
    row: &Row<'_>,
    columns: impl Iterator<Item = usize>,
    object: &mut ObjectWriter<'_>,
) -> std::result::Result<(), decode::Error> {
    for column in columns {
        object.member(&plan.columns[column].json_key, |out| row.write_value(column, out))?;
    }
    Ok(())
}

/// The key of a row that has none: a hash over all of its bytes, as a JSON string.
fn write_hash(row: &Row<'_>, columns: usize, out: &mut Vec<u8>) -> Range<usize> {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for column in 0..columns {
        let value = row.raw(column);
        let length = value.map_or(u64::MAX, |value| value.len() as u64);
        hasher.update(&length.to_le_bytes());
        hasher.update(value.unwrap_or_default());
    }
    let start = out.len();
    // Writing to a vector does not fail.
    let _ = write!(out, "\"{:032x}\"", hasher.digest128());
    start..out.len()
}
