//! One table on its way to one listener, as `dts` keeps it in its checkpoint.

use serde::{Deserialize, Serialize};

/// One table on its way to one listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Its name, the first part of the ids of its rows.
    pub id: String,
    /// The request that it was made by.
    pub request: String,
    /// Who gets the rows.
    pub listener: String,
    /// The group whose commits pace it.
    pub group: String,
    /// The table's schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// How it is.
    pub state: TaskState,
    /// Rows that were sent.
    pub rows: u64,
    /// How many rows there are, as the server estimates.
    pub estimated_rows: u64,
    /// After which key it goes on: `dts` wrote this and reads it again. Absent at the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<serde_json::Value>,
    /// The first key to send, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The last key to send, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why it stopped, or what it failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why the running listener would not get its rows: the task waits until it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Since when its listener gets the table, as the listener said at the last look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_ms: Option<u64>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it last changed.
    pub updated_ms: u64,
    /// For how long it has been running.
    #[serde(default)]
    pub active_ms: u64,
    /// Whether it was made by `start = "full-sync"`.
    #[serde(default)]
    pub initial: bool,
}

/// How a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskState {
    /// Its turn has not come.
    Waiting,
    /// Chunks are read and sent.
    Running,
    /// It stopped because somebody said so, and can go on.
    Paused,
    /// All rows are durable in the bus; the listener has not finished them.
    Sent,
    /// The listener has finished all rows.
    Done,
    /// It ended because somebody said so.
    Cancelled,
    /// It ended before all was sent; `error` says why.
    Failed,
}

impl TaskState {
    /// Whether nothing more comes.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Failed)
    }

    /// Whether rows are still to be sent.
    pub fn is_to_send(self) -> bool {
        !self.is_final() && self != Self::Sent
    }
}

impl Task {
    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Texts, numbers and JSON always serialise.
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

    /// Why it does not go on, if it does not.
    pub fn trouble(&self) -> Option<&str> {
        let held = self.held.as_deref().filter(|_| !self.state.is_final());
        held.or(self.error.as_deref())
    }

    /// Its key in the checkpoint of `dts`.
    pub fn key(&self) -> String {
        format!("{}{}", super::TASK_PREFIX, self.id)
    }
}
