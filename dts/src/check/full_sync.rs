//! What full syncs need in addition to the stream: a mark in the binlog before each read, the
//! privilege to read the captured tables, and keys to read them by.

use std::collections::BTreeSet;

use super::noted::{NOT_SYSTEM, NotedTable, WITHOUT_PRIMARY, ask, named};
use source_table::MAX_INDEXED_BYTES;

use crate::{
    capture::Capture,
    check::{Finding, Severity},
    full_sync::{Why, lack_of_lock, why_locked},
    replica::{Conn, Product, Server},
};

/// The server to ask, and the tables to ask about.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) server: &'a Server,
    pub(super) capture: &'a Capture,
    pub(super) max_keyless_rows: u64,
    /// The user that we are logged in as, in the form of a GRANT.
    pub(super) account: &'a str,
}

/// The findings about full syncs of the captured tables.
///
/// # Errors
///
/// When the server does not answer.
pub(super) async fn of_full_sync(
    conn: &mut Conn,
    subject: Subject<'_>,
) -> mysql_async::Result<Vec<Finding>> {
    let mut found = Vec::new();
    found.extend(marks(conn, subject).await?);
    found.extend(unreadable(conn, subject.capture).await?);
    found.extend(keyless(conn, subject).await?);
    if subject.server.product == Product::Mariadb {
        found.extend(hidden_keys(conn, subject.capture).await?);
    }
    Ok(found)
}

/// With GTIDs, and on MariaDB, the mark needs no privilege. Otherwise it needs one to see the mark,
/// or to lock.
async fn marks(conn: &mut Conn, subject: Subject<'_>) -> mysql_async::Result<Option<Finding>> {
    let Subject { server, capture, account, .. } = subject;
    if server.product == Product::Mariadb || server.gtid_executed.is_some() {
        return Ok(None);
    }
    let Some(why) = why_locked(conn).await? else { return Ok(None) };
    let schemas = without_lock(conn, capture).await?;
    let (what, consequence, grant) = match schemas.is_empty() {
        true => (
            format!("{why}: a full sync locks its table for each chunk"),
            "writers of the table wait until the chunk is read, and full syncs of tables without a \
             key are refused",
            "",
        ),
        false => (
            format!("{why}; and the user lacks LOCK TABLES on {}", schemas.join(", ")),
            "full syncs of these tables are refused",
            "; or, to let dts lock the tables, GRANT LOCK TABLES on the captured schemas",
        ),
    };
    let remedy = match why {
        Why::NoLogStatus => format!(
            "GRANT BACKUP_ADMIN ON *.* TO {account}; GRANT SELECT ON \
             performance_schema.log_status TO {account}; or turn GTIDs on{grant}"
        ),
        Why::SemiSync => format!("{}{grant}", why.remedy()),
    };
    let (severity, why) = (Severity::Warn, consequence.to_owned());
    Ok(Some(Finding { severity, name: "full_sync_privileges", what, why, remedy }))
}

/// The schemas whose tables we may not lock.
async fn without_lock(conn: &mut Conn, capture: &Capture) -> mysql_async::Result<Vec<String>> {
    let query = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES \
         WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA {NOT_SYSTEM}"
    );
    let tables: Vec<(String, String)> = conn.query(query).await?;
    let captured = tables.into_iter().filter(|(schema, table)| capture.includes(schema, table));
    let schemas: BTreeSet<String> = captured.map(|(schema, _)| schema).collect();
    let mut without = Vec::new();
    for schema in schemas {
        if lack_of_lock(conn, &schema).await?.is_some() {
            without.push(schema);
        }
    }
    Ok(without)
}

/// Tables that the user sees, but may not read.
async fn unreadable(conn: &mut Conn, capture: &Capture) -> mysql_async::Result<Option<Finding>> {
    let query = format!(
        "SELECT c.TABLE_SCHEMA, c.TABLE_NAME, '' FROM information_schema.COLUMNS c \
         JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = c.TABLE_SCHEMA \
         AND t.TABLE_NAME = c.TABLE_NAME WHERE t.TABLE_TYPE = 'BASE TABLE' \
         AND NOT FIND_IN_SET('select', c.PRIVILEGES) AND c.TABLE_SCHEMA {NOT_SYSTEM} \
         GROUP BY c.TABLE_SCHEMA, c.TABLE_NAME ORDER BY 1, 2"
    );
    let tables = ask(conn, capture, &query).await?;
    Ok((!tables.is_empty()).then(|| Finding {
        severity: Severity::Warn,
        name: "select",
        what: format!("the user may not SELECT from captured tables: {}", named(&tables)),
        why: "their changes are captured, but full syncs of them are refused".into(),
        remedy: "run the GRANT that `dts check` prints".into(),
    }))
}

/// Tables that must be read at one moment, and cannot be.
async fn keyless(conn: &mut Conn, subject: Subject<'_>) -> mysql_async::Result<Option<Finding>> {
    let Subject { capture, max_keyless_rows, .. } = subject;
    let query = format!(
        "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, \
         IF(t.ENGINE = 'InnoDB', CONCAT('about ', t.TABLE_ROWS, ' rows'), t.ENGINE) \
         FROM information_schema.TABLES t {WITHOUT_PRIMARY} AND t.TABLE_SCHEMA {NOT_SYSTEM} \
         AND (t.ENGINE <> 'InnoDB' OR t.TABLE_ROWS > {max_keyless_rows}) ORDER BY 1, 2"
    );
    let mut tables = ask(conn, capture, &query).await?;
    if !tables.is_empty() {
        let unique = "SELECT TABLE_SCHEMA, TABLE_NAME, '' FROM information_schema.STATISTICS \
            WHERE NON_UNIQUE = 0 GROUP BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME \
            HAVING SUM(NULLABLE = 'YES' OR COLUMN_NAME IS NULL) = 0";
        let keyed = ask(conn, capture, unique).await?;
        tables.retain(|noted| !keyed.iter().any(|other| other.table == noted.table));
    }
    Ok((!tables.is_empty()).then(|| Finding {
        severity: Severity::Warn,
        name: "max_keyless_rows",
        what: format!(
            "captured tables without any key that are not InnoDB, or have more rows than \
             fullSync.maxKeylessRows = {max_keyless_rows}: {}",
            named(&tables)
        ),
        why: "a full sync must read such a table in one piece: full syncs of these are refused"
            .into(),
        remedy: "ALTER TABLE … ADD PRIMARY KEY (…); or ENGINE = InnoDB, and raise \
                 fullSync.maxKeylessRows in dts.toml"
            .into(),
    }))
}

/// Tables whose rows a MariaDB identifies only by a hidden column: a hash of a long text.
async fn hidden_keys(conn: &mut Conn, capture: &Capture) -> mysql_async::Result<Option<Finding>> {
    let query = format!(
        "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, MIN(s.INDEX_NAME) FROM information_schema.STATISTICS s \
         JOIN information_schema.COLUMNS c ON c.TABLE_SCHEMA = s.TABLE_SCHEMA \
         AND c.TABLE_NAME = s.TABLE_NAME AND c.COLUMN_NAME = s.COLUMN_NAME \
         JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = s.TABLE_SCHEMA \
         AND t.TABLE_NAME = s.TABLE_NAME {WITHOUT_PRIMARY} AND t.TABLE_SCHEMA {NOT_SYSTEM} \
         AND s.NON_UNIQUE = 0 AND s.INDEX_TYPE = 'HASH' AND s.SUB_PART IS NULL \
         AND c.CHARACTER_OCTET_LENGTH > {MAX_INDEXED_BYTES} \
         GROUP BY t.TABLE_SCHEMA, t.TABLE_NAME ORDER BY 1, 2"
    );
    let tables: Vec<NotedTable> = ask(conn, capture, &query).await?;
    Ok((!tables.is_empty()).then(|| Finding {
        severity: Severity::Warn,
        name: "long_unique_key",
        what: format!(
            "captured tables without a primary key, and with a unique key over a long text: {}",
            named(&tables)
        ),
        why: "the server identifies their rows by a hidden column: full syncs of them are \
              refused"
            .into(),
        remedy: "ALTER TABLE … ADD PRIMARY KEY (…)".into(),
    }))
}
