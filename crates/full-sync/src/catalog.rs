//! What a `dts` captures, and how its tables are defined.

use serde::{Deserialize, Serialize};
use service::glob;

/// Schemas that belong to the server itself, and to whoever runs it for others.
pub const SYSTEM_SCHEMAS: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

/// Where pt-table-checksum writes what it found. It has to do so by statements, which every replica
/// runs for itself: they say nothing of the tables that they read.
pub const CHECKSUMS: (&str, &str) = ("percona", "checksums");

/// Which tables a `dts` captures, whether they are there or not: globs over schema and table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Captured {
    /// What is captured; empty for all but the server's own schemas.
    pub tables: Vec<(String, String)>,
    /// What of it is left out.
    pub exclude: Vec<(String, String)>,
}

/// What the checkpoint of a `dts` has under [`CAPTURED_KEY`](super::CAPTURED_KEY).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Catalog {
    /// What is captured.
    pub captured: Captured,
    /// Whether all captured tables are told of: there may be too many.
    pub is_whole: bool,
}

/// What it has of each captured table that the server has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Its columns, each with its type as `CREATE TABLE` has it; absent where there is no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<(String, String)>>,
    /// The columns of its primary key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primary_key: Vec<String>,
}

impl Captured {
    /// Whether changes of a table are published.
    pub fn includes(&self, schema: &str, table: &str) -> bool {
        let any = |globs: &[(String, String)]| {
            globs.iter().any(|(of_schema, of_table)| {
                glob::matches(of_schema, schema) && glob::matches(of_table, table)
            })
        };
        let wanted = self.tables.is_empty() || any(&self.tables);
        wanted && self.is_free(schema, table) && !any(&self.exclude)
    }

    /// Whether globs alone can choose a table: not one of the server's own, or of a tool, whose
    /// schema must be named.
    fn is_free(&self, schema: &str, table: &str) -> bool {
        let is_reserved = SYSTEM_SCHEMAS.contains(&schema) || (schema, table) == CHECKSUMS;
        !is_reserved || self.tables.iter().any(|(of_schema, _)| of_schema == schema)
    }
}

impl Catalog {
    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Texts and lists always serialise.
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

impl Table {
    /// Its key in the checkpoint of `dts`.
    pub fn key(&self) -> String {
        format!("{}{}.{}", super::TABLE_PREFIX, self.schema, self.table)
    }

    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Texts and lists always serialise.
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
