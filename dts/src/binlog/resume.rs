//! Can the server go on from where we stopped? Asked before every connection as a replica.

use mysql_async::Conn;

use super::server::Server;
use crate::{
    config::SourceConfig,
    error::{Error, Result},
    gtid::GtidSet,
    position::{Position, Saved},
};

const REMEDY: &str = "the changes in between are lost to dts: bring a server that has them, or \
    begin anew by `dts position set earliest` and load the affected tables again";

/// Checks that a saved position can be continued on this server.
///
/// # Errors
///
/// Refused, when the server is another one, has lost transactions that we have read, or has purged
/// some that we have not.
pub async fn check_position(
    conn: &mut Conn,
    config: &SourceConfig,
    server: &Server,
    saved: &Saved,
) -> Result<()> {
    if saved.skip.records > 0 && saved.server_uuid != server.uuid {
        return Err(Error::refused(
            format!(
                "we stopped inside a transaction of server {}, and this is server {}: another \
                 server may have logged its rows in another order",
                saved.server_uuid, server.uuid
            ),
            "connect to the server of before until that transaction is done",
        ));
    }
    match (&saved.position.gtids, &server.gtid_executed) {
        (Some(read), Some(executed)) => check_gtids(read, executed, &server.gtid_purged),
        _ => check_file(conn, config, server, saved).await,
    }
}

fn check_gtids(read: &GtidSet, executed: &GtidSet, purged: &GtidSet) -> Result<()> {
    let lost = read.minus(executed);
    if !lost.is_empty() {
        return Err(Error::refused(
            format!(
                "the server does not have transactions that we have read: {lost}. It is another \
                 server than before, a restored backup, or it lost them in a crash"
            ),
            "connect to the server that has them; accepting their loss comes in a later version",
        ));
    }
    let missed = purged.minus(read);
    if !missed.is_empty() {
        return Err(Error::refused(
            format!("the server has purged transactions that we have not read: {missed}"),
            REMEDY,
        ));
    }
    Ok(())
}

async fn check_file(
    conn: &mut Conn,
    config: &SourceConfig,
    server: &Server,
    saved: &Saved,
) -> Result<()> {
    let Position { file, pos, .. } = &saved.position;
    if saved.server_uuid != server.uuid {
        return Err(Error::refused(
            format!(
                "this is server {}, our position {file}:{pos} belongs to server {}: without GTIDs \
                 it means nothing here",
                server.uuid, saved.server_uuid
            ),
            "connect to the server of before, or begin anew with another name in dts.toml",
        ));
    }
    if *pos > u64::from(u32::MAX) {
        return Err(Error::refused(
            format!("our position {file}:{pos} is past 4 GiB, which MySQL cannot be asked for"),
            "turn GTIDs on at the server; resuming there by file comes in a later version",
        ));
    }
    let files = Server::binlog_files(conn, config).await?;
    match files.iter().find(|(name, _)| name == file) {
        None => Err(Error::refused(
            format!(
                "the server has purged our binlog file {file} (its oldest is {})",
                files.first().map_or("none", |(name, _)| name)
            ),
            REMEDY,
        )),
        Some((_, size)) if size < pos => Err(Error::refused(
            format!("binlog file {file} ends at {size}, before our position {pos}"),
            "the server lost its end in a crash, or was restored: begin anew with another name",
        )),
        Some(_) => Ok(()),
    }
}
