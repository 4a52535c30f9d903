//! What all records of a table share: topic, key columns, constant parts of the JSON.

use std::sync::Arc;

use binlog::{Column, Gtid, Image, RowChange, TablePlan};
use change_event::TableText;
use event_bus::{Headers, TopicName};

use super::{
    row::{KnownRow, is_changed},
    tally::CountedTable,
};
use crate::error::{Error, Result};

/// What orders the records of a table.
#[derive(Debug)]
pub(super) enum RecordKey {
    /// The columns of the primary key, or those that the config names.
    Columns(Vec<usize>),
    /// There is no key: a hash over the whole row is used. The hash covers these columns: all but
    /// those that a MariaDB generates, because it may leave them out of UPDATE and DELETE.
    WholeRow(Vec<usize>),
}

/// A captured table, as one plan of the decoder describes it.
#[derive(Debug)]
pub(super) struct PublishedTable {
    /// Its name and its topic.
    pub(super) counted: Arc<CountedTable>,
    /// The table's name, if the topic does not show it.
    pub(super) headers: Option<Headers>,
    pub(super) key: RecordKey,
    pub(super) text: TableText,
}

impl PublishedTable {
    pub(super) fn new(
        plan: &TablePlan,
        topics: &TopicName,
        key_columns: Option<&[String]>,
    ) -> Result<Self> {
        let name = format!("{}.{}", plan.schema, plan.table);
        let topic = topics.of(&plan.schema, &plan.table).into();
        let headers = topics.is_shared();
        let headers = headers.then(|| Headers::from([("table".to_owned(), name.clone())]));
        let counted = Arc::new(CountedTable { name: name.into(), topic });
        let text = TableText::new(&plan.schema, &plan.table);
        Ok(Self { counted, headers, key: key_of(plan, key_columns)?, text })
    }

    /// Whether an update moves the row to another key, and so must become two records.
    pub(super) fn key_differs(&self, before: &Image<'_>, after: &Image<'_>) -> bool {
        match &self.key {
            RecordKey::Columns(columns) => {
                columns.iter().any(|&column| is_changed(column, before, after))
            }
            RecordKey::WholeRow(_) => true,
        }
    }

    /// Checks that the columns of the key were logged.
    pub(super) fn check_key(&self, change: &RowChange<'_>, row: &KnownRow<'_>) -> Result<()> {
        let plan = change.table;
        let is_missing = |column: &usize| !row.is_plain(*column);
        let (RecordKey::Columns(columns) | RecordKey::WholeRow(columns)) = &self.key;
        match columns.iter().copied().find(is_missing) {
            None => Ok(()),
            Some(column) => Err(self.not_logged(change, &plan.columns[column])),
        }
    }

    #[cold]
    fn not_logged(&self, change: &RowChange<'_>, column: &Column) -> Error {
        let TablePlan { schema, table, .. } = &**change.table;
        let (file, pos) = (&change.transaction.start.file, change.event_pos);
        let why = match self.key {
            RecordKey::Columns(_) => "which is a part of the key of its records",
            RecordKey::WholeRow(_) => {
                "and the table has no key, so dts needs all columns to identify a row"
            }
        };
        let Column { name, is_generated, .. } = column;
        let problem = format!(
            "a change of {schema}.{table} at {file}:{pos} was logged without column {name}, {why}"
        );
        if *is_generated {
            return Error::refused(
                problem + ": it is generated, and this MariaDB logs such columns in INSERT only",
                "name other columns in capture.keyColumns, or leave the table out with \
                 capture.exclude",
            );
        }
        let set = match change.transaction.gtid {
            Some(Gtid::Mariadb(_)) => "SET GLOBAL binlog_row_image = FULL",
            _ => "SET PERSIST binlog_row_image = FULL",
        };
        Error::refused(
            problem + " (binlog_row_image other than FULL)",
            format!(
                "run on the server {set}, start from a position after that, and load the table \
                 again; or give the table a primary key"
            ),
        )
    }
}

/// The primary key; if there is none, the columns that the config names; if none, the
/// whole row.
fn key_of(plan: &TablePlan, key_columns: Option<&[String]>) -> Result<RecordKey> {
    if !plan.primary_key.is_empty() {
        return Ok(RecordKey::Columns(plan.primary_key.clone()));
    }
    let Some(names) = key_columns else {
        let is_logged = |column: &usize| !plan.columns[*column].is_generated;
        return Ok(RecordKey::WholeRow((0..plan.columns.len()).filter(is_logged).collect()));
    };
    let place = |name: &String| {
        plan.columns.iter().position(|column| column.name == *name).ok_or_else(|| {
            Error::refused(
                format!("table {}.{} has no column {name}", plan.schema, plan.table),
                "correct capture.keyColumns in dts.toml",
            )
        })
    };
    Ok(RecordKey::Columns(names.iter().map(place).collect::<Result<_>>()?))
}
