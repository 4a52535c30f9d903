//! The native wire format: one JSON object per record (`docs/event-format.md`).

use std::{io::Write as _, ops::Range};

use binlog::{RowChange, TablePlan, Transaction};
use change_event::{EventWriter, ObjectWriter, Source, TransactionText};
use source_table::hash_of_row;

use super::{
    RecordDraft,
    row::{KnownRow, is_changed, unlogged},
    table::{PublishedTable, RecordKey},
};
use crate::{checkpoint::Seq, error::Result};

/// Where a record's parts are in the buffer.
pub(super) struct Written {
    /// Where its first byte is.
    pub(super) start: usize,
    /// In the value, or after it.
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
    /// In the value, if the value has all columns that are known.
    pub(super) data: Option<Range<usize>>,
    /// If only the key was written: how many bytes the whole record would have had.
    pub(super) oversized: Option<usize>,
}

/// Writes records; keeps what all records of a transaction share.
pub(super) struct Native {
    server_uuid: String,
    transaction: TransactionText,
    /// Whether `transaction` belongs to the current row.
    begun: bool,
}

impl Native {
    pub(super) fn new(server_uuid: String) -> Self {
        Self { server_uuid, transaction: TransactionText::default(), begun: false }
    }

    pub(super) fn end_transaction(&mut self) {
        self.begun = false;
    }

    /// Appends a record: its value, then its key unless the key is a part of the value.
    pub(super) fn write(
        &mut self,
        change: &RowChange<'_>,
        (record, seq): (&RecordDraft<'_>, Seq),
        table: &PublishedTable,
        out: &mut Vec<u8>,
    ) -> Result<Written> {
        if !self.begun {
            self.begin_transaction(change.transaction);
        }
        let (plan, row) = (change.table, &record.row);
        let start = out.len();
        let head = (change.row, record.part, record.action);
        let mut event = EventWriter::begin(out, &self.transaction, &table.text, head);
        let columns = match &table.key {
            RecordKey::Columns(columns) => columns.as_slice(),
            RecordKey::WholeRow(_) => &[],
        };
        let columns = || columns.iter().copied();
        let key = event.key(|object| write_columns(plan, row, columns(), object))?;
        let mut data = None;
        match record.oversized {
            None => {
                data = Some(write_images(&mut event, plan, record)?);
                event.absent(unlogged(change, row));
            }
            Some(bytes) => {
                event.data(|object| write_columns(plan, row, columns(), object))?;
                event.oversized(bytes);
            }
        }
        event.finish(seq.get(), change.event_pos);
        let value = start..out.len();
        let key = match &table.key {
            RecordKey::Columns(_) => key,
            RecordKey::WholeRow(columns) => write_hash(plan, row, (columns, data.clone()), out)?,
        };
        Ok(Written { start, key, value, data, oversized: record.oversized })
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

/// Writes the row, and for an update the old values that changed. Returns where the row's object
/// is.
fn write_images(
    event: &mut EventWriter<'_>,
    plan: &TablePlan,
    record: &RecordDraft<'_>,
) -> std::result::Result<Range<usize>, binlog::Error> {
    let row = &record.row;
    let all = 0..plan.columns.len();
    let present = all.clone().filter(|at| row.is_present(*at));
    let data = event.data(|object| write_columns(plan, row, present, object))?;
    if let Some((before, after)) = record.images {
        let changed = all.filter(|at| is_changed(*at, before, after));
        event.old(|object| write_columns(plan, &KnownRow::of(before), changed, object))?;
    }
    Ok(data)
}

/// Writes some columns of an image as members of an object.
fn write_columns(
    plan: &TablePlan,
    row: &KnownRow<'_>,
    columns: impl Iterator<Item = usize>,
    object: &mut ObjectWriter<'_>,
) -> std::result::Result<(), binlog::Error> {
    for column in columns {
        object.member(&plan.columns[column].json_key, |out| row.write_value(column, out))?;
    }
    Ok(())
}

/// Appends the key of a row without a key, as a JSON string: a hash of these columns. If they are
/// all columns, their object is in `data`, unless the event has only the row's key.
fn write_hash(
    plan: &TablePlan,
    row: &KnownRow<'_>,
    (columns, data): (&[usize], Option<Range<usize>>),
    out: &mut Vec<u8>,
) -> std::result::Result<Range<usize>, binlog::Error> {
    let end = out.len();
    let data = match data {
        Some(data) if columns.len() == plan.columns.len() => data,
        _ => {
            let columns = columns.iter().copied();
            ObjectWriter::whole(out, |object| write_columns(plan, row, columns, object))?
        }
    };
    let hash = hash_of_row(&out[data]);
    out.truncate(end);
    // Writing to a vector does not fail.
    let _ = write!(out, "\"{hash:032x}\"");
    Ok(end..out.len())
}
