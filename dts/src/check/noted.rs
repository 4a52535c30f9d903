//! Captured tables that a finding is about: how they are asked for and named.

use crate::{capture::Capture, replica::Conn};

/// How many tables a finding names; for the others it has only their number.
const MAX_NAMED: usize = 10;

pub(super) const NOT_SYSTEM: &str =
    "NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')";

/// For tables `t`: the base tables without a primary key. MariaDB shows constraints only to users
/// with more than SELECT, and indexes to all users with any privilege.
pub(super) const WITHOUT_PRIMARY: &str = "LEFT JOIN information_schema.STATISTICS k \
    ON k.TABLE_SCHEMA = t.TABLE_SCHEMA AND k.TABLE_NAME = t.TABLE_NAME \
    AND k.INDEX_NAME = 'PRIMARY' AND k.SEQ_IN_INDEX = 1 \
    WHERE t.TABLE_TYPE = 'BASE TABLE' AND k.TABLE_NAME IS NULL";

/// A captured table that a finding is about, and a detail.
pub(super) struct NotedTable {
    pub(super) table: String,
    pub(super) detail: String,
}

impl NotedTable {
    pub(super) fn new(table: String, detail: String) -> Self {
        Self { table, detail }
    }
}

/// Asks for rows of schema, table and a detail; keeps those of captured tables.
pub(super) async fn ask(
    conn: &mut Conn,
    capture: &Capture,
    query: &str,
) -> mysql_async::Result<Vec<NotedTable>> {
    let rows: Vec<(String, String, String)> = conn.query(query).await?;
    let captured = rows.into_iter().filter(|(schema, table, _)| capture.includes(schema, table));
    Ok(captured
        .map(|(schema, table, detail)| NotedTable { table: format!("{schema}.{table}"), detail })
        .collect())
}

/// The first tables by name, and how many more there are.
pub(super) fn named(tables: &[NotedTable]) -> String {
    let shown: Vec<String> = tables
        .iter()
        .take(MAX_NAMED)
        .map(|NotedTable { table, detail }| match detail.as_str() {
            "" => table.clone(),
            detail => format!("{table} ({detail})"),
        })
        .collect();
    let more = tables.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &more
}
