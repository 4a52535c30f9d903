//! From the configured `start` to a position, once.

use std::time::SystemTime;

use binlog::{FIRST_POS, GtidSet};

use source_table::Conn;

use super::{
    locate::{Depth, locate},
    scan::Scan,
    server::Server,
};
use crate::{
    checkpoint::SourcePosition,
    config::{SourceConfig, Start},
    error::{Error, Result},
};

/// Finds out where a first start begins.
///
/// # Errors
///
/// As [`connect`](super::connect()); refused when the place does not exist (any more).
pub async fn resolve_start(
    conn: &mut Conn,
    config: &SourceConfig,
    server: &Server,
    start: &Start,
) -> Result<SourcePosition> {
    match start {
        Start::Latest => server.binlog_end(conn, config).await,
        Start::Earliest => earliest(conn, config, server).await,
        Start::Gtid(gtids) => after_gtids(conn, config, server, gtids).await,
        Start::File(file, pos) => at_file(conn, config, server, (file, *pos)).await,
        Start::Time(time) => at_time(conn, config, server, *time).await,
    }
}

async fn earliest(
    conn: &mut Conn,
    config: &SourceConfig,
    server: &Server,
) -> Result<SourcePosition> {
    let files = Server::binlog_files(conn, config).await?;
    let gtids = server.gtid_executed.as_ref().map(|_| server.gtid_purged.clone());
    Ok(SourcePosition { gtids, file: oldest(&files)?, pos: FIRST_POS })
}

async fn after_gtids(
    conn: &mut Conn,
    config: &SourceConfig,
    server: &Server,
    gtids: &GtidSet,
) -> Result<SourcePosition> {
    let Some(executed) = &server.gtid_executed else {
        return Err(Error::refused(
            "the place to start names GTIDs, but the server has GTIDs off",
            "name a file and a position, or turn gtid_mode on",
        ));
    };
    let unknown = gtids.minus(executed);
    if !unknown.is_empty() {
        return Err(Error::refused(
            format!("the place to start has transactions that the server does not have: {unknown}"),
            "take a set from this server's gtid_executed (on MariaDB gtid_binlog_pos)",
        ));
    }
    let missed = server.gtid_purged.minus(gtids);
    if !missed.is_empty() {
        return Err(Error::refused(
            format!("the server has purged transactions after the place to start: {missed}"),
            "\"earliest\" begins with what is left",
        ));
    }
    let files = Server::binlog_files(conn, config).await?;
    Ok(SourcePosition { gtids: Some(gtids.clone()), file: oldest(&files)?, pos: FIRST_POS })
}

fn oldest(files: &[(String, u64)]) -> Result<String> {
    files
        .first()
        .map(|(name, _)| name.clone())
        .ok_or_else(|| Error::refused("the server has no binlog files", "turn the binlog on"))
}

async fn at_file(
    conn: &mut Conn,
    config: &SourceConfig,
    server: &Server,
    (file, pos): (&str, u64),
) -> Result<SourcePosition> {
    let Some(place) = locate(conn, config, server, (file, pos)).await? else {
        let files = Server::binlog_files(conn, config).await?;
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Error::refused(
            format!("the server has no binlog position {file}:{pos}"),
            format!("it has {}; SHOW BINARY LOGS shows their sizes", names.join(", ")),
        ));
    };
    if place.depth != Depth::Boundary {
        let SourcePosition { file: next, pos: end, .. } = place.after;
        return Err(Error::refused(
            format!("{file}:{pos} is not a boundary between transactions"),
            format!("the first boundary after it is {next}:{end}"),
        ));
    }
    Ok(place.before)
}

async fn at_time(
    conn: &mut Conn,
    config: &SourceConfig,
    server: &Server,
    time: SystemTime,
) -> Result<SourcePosition> {
    let files = Server::binlog_files(conn, config).await?;
    let mut scan = Scan::open(config, server, &oldest(&files)?).await?;
    for (file, _) in files.iter().skip(1).rev() {
        let later = Scan::open(config, server, file).await?;
        if later.created() <= time {
            scan = later;
            break;
        }
    }
    loop {
        let before = scan.place().clone();
        match scan.next().await? {
            Some(committed) if committed < time => {}
            _ => return Ok(before),
        }
    }
}
