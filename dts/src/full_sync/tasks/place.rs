//! How far a task is in its table: the part of a task that the checkpoint keeps.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use source_table::Cursor;

/// Where a task goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TablePlace {
    /// The column that the table is read by, if it is not the best key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
    /// The key of the last row that was published or left out; absent at the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Cursor>,
    /// How the table was defined when the rows up to there were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shape: Option<String>,
    /// Whether the end was reached.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) at_end: bool,
    /// Stretches to read again, because the stream's versions of their rows may lack columns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) again: Vec<KeyRange>,
}

/// Rows after one key, up to and with another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyRange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Cursor>,
    pub(crate) up_to: Cursor,
}

/// The beginning of a table that is read by this column.
pub(crate) fn begin_by(column: &str) -> Value {
    json!({ "by": column })
}

/// The beginning of a table, in the key that was used before.
pub(crate) fn begin_again(cursor: Option<&Value>) -> Option<Value> {
    TablePlace::read(cursor).ok()?.by.as_deref().map(begin_by)
}

impl TablePlace {
    /// Reads what [`TablePlace::to_json`] wrote.
    ///
    /// # Errors
    ///
    /// When the value is something else.
    pub(crate) fn read(cursor: Option<&Value>) -> Result<Self, serde_json::Error> {
        cursor.map_or_else(|| Ok(Self::default()), Self::deserialize)
    }

    /// What the task keeps.
    pub(crate) fn to_json(&self) -> Option<Value> {
        serde_json::to_value(self).ok().filter(|json| *json != json!({}))
    }
}
