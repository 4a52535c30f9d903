//! Generated columns, which newer MariaDB servers do not log with every change.

use super::noted::{NOT_SYSTEM, NotedTable, named};
use crate::{
    capture::Capture,
    check::{Finding, Severity},
    replica::Conn,
};

/// From this version on a MariaDB logs generated columns in INSERT only. 11.8.9 does so, also with
/// `binlog_row_image = FULL`; 11.8.6, 11.4.5 and 10.11.18 always log them.
const SINCE: (u16, u16, u16) = (11, 8, 7);

/// The findings about the captured tables of a MariaDB.
///
/// # Errors
///
/// When the server does not answer.
pub(super) async fn of_generated(
    conn: &mut Conn,
    capture: &Capture,
) -> mysql_async::Result<Vec<Finding>> {
    if conn.server_version() < SINCE {
        return Ok(Vec::new());
    }
    let query = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS \
         WHERE IS_GENERATED = 'ALWAYS' AND TABLE_SCHEMA {NOT_SYSTEM} ORDER BY 1, 2, ORDINAL_POSITION"
    );
    let mut rows: Vec<(String, String, String)> = conn.query(query).await?;
    rows.retain(|(schema, table, _)| capture.includes(schema, table));
    Ok(not_logged(&rows).into_iter().chain(in_keys(&rows, capture)).collect())
}

fn not_logged(rows: &[(String, String, String)]) -> Option<Finding> {
    let of_tables = rows.chunk_by(|a, b| (&a.0, &a.1) == (&b.0, &b.1));
    let tables: Vec<NotedTable> = of_tables
        .filter_map(|columns| {
            let (schema, table, _) = columns.first()?;
            let names: Vec<&str> = columns.iter().map(|(.., column)| column.as_str()).collect();
            Some(NotedTable::new(format!("{schema}.{table}"), names.join(", ")))
        })
        .collect();
    (!tables.is_empty()).then(|| Finding {
        severity: Severity::Warn,
        name: "generated_columns",
        what: format!(
            "captured tables with generated columns, which this MariaDB logs in INSERT only: {}",
            named(&tables)
        ),
        why:
            "the events of UPDATE and DELETE lack these columns, whatever binlog_row_image is, and \
              name them in Absent: a handler that writes Data over an older row keeps their old \
              values"
                .into(),
        remedy:
            "let the handler read the columns of Absent from the table, compute them itself, or do \
                 without them (docs/event-format.md)"
                .into(),
    })
}

/// Generated columns that capture.keyColumns names: an UPDATE has no key then.
fn in_keys(rows: &[(String, String, String)], capture: &Capture) -> Option<Finding> {
    let is_named = |(schema, table, column): &&(String, String, String)| {
        capture.key_columns(schema, table).is_some_and(|key| key.contains(column))
    };
    let columns: Vec<NotedTable> = rows
        .iter()
        .filter(is_named)
        .map(|(schema, table, column)| {
            NotedTable::new(format!("{schema}.{table}.{column}"), String::new())
        })
        .collect();
    (!columns.is_empty()).then(|| Finding {
        severity: Severity::Warn,
        name: "capture.keyColumns",
        what: format!(
            "capture.keyColumns names generated columns that this MariaDB logs in INSERT only: {}",
            named(&columns)
        ),
        why: "dts stops at the first UPDATE or DELETE of such a table without a primary key".into(),
        remedy: "name other columns in capture.keyColumns, or give the table a primary key".into(),
    })
}
