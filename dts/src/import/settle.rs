//! From a tool's position to ours: what the server has there, and which part of it was already
//! sent.

use binlog::GtidSet;
use tracing::warn;

use super::{BY_HAND, Stopped, Tool, skip::skip_sent};
use crate::{
    checkpoint::{Saved, SourcePosition},
    config::{Config, Start},
    error::{Error, Result},
    replica::{self, Conn, Depth, LocatedPlace, Server},
};

/// A tool may store a GTID set that lacks one transaction compared with its own file and position:
/// Debezium after DDL, Maxwell always.
const MAX_APART: u64 = 1;

/// Finds the place on the server, and returns what to save so that `dts` goes on after the records
/// that the tool has sent.
///
/// # Errors
///
/// Refused, when the server does not have the place, the place has two meanings, or `dts` cannot go
/// on from there; transient, when the server is away.
pub async fn settle(
    conn: &mut Conn,
    config: &Config,
    server: &Server,
    stopped: &Stopped,
) -> Result<Saved> {
    let at = (stopped.file.as_str(), stopped.pos);
    let place = replica::locate(conn, &config.source, server, at).await?;
    let by_file = place.as_ref().and_then(|place| boundary(stopped, place));
    let position = match (&stopped.gtids, &server.gtid_executed, by_file) {
        (Some(gtids), Some(_), Some(position)) => agree(gtids, position, stopped)?,
        (Some(gtids), Some(_), None) if stopped.sent.is_nothing() => {
            let Stopped { file, pos, .. } = stopped;
            warn!("{file}:{pos} is no place on this server; using only the GTID set");
            let start = Start::Gtid(gtids.clone());
            replica::resolve_start(conn, &config.source, server, &start).await?
        }
        (_, _, Some(position)) => position,
        _ => return Err(no_place(stopped, place.as_ref())),
    };
    let mut saved = Saved::new(server.uuid.clone(), position);
    if !stopped.sent.is_nothing() {
        saved = skip_sent(config, saved, stopped.sent).await?;
    }
    replica::check_position(conn, &config.source, server, &saved).await?;
    Ok(saved)
}

/// The boundary that a tool means by a place; `None` when the place is not one of the tool's.
fn boundary(stopped: &Stopped, place: &LocatedPlace) -> Option<SourcePosition> {
    let LocatedPlace { before, after, depth } = place.clone();
    match (stopped.tool, depth) {
        (_, Depth::Torn) => None,
        (_, Depth::Boundary) if stopped.sent.is_nothing() => Some(before),
        (_, Depth::Begin) => Some(before),
        // The tool stores the end of the last row that it sent, after the transaction was
        // committed.
        (Tool::Maxwell, Depth::Body | Depth::Commit) => Some(after),
        // The tool stores where the acknowledged commit or statement begins.
        (Tool::Canal, Depth::Commit | Depth::Statement) => Some(after),
        (Tool::Debezium | Tool::Maxwell, Depth::Statement) => Some(before),
        (Tool::Debezium | Tool::Canal, Depth::Body)
        | (Tool::Debezium, Depth::Commit)
        | (_, Depth::Boundary) => None,
    }
}

/// Uses the file, which is exact, if the GTID set agrees, apart from what tools leave out.
fn agree(gtids: &GtidSet, position: SourcePosition, stopped: &Stopped) -> Result<SourcePosition> {
    let here = position.gtids.clone().unwrap_or_default();
    let (missing, more) = (here.minus(gtids), gtids.minus(&here));
    if missing.count().saturating_add(more.count()) <= MAX_APART {
        return Ok(position);
    }
    let Stopped { file, pos, .. } = stopped;
    let part = |what: &str, set: &GtidSet| {
        if set.is_empty() { String::new() } else { format!("; {what}: {set}") }
    };
    Err(Error::refused(
        format!(
            "the stored GTID set and {file}:{pos} are two different places on this server{}{}",
            part("before the position and not in the set", &missing),
            part("in the set and not before the position", &more)
        ),
        "if the tool read from another server, or filters GTIDs, choose one of the two yourself: \
         `dts position set --gtid …` or `--file … --pos …`",
    ))
}

fn no_place(stopped: &Stopped, place: Option<&LocatedPlace>) -> Error {
    let Stopped { file, pos, sent, .. } = stopped;
    match place {
        None => Error::refused(
            format!("the server has no binlog position {file}:{pos}: purged, or another server"),
            "set source.hosts to the server that the tool read from; SHOW BINARY LOGS shows what \
             it has",
        ),
        Some(place) if sent.is_nothing() => Error::refused(
            format!(
                "{file}:{pos} is inside a transaction, which begins at {}:{} and ends at {}:{}, \
                 and not where this tool stores positions: this server is not the one that it \
                 read from",
                place.before.file, place.before.pos, place.after.file, place.after.pos
            ),
            format!("set source.hosts to that one, or {BY_HAND}"),
        ),
        Some(_) => Error::refused(
            format!(
                "the tool stopped inside a transaction, but no transaction begins at {file}:{pos} \
                 on this server"
            ),
            "set source.hosts to the server that it read from; or start it once more, and stop it \
             when nothing is written",
        ),
    }
}
