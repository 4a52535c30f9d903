//! The privileges that the sink needs at the target, and those that it lacks.

use std::collections::BTreeSet;

use super::{
    MysqlConfig,
    client::{MysqlClient, TargetConn, TargetError},
    literal::named,
    table::TargetTable,
};

/// What is read and written.
const ROWS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// Names that nothing has.
const NO_TABLE: &str = "dbevent_no_such_table";
const NO_COLUMN: &str = "dbevent_no_such_column";

/// The statement that gives privileges on the tables of a schema.
pub(super) fn grant(privileges: &[&str], schema: &str, account: &str) -> String {
    let place = if schema.is_empty() { "*".to_owned() } else { format!("{}.*", named(schema)) };
    format!("run there: GRANT {} ON {place} TO {account}", privileges.join(", "))
}

/// All that the config may need.
pub(super) fn needed(config: &MysqlConfig) -> Vec<&'static str> {
    let mut all = ROWS.to_vec();
    if config.create || config.version_column.is_some() {
        all.push("CREATE");
    }
    if config.create {
        all.push("ALTER");
    }
    all
}

/// The privileges on a table that we lack, in the order of [`needed`]. Nothing is changed: rows are
/// only explained, and what is made or altered leads to a name that nothing has. A server looks at
/// privileges first, also where the table is not there.
///
/// # Errors
///
/// Why the target does not answer.
pub(super) async fn lacking(
    (client, conn): (&MysqlClient, &mut TargetConn),
    table: &TargetTable,
    needed: &[&'static str],
) -> Result<Vec<&'static str>, TargetError> {
    let mut lacking = BTreeSet::new();
    for privilege in needed {
        if is_denied((client, &mut *conn), &attempt(privilege, table), privilege).await? {
            lacking.insert(*privilege);
        }
    }
    Ok(needed.iter().copied().filter(|privilege| lacking.contains(privilege)).collect())
}

/// A statement that needs the privilege, and does nothing.
fn attempt(privilege: &str, table: &TargetTable) -> String {
    let name = table.quoted();
    let beside = TargetTable { name: NO_TABLE.to_owned(), columns: Vec::new(), ..table.clone() };
    let column = table.columns.first().map_or(NO_COLUMN, |column| &column.name);
    match privilege {
        "SELECT" => format!("EXPLAIN SELECT * FROM {name}"),
        "INSERT" => format!("EXPLAIN INSERT INTO {name} () VALUES ()"),
        "UPDATE" => format!("EXPLAIN UPDATE {name} SET {} = NULL WHERE FALSE", named(column)),
        "DELETE" => format!("EXPLAIN DELETE FROM {name} WHERE FALSE"),
        "CREATE" => format!("CREATE TABLE {name} LIKE {}", beside.quoted()),
        _ => format!("ALTER TABLE {name} DROP COLUMN {NO_COLUMN}"),
    }
}

async fn is_denied(
    (client, conn): (&MysqlClient, &mut TargetConn),
    sql: &str,
    privilege: &str,
) -> Result<bool, TargetError> {
    match client.run(conn, sql).await {
        Err(TargetError::Away(why)) => Err(TargetError::Away(why)),
        // `INSERT, CREATE command denied to user …`. A schema is denied as a whole.
        Err(TargetError::Denied(error)) => {
            let denied = error.message.split_once(" command denied").map(|(what, _)| what);
            Ok(denied.is_none_or(|what| what.split(", ").any(|one| one == privilege)))
        }
        Ok(_) | Err(_) => Ok(false),
    }
}
