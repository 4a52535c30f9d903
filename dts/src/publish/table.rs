//! What is the same for all records of a table: topic, key columns, constant parts of the JSON.

use std::sync::Arc;

use change_event::TableText;
use event_bus::{Headers, TopicName};

use crate::{
    decode::{Image, TablePlan},
    error::{Error, Result},
};

/// What records of a table are ordered by.
#[derive(Debug)]
pub(super) enum Key {
    /// The columns of the primary key, or those that the config names.
    Columns(Vec<usize>),
    /// There is no key: a hash over the whole row stands in.
    WholeRow,
}

/// A captured table, as one plan of the decoder has it.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) topic: Arc<str>,
    /// Which table it is, where the topic does not tell.
    pub(super) headers: Option<Headers>,
    pub(super) key: Key,
    pub(super) text: TableText,
}

impl Table {
    pub(super) fn new(
        plan: &TablePlan,
        topics: &TopicName,
        key_columns: Option<&[String]>,
    ) -> Result<Self> {
        let topic = topics.of(&plan.schema, &plan.table).into();
        let headers = topics.is_shared().then(|| {
            let name = format!("{}.{}", plan.schema, plan.table);
            Headers::from([("table".to_owned(), name)])
        });
        let text = TableText::new(&plan.schema, &plan.table);
        Ok(Self { topic, headers, key: key_of(plan, key_columns)?, text })
    }

    /// Whether an update moves the row to another key, and so has to become two records.
    pub(super) fn key_differs(&self, before: &Image<'_>, after: &Image<'_>) -> bool {
        match &self.key {
            Key::Columns(columns) => {
                columns.iter().any(|&column| before.raw(column) != after.raw(column))
            }
            Key::WholeRow => true,
        }
    }
}

/// The primary key; else the columns that the config names; else none.
fn key_of(plan: &TablePlan, key_columns: Option<&[String]>) -> Result<Key> {
    if !plan.primary_key.is_empty() {
        return Ok(Key::Columns(plan.primary_key.clone()));
    }
    let Some(names) = key_columns else { return Ok(Key::WholeRow) };
    let place = |name: &String| {
        plan.columns.iter().position(|column| column.name == *name).ok_or_else(|| {
            Error::refused(
                format!("table {}.{} has no column {name}", plan.schema, plan.table),
                "correct capture.keyColumns in dts.toml",
            )
        })
    };
    Ok(Key::Columns(names.iter().map(place).collect::<Result<_>>()?))
}
