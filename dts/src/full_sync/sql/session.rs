//! What a connection is set to before tables are read over it.

use super::error::TableResult;
use crate::replica::Conn;

/// Text comes in its column's own character set; TIMESTAMP in UTC; every date that a table can hold
/// can be compared with; sorting looks at whole values; a page that the bus keeps waiting is not
/// cut off; where somebody has locked the table neither we nor those who come after us wait in line
/// for long; nobody's limit on a SELECT holds here; each statement shows what is committed when it
/// begins, and a COMMIT begins nothing.
const EVERYWHERE: &str = "character_set_results = NULL, time_zone = '+00:00', \
    sql_mode = 'ALLOW_INVALID_DATES', max_sort_length = 65536, net_write_timeout = 3600, \
    lock_wait_timeout = 2, sql_select_limit = 18446744073709551615, sql_big_selects = 1, \
    autocommit = 1, completion_type = 'NO_CHAIN'";

/// Nothing can be changed; nothing is read that may yet be rolled back; and a snapshot is one,
/// which it is at this level only. A server's own default may be another.
const TRANSACTION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// Begins a transaction that shows the tables as they are now.
pub(crate) const BEGIN_SNAPSHOT: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

/// MariaDB's `max_statement_time` and MySQL's `max_execution_time` are left to the caller.
///
/// # Errors
///
/// When the server does not answer, or refuses.
pub async fn session(conn: &mut Conn) -> TableResult<()> {
    // Statistics as they are now, not of yesterday; and keys that the server made by itself.
    let own = match conn.server_version() {
        version if is_mariadb(version) => "",
        version if version >= (8, 0, 30) => {
            ", information_schema_stats_expiry = 0, \
             show_gipk_in_create_table_and_information_schema = ON"
        }
        _ => ", information_schema_stats_expiry = 0",
    };
    conn.query_drop("SET NAMES utf8mb4").await?;
    conn.query_drop(format!("SET SESSION {EVERYWHERE}{own}")).await?;
    conn.query_drop(TRANSACTION).await?;
    Ok(())
}

/// MySQL's versions are below 10, MariaDB's since 10.0 are not.
pub(crate) fn is_mariadb(version: (u16, u16, u16)) -> bool {
    version >= (10, 0, 0)
}
