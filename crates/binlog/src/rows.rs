//! The rows events: WRITE, UPDATE and DELETE, in both versions ("Rows_event" in the MySQL source
//! documentation).

use std::sync::Arc;

use change_event::Action;

use super::{
    error::{Fault, corrupt},
    image::{Image, Present},
    plan::TablePlan,
    reader::FieldReader,
    transaction::Transaction,
};

/// A change of one row of a captured table.
#[derive(Debug)]
pub struct RowChange<'a> {
    /// The table, as it was when the change was logged.
    pub table: &'a Arc<TablePlan>,
    /// What happened.
    pub action: Action,
    /// How many row changes of the transaction came before this one, captured or not.
    pub row: u64,
    /// The row before, for an update or a delete.
    pub before: Option<Image<'a>>,
    /// The row after, for an insert or an update.
    pub after: Option<Image<'a>>,
    /// The transaction that has this change.
    pub transaction: &'a Transaction,
    /// Where the event with the row begins in the binlog file.
    pub event_pos: u64,
}

/// The action and the version of a raw event type, if it is a rows event.
pub(super) fn action_of(kind: u8) -> Option<(Action, RowsVersion)> {
    Some(match kind {
        23 => (Action::Insert, RowsVersion::One),
        24 => (Action::Update, RowsVersion::One),
        25 => (Action::Delete, RowsVersion::One),
        30 => (Action::Insert, RowsVersion::Two),
        31 => (Action::Update, RowsVersion::Two),
        32 => (Action::Delete, RowsVersion::Two),
        39 => (Action::Update, RowsVersion::Partial),
        _ => return None,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowsVersion {
    One,
    /// With extra data (MySQL 5.6).
    Two,
    /// The same, and JSON columns may have differences (MySQL 8.0.3).
    Partial,
}

/// What is before the rows.
#[derive(Debug)]
pub(super) struct RowsHead<'a> {
    pub(super) action: Action,
    /// The event's body.
    pub(super) body: &'a [u8],
    pub(super) table_id: u64,
    /// The last rows event of its statement.
    pub(super) ends_statement: bool,
    pub(super) columns: usize,
    /// The columns of the only image, or of the image before an update.
    pub(super) first: Present<'a>,
    /// The columns of the image after an update.
    pub(super) second: Option<Present<'a>>,
    /// Whether each image after an update has options before it.
    pub(super) may_have_diffs: bool,
    /// Where the first row begins in the body.
    pub(super) rows_start: usize,
}

impl<'a> RowsHead<'a> {
    /// Reads the head.
    pub(super) fn read(
        body: &'a [u8],
        action: Action,
        version: RowsVersion,
    ) -> Result<Self, Fault> {
        const STATEMENT_END: u16 = 1;
        let mut reader = FieldReader::new(body);
        let table_id = reader.u48()?;
        let flags = reader.u16()?;
        if version != RowsVersion::One {
            let length = usize::from(reader.u16()?);
            let extra = length.checked_sub(2);
            reader.take(extra.ok_or_else(|| corrupt("the rows' extra data has no length"))?)?;
        }
        let columns = reader.length()?;
        let bitmap_bytes = columns.div_ceil(8);
        let first = Present::new(reader.take(bitmap_bytes)?, columns);
        let second = (action == Action::Update)
            .then(|| reader.take(bitmap_bytes).map(|bitmap| Present::new(bitmap, columns)))
            .transpose()?;
        Ok(Self {
            action,
            body,
            table_id,
            ends_statement: flags & STATEMENT_END != 0,
            columns,
            first,
            second,
            may_have_diffs: version == RowsVersion::Partial,
            rows_start: body.len().saturating_sub(reader.rest().len()),
        })
    }

    /// Whether this rows event only ends its statement and has no table.
    pub(super) fn is_dummy(&self) -> bool {
        const NO_TABLE: [u64; 2] = [0xff_ffff, 0xffff_ffff_ffff];
        NO_TABLE.contains(&self.table_id) && self.ends_statement
    }

    /// Whether no column is in the event: then the end of a row cannot be recognised.
    pub(super) fn is_empty(&self) -> bool {
        self.rows_start == self.body.len()
    }
}
