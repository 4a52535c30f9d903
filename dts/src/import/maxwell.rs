//! Maxwell's stored position: a row of the table `positions` in its schema.
//!
//! `binlog_file` and `binlog_position` are where the last row of the last whole transaction ends:
//! before its commit, or before rows that Maxwell filters out. `server_id` is the server's, or 0 if
//! Maxwell uses GTIDs; then `gtid_set` is what it had read at that row, mostly without that
//! transaction itself.

use mysql_async::Row;

use super::{BY_HAND, Sent, Stopped, Tool, gtids_of};
use source_table::quote::identifier;

use crate::{
    config::SourceConfig,
    error::{Error, Result},
    replica::{Conn, classify},
};

/// Which row to read.
#[derive(Clone, Debug)]
pub struct MaxwellRow {
    /// The schema of Maxwell's tables.
    pub schema: String,
    /// Its `client_id`.
    pub client_id: String,
}

/// A row of the table.
struct MaxwellPosition {
    server_id: u64,
    file: Option<String>,
    pos: Option<u64>,
    gtids: Option<String>,
}

/// Reads the position from the server that Maxwell read from.
///
/// # Errors
///
/// Refused, when there is no such table, or no row for this server and client.
pub async fn read_maxwell(
    conn: &mut Conn,
    config: &SourceConfig,
    row: &MaxwellRow,
) -> Result<Stopped> {
    let server_id: Option<u64> = conn
        .query_first("SELECT CAST(@@global.server_id AS UNSIGNED)")
        .await
        .map_err(|error| classify(config, error))?;
    let found = read_rows(conn, config, row).await?;
    let stored = choose_row(found, server_id.unwrap_or_default(), row)?;
    let (Some(file), Some(pos)) = (stored.file, stored.pos) else {
        return Err(Error::refused("Maxwell's row has no binlog position yet", BY_HAND));
    };
    Ok(Stopped {
        tool: Tool::Maxwell,
        gtids: gtids_of(stored.gtids.as_deref())?,
        file,
        pos,
        sent: Sent::default(),
    })
}

async fn read_rows(
    conn: &mut Conn,
    config: &SourceConfig,
    row: &MaxwellRow,
) -> Result<Vec<MaxwellPosition>> {
    let schema = identifier(&row.schema);
    let statement = format!(
        "SELECT server_id, binlog_file, binlog_position, gtid_set FROM {schema}.positions \
         WHERE client_id = ? ORDER BY server_id"
    );
    let rows: Vec<Row> = match conn.exec(statement, (row.client_id.as_str(),)).await {
        Ok(rows) => rows,
        // No such schema, table or column; or no privilege to read it.
        Err(mysql_async::Error::Server(error))
            if matches!(error.code, 1049 | 1146 | 1054 | 1142) =>
        {
            return Err(Error::refused(
                format!(
                    "Maxwell's table {}.positions cannot be read: {}",
                    row.schema, error.message
                ),
                "name its schema with --schema, and give source.user SELECT on it",
            ));
        }
        Err(error) => return Err(classify(config, error)),
    };
    Ok(rows.iter().map(stored).collect())
}

fn stored(row: &Row) -> MaxwellPosition {
    MaxwellPosition {
        server_id: row.get("server_id").unwrap_or_default(),
        file: row.get::<Option<String>, _>("binlog_file").flatten(),
        pos: row.get::<Option<u64>, _>("binlog_position").flatten(),
        gtids: row.get::<Option<String>, _>("gtid_set").flatten(),
    }
}

/// The row of this server, or the row for any server, which Maxwell writes if it uses GTIDs.
fn choose_row(
    found: Vec<MaxwellPosition>,
    server_id: u64,
    row: &MaxwellRow,
) -> Result<MaxwellPosition> {
    let MaxwellRow { schema, client_id } = row;
    let others: Vec<String> = found.iter().map(|stored| stored.server_id.to_string()).collect();
    let fits = |stored: &MaxwellPosition| {
        let by_gtids = stored.gtids.as_deref().is_some_and(|gtids| !gtids.is_empty());
        stored.server_id == server_id || (stored.server_id == 0 && by_gtids)
    };
    let mut fitting: Vec<MaxwellPosition> = found.into_iter().filter(fits).collect();
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        0 if others.is_empty() => Err(Error::refused(
            format!("{schema}.positions has no row of client {client_id}"),
            "name Maxwell's client_id with --client-id",
        )),
        0 => Err(Error::refused(
            format!(
                "{schema}.positions has no row for this server, whose server_id is {server_id}, \
                 but for server_id {}",
                others.join(", ")
            ),
            "set source.hosts to the server that Maxwell read from",
        )),
        _ => Err(Error::refused(
            format!(
                "client {client_id} has a row for server_id {server_id} and one for GTIDs \
                 (server_id 0) in {schema}.positions"
            ),
            "delete the row that Maxwell used before it was switched to or from GTIDs",
        )),
    }
}
