//! The settings of a connection that reads tables.

use crate::{conn::Conn, error::TableResult};

/// Text comes in its column's own character set, and TIMESTAMP in UTC. Every date that a table can
/// hold can be compared. Sorting looks at whole values. The server does not cut off a page while
/// the bus makes us wait. If somebody has locked the table, neither we nor those after us wait in
/// line for long. Limits on SELECT do not count here. Each statement shows what is committed when
/// the statement begins, and a COMMIT begins nothing.
const EVERYWHERE: &str = "character_set_results = NULL, time_zone = '+00:00', \
    sql_mode = 'ALLOW_INVALID_DATES', max_sort_length = 65536, net_write_timeout = 3600, \
    lock_wait_timeout = 2, sql_select_limit = 18446744073709551615, sql_big_selects = 1, \
    autocommit = 1, completion_type = 'NO_CHAIN'";

/// Nothing can be changed. Nothing is read that may still be rolled back. A snapshot is consistent
/// at this isolation level only, and a server's own default may be another.
const TRANSACTION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// Begins a transaction that shows the tables as they are now.
pub const BEGIN_SNAPSHOT: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

/// The caller sets MariaDB's `max_statement_time` and MySQL's `max_execution_time`.
///
/// # Errors
///
/// When the server does not answer, or refuses.
pub async fn session(conn: &mut Conn) -> TableResult<()> {
    // Current statistics, not those of yesterday; and keys that the server made by itself.
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

/// MySQL's versions are below 10; MariaDB's versions are 10.0 and above.
pub fn is_mariadb(version: (u16, u16, u16)) -> bool {
    version >= (10, 0, 0)
}
