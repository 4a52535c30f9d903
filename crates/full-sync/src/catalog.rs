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
    /// Its columns, in their order; absent where there is no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<TableColumn>>,
    /// The columns of its primary key, or those that `keyColumns` of dts names instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primary_key: Vec<String>,
}

/// A column of a captured table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "WrittenColumn")]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// Its type as `CREATE TABLE` has it: with sign, size and the members of an ENUM or SET.
    #[serde(rename = "type")]
    pub declared: String,
    /// Whether it may be NULL.
    #[serde(skip_serializing_if = "is_false")]
    pub nullable: bool,
    /// The charset and the collation of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// See `charset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
    /// Whether the server computes it from other columns.
    #[serde(skip_serializing_if = "is_false")]
    pub generated: bool,
}

/// A column as it may be written.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenColumn {
    /// Earlier versions wrote name and type alone.
    Pair(String, String),
    #[serde(rename_all = "camelCase")]
    Column {
        name: String,
        #[serde(rename = "type")]
        declared: String,
        #[serde(default)]
        nullable: bool,
        #[serde(default)]
        charset: Option<String>,
        #[serde(default)]
        collation: Option<String>,
        #[serde(default)]
        generated: bool,
    },
}

impl From<WrittenColumn> for TableColumn {
    fn from(written: WrittenColumn) -> Self {
        match written {
            WrittenColumn::Pair(name, declared) => Self { name, declared, ..Self::default() },
            WrittenColumn::Column { name, declared, nullable, charset, collation, generated } => {
                Self { name, declared, nullable, charset, collation, generated }
            }
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(value: &bool) -> bool {
    !value
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_as_this_version_and_as_earlier_ones_wrote_them() {
        let column = TableColumn {
            name: "id".into(),
            declared: "int unsigned".into(),
            nullable: true,
            charset: Some("utf8mb4".into()),
            ..TableColumn::default()
        };
        let table = Table { columns: Some(vec![column]), ..Table::default() };
        assert_eq!(Table::from_bytes(&table.to_bytes()).unwrap(), table);
        let earlier = br#"{"schema":"s","table":"t","columns":[["id","int"]],"primaryKey":["id"]}"#;
        let read = Table::from_bytes(earlier).unwrap().columns.unwrap();
        assert_eq!((&*read[0].name, &*read[0].declared, read[0].nullable), ("id", "int", false));
    }
}
