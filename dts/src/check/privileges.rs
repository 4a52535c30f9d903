//! Which of the rights that `dts` needs the user lacks, and the statements that give them.
//!
//! The rights are tried, not read: roles and managed servers make grants hard to read.

use mysql_async::Error;

use super::noted::NOT_SYSTEM;
use crate::{
    capture::Capture,
    check::{Finding, Severity},
    config::SourceConfig,
    full_sync::NO_TABLE,
    replica::{self, Conn, quote},
};

/// The GRANT statements for what the user that we are logged in as lacks.
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

/// The user that we are logged in as, as a GRANT names it.
pub(super) async fn account(conn: &mut Conn, config: &SourceConfig) -> String {
    let account: Option<String> = conn.query_first("SELECT CURRENT_USER()").await.ok().flatten();
    let account = account.unwrap_or_else(|| format!("{}@%", config.user));
    let (user, host) = account.rsplit_once('@').unwrap_or((account.as_str(), "%"));
    format!("{}@{}", quote::text(user), quote::text(host))
}

/// To follow the binlog, to ask where it is, and to see whether the server is itself a replica.
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

/// MariaDB, whose versions begin at 10, made two rights of one, and named the last in 10.5.9.
fn monitor_rights(version: (u16, u16, u16)) -> (&'static str, &'static str) {
    if version >= (10, 5, 9) {
        ("BINLOG MONITOR", "REPLICA MONITOR")
    } else {
        ("REPLICATION CLIENT", "REPLICATION CLIENT")
    }
}

/// What is to be said of captured tables that the user may not read, seen or not.
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
    // Where nothing is named, not all that is there has to be captured.
    let severity = if is_named || seen == Some(0) { Severity::Warn } else { Severity::Note };
    Some(Finding {
        severity,
        name: "select",
        what: format!("the user may not SELECT from all of {}", places.join(", ")),
        why:
            "changes of such tables come, but their keys, foreign keys and engines cannot be seen \
              here, and full syncs of them are refused"
                .into(),
        remedy: "run the GRANT that `dts check` prints, unless that is meant so".into(),
    })
}

/// What of the captured tables the user may not SELECT from, as a GRANT names it.
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

/// Tried on a table that is not there: who may read it is told so, and others that they may not.
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

/// Whether the server says that we may not; one that does not answer says nothing.
async fn is_denied(conn: &mut Conn, statement: &str) -> bool {
    // ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR, ER_SPECIFIC_ACCESS_DENIED_ERROR
    const DENIED: [u16; 3] = [1044, 1142, 1227];
    let asked = conn.query_drop(statement).await;
    matches!(asked, Err(Error::Server(said)) if DENIED.contains(&said.code))
}

fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// What a GRANT calls the tables of a glob. Schemas have patterns there, tables have not.
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
    fn the_grant_covers_the_captured_tables_and_what_is_missing_alone() {
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
