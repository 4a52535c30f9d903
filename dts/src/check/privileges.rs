//! The smallest set of rights that `dts` needs, as the statements that give it.

use crate::{binlog::Conn, capture::Capture, config::SourceConfig};

/// The GRANT statements for the user that we are logged in as.
pub(super) async fn grants(
    conn: &mut Conn,
    config: &SourceConfig,
    capture: &Capture,
) -> Vec<String> {
    let account = account(conn, config).await;
    statements(&account, global_rights(conn.server_version()), capture)
}

/// The user that we are logged in as, as a GRANT names it.
pub(super) async fn account(conn: &mut Conn, config: &SourceConfig) -> String {
    let account: Option<String> = conn.query_first("SELECT CURRENT_USER()").await.ok().flatten();
    let account = account.unwrap_or_else(|| format!("{}@%", config.user));
    let (user, host) = account.rsplit_once('@').unwrap_or((account.as_str(), "%"));
    format!("{}@{}", quoted(user), quoted(host))
}

/// To follow the binlog, to ask where it is, and to see whether the server is itself a replica.
/// MariaDB, whose versions begin at 10, made three rights of two, and named the last in 10.5.9.
fn global_rights(version: (u16, u16, u16)) -> &'static str {
    if version >= (10, 5, 9) {
        "REPLICATION SLAVE, BINLOG MONITOR, REPLICA MONITOR"
    } else {
        "REPLICATION SLAVE, REPLICATION CLIENT"
    }
}

fn statements(account: &str, global: &str, capture: &Capture) -> Vec<String> {
    let replicate = format!("GRANT {global} ON *.* TO {account}");
    let mut all = vec![replicate];
    let mut places: Vec<String> =
        capture.globs().map(|(schema, table)| place(schema, table)).collect();
    places.dedup();
    if places.is_empty() {
        places.push("*.*".to_owned());
    }
    all.extend(places.iter().map(|place| format!("GRANT SELECT ON {place} TO {account}")));
    all
}

/// What a GRANT calls the tables of a glob. Schemas have patterns there, tables have not.
fn place(schema: &str, table: &str) -> String {
    let is_pattern = |name: &str| name.contains(['*', '?']);
    if is_pattern(table) {
        let pattern = schema.replace('_', "\\_").replace('*', "%").replace('?', "_");
        return format!("`{pattern}`.*");
    }
    if is_pattern(schema) { "*.*".to_owned() } else { format!("`{schema}`.`{table}`") }
}

fn quoted(name: &str) -> String {
    format!("'{}'", name.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grant_covers_the_captured_tables_and_no_more() {
        assert_eq!(place("shop", "*"), "`shop`.*");
        assert_eq!(place("my_shop?", "t*"), "`my\\_shop_`.*");
        assert_eq!(place("shop", "item"), "`shop`.`item`");
        assert_eq!(place("shop*", "item"), "*.*");
        let global = global_rights((9, 7, 4));
        assert!(global_rights((10, 11, 2)).ends_with("REPLICA MONITOR"));
        let all = statements("'dts'@'%'", global, &Capture::default());
        assert_eq!(all[0], "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'dts'@'%'");
        assert_eq!(all[1], "GRANT SELECT ON *.* TO 'dts'@'%'");
        assert_eq!(quoted("o'neil"), "'o''neil'");
    }
}
