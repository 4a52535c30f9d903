//! Which tables a listener gets.

use serde::{Deserialize, Serialize};

/// What a running listener gets. The listener says so when it has got partitions and its offset is
/// fixed. It skips all other tables and does not come back to them, so rows of other tables must
/// not be sent to it, even if its config names them later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listening {
    /// All of them: the listener does not get a table that fits none.
    pub tables: Vec<HeardTables>,
}

/// Tables that a listener gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeardTables {
    /// A glob over schemas.
    pub schema: String,
    /// A glob over tables.
    pub table: String,
    /// Since when without a gap, in milliseconds since 1970.
    pub since_ms: u64,
}

impl Listening {
    /// The key of a listener's entry in the control table.
    pub fn key(listener: &str) -> String {
        format!("{}{listener}", super::LISTENING_PREFIX)
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
