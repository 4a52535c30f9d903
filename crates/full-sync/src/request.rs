//! What `event-worker` asks of `dts`: requests for tables, and wishes for tasks.

use serde::{Deserialize, Serialize};

/// A listener is to get the rows of tables. The request is kept until it is answered; one that is
/// withdrawn earlier is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Names the request; its tasks are named after it.
    pub id: String,
    /// The `dts` that is to answer, by its name; absent where any may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dts: Option<String>,
    /// Who gets the rows.
    pub listener: String,
    /// The group of the bus whose commits say how far the listener is.
    pub group: String,
    /// The listener's globs over schema and table; empty for all tables.
    pub subscribe: Vec<(String, String)>,
    /// Which of its tables: `table`, `schema.table`, with `*` and `?` as wildcards; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<String>,
    /// The column that `from` and `to` are about, where it was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_column: Option<String>,
    /// The first key to send, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The last key to send, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Made by `start = "full-sync"`: each table of the subscription is sent once in the life of
    /// the listener, so a table that was sent, or is being sent, is left out.
    #[serde(default)]
    pub initial: bool,
    /// When it was made, in milliseconds since 1970.
    pub at_ms: u64,
}

/// What is to become of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// What.
    pub state: Wished,
    /// When it was wished, in milliseconds since 1970.
    pub at_ms: u64,
}

/// What a task can be wished to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wished {
    /// Go on.
    Run,
    /// Stop, so that it can go on later.
    Pause,
    /// Stop for good.
    Cancel,
}

impl Request {
    /// For all tables of a listener, whoever answers; made at a time in milliseconds since 1970.
    pub fn new(id: &str, (listener, group): (&str, &str), at_ms: u64) -> Self {
        Self {
            id: id.to_owned(),
            dts: None,
            listener: listener.to_owned(),
            group: group.to_owned(),
            subscribe: Vec::new(),
            tables: None,
            key_column: None,
            from: None,
            to: None,
            initial: false,
            at_ms,
        }
    }

    /// Its key in the control table.
    pub fn key(&self) -> String {
        format!("{}{}", super::REQUEST_PREFIX, self.id)
    }

    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Texts, numbers and lists always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// When the bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

impl Wish {
    /// The bytes to keep.
    pub fn to_bytes(self) -> Vec<u8> {
        serde_json::to_vec(&self).unwrap_or_default()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// When the bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
