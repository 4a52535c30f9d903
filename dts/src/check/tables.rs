//! What the definitions of captured tables say: keys, cascades, engines, charsets.

use service::glob;

use crate::{
    binlog::{Conn, Product, Server},
    capture::Capture,
    decode,
    finding::{Finding, Severity},
};

/// Tables that a finding names; of more only the number.
const MAX_NAMED: usize = 10;

pub(super) const NOT_SYSTEM: &str =
    "NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')";

/// A captured table that something is to be said about, and what.
pub(super) struct Noted {
    pub(super) table: String,
    detail: String,
}

/// Looks at the tables that the user may see.
///
/// # Errors
///
/// When the server does not answer.
pub(super) async fn of_tables(
    conn: &mut Conn,
    server: &Server,
    capture: &Capture,
) -> mysql_async::Result<Vec<Finding>> {
    let mut found = Vec::new();
    found.extend(without_key(conn, capture).await?);
    found.extend(cascades(conn, server, capture).await?);
    found.extend(engines(conn, capture).await?);
    found.extend(charsets(conn, capture).await?);
    if server.product == Product::Mariadb {
        found.extend(old_fractions(conn, capture).await?);
    }
    found.extend(unseen(conn, capture).await?);
    Ok(found)
}

/// Rows of schema, table and a detail, of captured tables alone.
pub(super) async fn ask(
    conn: &mut Conn,
    capture: &Capture,
    query: &str,
) -> mysql_async::Result<Vec<Noted>> {
    let rows: Vec<(String, String, String)> = conn.query(query).await?;
    let captured = rows.into_iter().filter(|(schema, table, _)| capture.includes(schema, table));
    Ok(captured
        .map(|(schema, table, detail)| Noted { table: format!("{schema}.{table}"), detail })
        .collect())
}

pub(super) fn named(tables: &[Noted]) -> String {
    let shown: Vec<String> = tables
        .iter()
        .take(MAX_NAMED)
        .map(|Noted { table, detail }| match detail.as_str() {
            "" => table.clone(),
            detail => format!("{table} ({detail})"),
        })
        .collect();
    let more = tables.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &more
}

async fn without_key(conn: &mut Conn, capture: &Capture) -> mysql_async::Result<Option<Finding>> {
    let query = format!(
        "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, '' FROM information_schema.TABLES t \
         LEFT JOIN information_schema.TABLE_CONSTRAINTS k ON k.TABLE_SCHEMA = t.TABLE_SCHEMA \
         AND k.TABLE_NAME = t.TABLE_NAME AND k.CONSTRAINT_TYPE = 'PRIMARY KEY' \
         WHERE t.TABLE_TYPE = 'BASE TABLE' AND k.TABLE_NAME IS NULL \
         AND t.TABLE_SCHEMA {NOT_SYSTEM} ORDER BY 1, 2"
    );
    let mut tables = ask(conn, capture, &query).await?;
    tables.retain(|noted| {
        let (schema, table) = noted.table.split_once('.').unwrap_or_default();
        capture.key_columns(schema, table).is_none()
    });
    if !tables.is_empty() {
        let keyed = with_unique_key(conn, capture).await?;
        tables.retain(|noted| !keyed.iter().any(|other| other.table == noted.table));
    }
    Ok((!tables.is_empty()).then(|| Finding {
        severity: Severity::Warn,
        name: "primary_key",
        what: format!(
            "captured tables without a primary key, or a unique one that is NOT NULL: {}",
            named(&tables)
        ),
        why: "a row is told from others by all its values, so an update comes as a delete and an \
              insert, and equal rows cannot be told apart"
            .into(),
        remedy: "ALTER TABLE … ADD PRIMARY KEY (…), or name the columns that tell rows apart in \
                 capture.keyColumns"
            .into(),
    }))
}

/// Tables with a unique key that a server takes for the primary one where there is none, also in
/// its binlog: of whole columns that cannot be NULL.
async fn with_unique_key(conn: &mut Conn, capture: &Capture) -> mysql_async::Result<Vec<Noted>> {
    let query = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, '' FROM information_schema.STATISTICS \
         WHERE NON_UNIQUE = 0 AND INDEX_NAME <> 'PRIMARY' AND TABLE_SCHEMA {NOT_SYSTEM} \
         GROUP BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME HAVING \
         SUM(NULLABLE = 'YES' OR SUB_PART IS NOT NULL OR COLUMN_NAME IS NULL) = 0"
    );
    ask(conn, capture, &query).await
}

/// Before MySQL 9.6 the storage engine carries cascades out, past the binlog.
async fn cascades(
    conn: &mut Conn,
    server: &Server,
    capture: &Capture,
) -> mysql_async::Result<Option<Finding>> {
    if server.is("innodb_native_foreign_keys", "OFF") {
        return Ok(None);
    }
    let query = "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONCAT('of ', REFERENCED_TABLE_NAME, \
        IF(DELETE_RULE IN ('CASCADE', 'SET NULL'), CONCAT(', ON DELETE ', DELETE_RULE), ''), \
        IF(UPDATE_RULE IN ('CASCADE', 'SET NULL'), CONCAT(', ON UPDATE ', UPDATE_RULE), '')) \
        FROM information_schema.REFERENTIAL_CONSTRAINTS \
        WHERE DELETE_RULE IN ('CASCADE', 'SET NULL') OR UPDATE_RULE IN ('CASCADE', 'SET NULL') \
        ORDER BY 1, 2";
    let tables = ask(conn, capture, query).await?;
    Ok((!tables.is_empty()).then(|| Finding {
        severity: Severity::Warn,
        name: "foreign_key_cascade",
        what: format!("foreign keys change captured tables: {}", named(&tables)),
        why: "this server does not write such changes into its binlog, so they are never seen"
            .into(),
        remedy: "let the application change the child rows itself (ON DELETE RESTRICT), or use \
                 MySQL 9.6 or later with innodb_native_foreign_keys = OFF"
            .into(),
    }))
}

/// Engines whose changes may come as statements, or cannot be rolled back.
async fn engines(conn: &mut Conn, capture: &Capture) -> mysql_async::Result<Option<Finding>> {
    let query = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, ENGINE FROM information_schema.TABLES \
         WHERE TABLE_TYPE = 'BASE TABLE' AND ENGINE IN ('MEMORY', 'MyISAM', 'CSV', 'ARCHIVE', \
         'MRG_MYISAM', 'FEDERATED', 'Aria') AND TABLE_SCHEMA {NOT_SYSTEM} ORDER BY 1, 2"
    );
    let tables = ask(conn, capture, &query).await?;
    Ok((!tables.is_empty()).then(|| Finding {
        severity: Severity::Warn,
        name: "engine",
        what: format!("captured tables without transactions: {}", named(&tables)),
        why: "what a statement did before it failed stays, and a restart of the server empties a \
              MEMORY table by a logged statement, not by rows: either stops dts"
            .into(),
        remedy: "ALTER TABLE … ENGINE = InnoDB, or leave the table out with capture.exclude".into(),
    }))
}

async fn charsets(conn: &mut Conn, capture: &Capture) -> mysql_async::Result<Option<Finding>> {
    let query = format!(
        "SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, c.CHARACTER_SET_NAME, l.ID \
         FROM information_schema.COLUMNS c JOIN information_schema.COLLATIONS l \
         ON l.COLLATION_NAME = c.COLLATION_NAME \
         WHERE c.TABLE_SCHEMA {NOT_SYSTEM} ORDER BY 1, 2, 3"
    );
    let rows: Vec<(String, String, String, String, u16)> = conn.query(query).await?;
    let tables: Vec<Noted> = rows
        .into_iter()
        .filter(|(schema, table, _, _, collation)| {
            !decode::knows_collation(*collation) && capture.includes(schema, table)
        })
        .map(|(schema, table, column, charset, _)| Noted {
            table: format!("{schema}.{table}.{column}"),
            detail: charset,
        })
        .collect();
    Ok((!tables.is_empty()).then(|| Finding {
        severity: Severity::Warn,
        name: "character_set",
        what: format!("columns in charsets that are not handled: {}", named(&tables)),
        why: "dts stops at the first change of such a table".into(),
        remedy: "ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4, or leave the table out with \
                 capture.exclude"
            .into(),
    }))
}

/// Columns whose fraction the binlog of a MariaDB hides.
async fn old_fractions(conn: &mut Conn, capture: &Capture) -> mysql_async::Result<Option<Finding>> {
    let query = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, GROUP_CONCAT(COLUMN_NAME ORDER BY ORDINAL_POSITION) \
         FROM information_schema.COLUMNS WHERE DATETIME_PRECISION > 0 \
         AND COLUMN_TYPE LIKE '%mariadb-5.3%' AND TABLE_SCHEMA {NOT_SYSTEM} \
         GROUP BY TABLE_SCHEMA, TABLE_NAME ORDER BY 1, 2"
    );
    let tables = ask(conn, capture, &query).await?;
    Ok((!tables.is_empty()).then(|| Finding {
        severity: Severity::Stop,
        name: "mysql56_temporal_format",
        what: format!("times with a fraction in the format before 10.1.2: {}", named(&tables)),
        why: "the binlog does not say that they have a fraction, so their values cannot be read"
            .into(),
        remedy:
            "SET GLOBAL mysql56_temporal_format = ON, then ALTER TABLE … FORCE for each of them; \
                 or leave them out with capture.exclude"
                .into(),
    }))
}

/// Tables that the config names, or globs over them, and the user does not see.
async fn unseen(conn: &mut Conn, capture: &Capture) -> mysql_async::Result<Option<Finding>> {
    let query = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA {NOT_SYSTEM}"
    );
    let seen: Vec<(String, String)> = conn.query(query).await?;
    let is_seen = |of_schema: &str, of_table: &str| {
        let fits = |(schema, table): &(String, String)| {
            glob::matches(of_schema, schema) && glob::matches(of_table, table)
        };
        seen.iter().any(fits)
    };
    let unseen: Vec<Noted> = capture
        .globs()
        .filter(|(schema, table)| !is_seen(schema, table))
        .map(|(schema, table)| Noted { table: format!("{schema}.{table}"), detail: String::new() })
        .collect();
    Ok((!unseen.is_empty()).then(|| Finding {
        severity: Severity::Note,
        name: "capture.tables",
        what: format!("tables in capture.tables that are not seen: {}", named(&unseen)),
        why:
            "they are not there, or the user may not SELECT from them: then nothing could be said \
              about them here, and full syncs of them are refused"
                .into(),
        remedy: "correct the name, or run the GRANT that is printed".into(),
    }))
}
