//! The privileges that `dts` needs and the user lacks, and the statements that give them.
//!
//! The privileges are tried, not read: roles and managed servers make grants hard to read.

use mysql_async::Error;

use super::noted::NOT_SYSTEM;
use source_table::quote;

use crate::{
    capture::Capture,
    check::{Finding, Severity},
    config::SourceConfig,
    full_sync::NO_TABLE,
    replica::{self, Conn},
};

/// The GRANT statements for the privileges that the logged-in user lacks.
pub(super) async fn missing(
    conn: &mut Conn,
    config: &SourceConfig,
    capture: &Capture,
) -> Vec<String> {
    let account = account(conn, config).await;
    let global = missing_global(conn, config).await;
    let places = unselectable(conn, capture).await;
    statements(&account, &global, &places)
}

fn statements(account: &str, global: &[&str], places: &[String]) -> Vec<String> {
    let replicate = format!("GRANT {} ON *.* TO {account}", global.join(", "));
    let mut all = Vec::new();
    all.extend((!global.is_empty()).then_some(replicate));
    all.extend(places.iter().map(|place| format!("GRANT SELECT ON {place} TO {account}")));
    all
}

/// The user that we are logged in as, in the form of a GRANT.
pub(super) async fn account(conn: &mut Conn, config: &SourceConfig) -> String {
    let account: Option<String> = conn.query_first("SELECT CURRENT_USER()").await.ok().flatten();
    let account = account.unwrap_or_else(|| format!("{}@%", config.user));
    let (user, host) = account.rsplit_once('@').unwrap_or((account.as_str(), "%"));
    format!("{}@{}", quote::text(user), quote::text(host))
}

/// The privileges to follow the binlog, to ask for its end, and to see whether the server is a
/// replica.
async fn missing_global(conn: &mut Conn, config: &SourceConfig) -> Vec<&'static str> {
    let (logs, replica) = monitor_rights(conn.server_version());
    let tried = [
        (replica::may_replicate(config).await, "REPLICATION SLAVE"),
        (!is_denied(conn, "SHOW BINARY LOGS").await, logs),
        (replica::may_see_replication(conn).await, replica),
    ];
    let mut missing: Vec<&str> =
        tried.into_iter().filter(|(may, _)| !may).map(|(_, right)| right).collect();
    missing.dedup();
    missing
}

/// MariaDB, whose versions begin at 10, split one privilege into two, and changed the name of the
/// second in 10.5.9.
fn monitor_rights(version: (u16, u16, u16)) -> (&'static str, &'static str) {
    if version >= (10, 5, 9) {
        ("BINLOG MONITOR", "REPLICA MONITOR")
    } else {
        ("REPLICATION CLIENT", "REPLICATION CLIENT")
    }
}

/// The finding about captured tables that the user may not read, seen or not.
pub(super) async fn of_select(conn: &mut Conn, capture: &Capture) -> Option<Finding> {
    let places = unselectable(conn, capture).await;
    if places.is_empty() {
        return None;
    }
    let tables = format!(
        "SELECT COUNT(*) FROM information_schema.TABLES \
         WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA {NOT_SYSTEM}"
    );
    let seen: Option<u64> = conn.query_first(tables).await.ok().flatten();
    let is_named = capture.globs().next().is_some();
    // If no table is named, captured tables may be fewer than all.
    let severity = if is_named || seen == Some(0) { Severity::Warn } else { Severity::Note };
    Some(Finding {
        severity,
        name: "select",
        what: format!("the user may not SELECT from all of {}", places.join(", ")),
        why:
            "changes of such tables are captured, but their keys, foreign keys and engines are not \
              seen here, and full syncs of them are refused"
                .into(),
        remedy: "run the GRANT that `dts check` prints, or leave it so if that is intended".into(),
    })
}

/// The captured tables that the user may not SELECT from, in the form of a GRANT.
async fn unselectable(conn: &mut Conn, capture: &Capture) -> Vec<String> {
    let mut globs: Vec<(&str, &str)> = capture.globs().collect();
    if globs.is_empty() {
        globs.push(("*", "*"));
    }
    let mut places = Vec::new();
    for (schema, table) in globs {
        let place = place(schema, table);
        if !places.contains(&place) && !may_select(conn, (schema, table)).await {
            places.push(place);
        }
    }
    places
}

/// Tries to read a table that does not exist: the server's error shows whether the user may read
/// there.
async fn may_select(conn: &mut Conn, (schema, table): (&str, &str)) -> bool {
    let fitting = schema.replace('*', "dbevent").replace('?', "x").replace('`', "``");
    let select = format!("SELECT 1 FROM `{fitting}`.`{NO_TABLE}` LIMIT 0");
    if !is_denied(conn, &select).await {
        return true;
    }
    if is_pattern(schema) || is_pattern(table) {
        return false;
    }
    let columns = "SELECT COUNT(*) > 0 AND COUNT(*) = SUM(FIND_IN_SET('select', PRIVILEGES) > 0) \
                   FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
    let all: mysql_async::Result<Option<Option<bool>>> =
        conn.exec_first(columns, (schema, table)).await;
    all.map_or(true, |all| all.flatten() == Some(true))
}

/// Whether the server says that we may not; a server that does not answer counts as no.
async fn is_denied(conn: &mut Conn, statement: &str) -> bool {
    // ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR, ER_SPECIFIC_ACCESS_DENIED_ERROR
    const DENIED: [u16; 3] = [1044, 1142, 1227];
    let asked = conn.query_drop(statement).await;
    matches!(asked, Err(Error::Server(said)) if DENIED.contains(&said.code))
}

fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// The name that a GRANT has for the tables of a glob. GRANT allows patterns for schemas, but not
/// for tables.
fn place(schema: &str, table: &str) -> String {
    if schema == "*" {
        return "*.*".to_owned();
    }
    if is_pattern(table) {
        let pattern = schema.replace('_', "\\_").replace('*', "%").replace('?', "_");
        return format!("`{pattern}`.*");
    }
    if is_pattern(schema) { "*.*".to_owned() } else { format!("`{schema}`.`{table}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grant_covers_the_captured_tables_and_only_what_is_missing() {
        assert_eq!(place("*", "*"), "*.*");
        assert_eq!(place("shop", "*"), "`shop`.*");
        assert_eq!(place("my_shop?", "t*"), "`my\\_shop_`.*");
        assert_eq!(place("shop", "item"), "`shop`.`item`");
        assert_eq!(place("shop*", "item"), "*.*");
        assert_eq!(monitor_rights((9, 7, 4)), ("REPLICATION CLIENT", "REPLICATION CLIENT"));
        assert_eq!(monitor_rights((10, 11, 2)), ("BINLOG MONITOR", "REPLICA MONITOR"));
        let account = "'dts'@'%'";
        let all = statements(account, &["REPLICATION SLAVE", "x"], &["`shop`.*".to_owned()]);
        assert_eq!(all[0], "GRANT REPLICATION SLAVE, x ON *.* TO 'dts'@'%'");
        assert_eq!(all[1], "GRANT SELECT ON `shop`.* TO 'dts'@'%'");
        assert!(statements(account, &[], &[]).is_empty());
    }
}
