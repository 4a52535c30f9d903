//! From the configured `start` to a position, once.

use std::time::SystemTime;

use mysql_async::Conn;

use super::{scan::Scan, server::Server};
use crate::{
    config::{SourceConfig, Start},
    error::{Error, Result},
    gtid::GtidSet,
    position::Position,
};

/// The first event's position in every binlog file.
const FIRST_POS: u64 = 4;

/// Resolves where a first start begins.
///
/// # Errors
///
/// As [`connect`](super::connect()); refused when the place does not exist (any more).
pub async fn resolve_start(
    conn: &mut Conn,
    config: &SourceConfig,
    server: &Server,
    start: &Start,
) -> Result<Position> {
    match start {
        Start::Latest => server.binlog_end(conn, config).await,
        Start::Earliest => earliest(conn, config, server).await,
        Start::Gtid(gtids) => after_gtids(conn, config, server, gtids).await,
        Start::File(file, pos) => at_file(conn, config, server, (file, *pos)).await,
        Start::Time(time) => at_time(conn, config, server, *time).await,
    }
}

async fn earliest(conn: &mut Conn, config: &SourceConfig, server: &Server) -> Result<Position> {
    let files = Server::binlog_files(conn, config).await?;
    let gtids = server.gtid_executed.as_ref().map(|_| server.gtid_purged.clone());
    Ok(Position { gtids, file: oldest(&files)?, pos: FIRST_POS })
}

async fn after_gtids(
    conn: &mut Conn,
    config: &SourceConfig,
    server: &Server,
    gtids: &GtidSet,
) -> Result<Position> {
    let Some(executed) = &server.gtid_executed else {
        return Err(Error::refused(
            "start names GTIDs, and the server has GTIDs off",
            "start by { file = …, pos = … } or turn gtid_mode on",
        ));
    };
    let unknown = gtids.minus(executed);
    if !unknown.is_empty() {
        return Err(Error::refused(
            format!("start names transactions that the server does not have: {unknown}"),
            "take a set from this server's gtid_executed",
        ));
    }
    let missed = server.gtid_purged.minus(gtids);
    if !missed.is_empty() {
        return Err(Error::refused(
            format!("the server has purged transactions after start: {missed}"),
            "start = \"earliest\" begins with what is left",
        ));
    }
    let files = Server::binlog_files(conn, config).await?;
    Ok(Position { gtids: Some(gtids.clone()), file: oldest(&files)?, pos: FIRST_POS })
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
    place: (&str, u64),
) -> Result<Position> {
    let (file, pos) = place;
    let files = Server::binlog_files(conn, config).await?;
    if !files.iter().any(|(name, size)| name == file && pos <= *size) {
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Error::refused(
            format!("the server has no binlog position {file}:{pos}"),
            format!("it has {}; SHOW BINARY LOGS tells their sizes", names.join(", ")),
        ));
    }
    let mut scan = Scan::open(config, server, file).await?;
    while scan.place().file == file && scan.place().pos < pos {
        if scan.next().await?.is_none() {
            break;
        }
    }
    let found = scan.place();
    if pos > FIRST_POS && found.pos != pos {
        return Err(Error::refused(
            format!("{file}:{pos} is not a boundary between transactions"),
            format!("the first boundary after it is {}:{}", found.file, found.pos),
        ));
    }
    Ok(found.clone())
}

async fn at_time(
    conn: &mut Conn,
    config: &SourceConfig,
    server: &Server,
    time: SystemTime,
) -> Result<Position> {
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
