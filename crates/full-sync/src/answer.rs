//! What `dts` answers to a request.

use serde::{Deserialize, Serialize};

use crate::Captured;

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// These tasks were made, by id; none where an initial request found nothing to send.
    #[serde(rename_all = "camelCase")]
    Accepted {
        /// The ids, one for each table.
        tasks: Vec<String>,
        /// When, in milliseconds since 1970.
        at_ms: u64,
        /// For an initial request: the globs that it was made with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subscribe: Option<Vec<(String, String)>>,
        /// For an initial request: which tables were captured then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        captured: Option<Captured>,
    },
    /// It is not carried out.
    #[serde(rename_all = "camelCase")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// When, in milliseconds since 1970.
        at_ms: u64,
    },
}

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// What kind of reason it is.
    pub code: Code,
    /// What is wrong, and where.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// The task that is in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// A parameter does not fit the table: its key column, or a bound.
    InvalidParameter,
    /// No captured table of the listener has this name.
    NoSuchTable,
    /// The name without a schema is that of several tables.
    AmbiguousTable,
    /// The listener gets this table already.
    AlreadyRunning,
    /// The table cannot be sent: it has no key and too many rows, or a type that is not handled.
    NotPossible,
    /// MySQL could not be asked; it may be later.
    SourceAway,
}

impl Answer {
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

    /// When it was given, in milliseconds since 1970.
    pub fn at_ms(&self) -> u64 {
        match self {
            Self::Accepted { at_ms, .. } | Self::Refused { at_ms, .. } => *at_ms,
        }
    }
}
