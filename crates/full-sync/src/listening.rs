//! Which tables a listener gets.

use serde::{Deserialize, Serialize};

/// What a running listener gets. The listener writes this when it has got partitions and it is
/// decided where it begins. It skips the records of all other tables for good. So no full sync may
/// send it rows of other tables, even if the config file names such a table in the meantime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listening {
    /// All patterns of tables. The listener does not get a table that fits none of them.
    pub tables: Vec<HeardTables>,
}

/// A pattern of tables that a listener gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeardTables {
    /// A glob over schemas.
    pub schema: String,
    /// A glob over tables.
    pub table: String,
    /// Since when the listener gets these tables without a gap, in milliseconds since 1970.
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
