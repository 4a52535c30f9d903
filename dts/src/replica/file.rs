//! How a position in a binlog file is continued, if GTIDs cannot be used.

use std::time::{Duration, SystemTime};

use binlog::{FIRST_POS, file_number};
use mysql_async::Row;

use source_table::{Conn, quote};

use super::{connect::classify, resumed::Resumed, scan::file_created, server::Server};
use crate::{
    checkpoint::{Saved, SourcePosition},
    config::SourceConfig,
    error::{Error, Result},
};

/// The last position that a server can be asked for: its protocol has 32 bits for the position.
const MAX_ASKABLE: u64 = u32::MAX as u64;

const BEGIN_WITH_THIS: &str = "bring the earlier server back; or begin with what this one has \
    (`dts position set earliest`) and correct the captured tables as after lost transactions \
    (docs/full-sync.md). Positions and GTIDs may begin again there, so new events may have an EvId \
    that earlier events had (docs/delivery.md)";

/// What is in a file after a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileRest {
    /// Only the events that end the file.
    Nothing,
    /// Transactions.
    Events,
}

/// Finds out how the server continues a position by its file.
///
/// # Errors
///
/// Refused, when the file or the position is not in the server's binlog (any more).
pub(super) async fn resume(
    conn: &mut Conn,
    config: &SourceConfig,
    server: &Server,
    saved: &Saved,
) -> Result<Resumed> {
    let SourcePosition { file, pos, .. } = &saved.position;
    if saved.server_uuid != server.uuid {
        return Err(Error::refused(
            format!(
                "this is server {}, our position {file}:{pos} belongs to server {}: without GTIDs \
                 it means nothing here",
                server.uuid, saved.server_uuid
            ),
            "connect to the earlier server; or begin with what this one has (`dts position set \
             earliest`) and correct the captured tables as after lost transactions \
             (docs/full-sync.md)",
        ));
    }
    let files = Server::binlog_files(conn, config).await?;
    check(&files, file, *pos)?;
    if let Some(saved_begin) = saved.file_created {
        check_begin(file, saved_begin, file_created(config, file).await?)?;
    }
    let mut resumed = Resumed::at(saved.clone());
    if *pos > MAX_ASKABLE {
        let rest = rest(conn, config, (file, *pos)).await?;
        past_4_gib(&mut resumed, &files, rest);
    }
    // The GTIDs that were read are kept, but the server has GTIDs off and cannot be asked by them.
    resumed.from.gtids = None;
    Ok(resumed)
}

/// Whether to ask a server by file although it has GTIDs. A dump by GTID begins with the last file
/// before which we have all GTIDs, so it skips transactions without a GTID. By file these are sent,
/// or refused. There may be such transactions if our file is not the last: a server whose mode is
/// changed begins another file. And the file is ours if it was begun when ours was: the file of a
/// restored backup can only be shorter.
///
/// # Errors
///
/// As [`connect`](super::connect()).
pub(super) async fn is_exact(
    conn: &mut Conn,
    config: &SourceConfig,
    saved: &Saved,
) -> Result<bool> {
    let Some(created) = saved.file_created else { return Ok(false) };
    let SourcePosition { file, pos, .. } = &saved.position;
    let files = Server::binlog_files(conn, config).await?;
    match files.iter().rev().skip(1).find(|(name, _)| name == file) {
        Some((_, size)) if *pos <= *size && *size <= MAX_ASKABLE => {
            was_begun(config, file, created).await
        }
        _ => Ok(false),
    }
}

/// Whether to ask a MariaDB by file, because an XA transaction is prepared and open: its place is
/// in a file that must still be there. If our file is another one now, the prepared transactions
/// are forgotten. If one of them is then committed, dts refuses the commit.
///
/// # Errors
///
/// As [`connect`](super::connect()); refused when a file is gone.
pub(super) async fn has_prepared(
    conn: &mut Conn,
    config: &SourceConfig,
    saved: &mut Saved,
) -> Result<bool> {
    if saved.prepared.is_empty() {
        return Ok(false);
    }
    let files = Server::binlog_files(conn, config).await?;
    let SourcePosition { file, pos, .. } = &saved.position;
    for (file, pos) in [(saved.oldest_file(), FIRST_POS), (file, *pos)] {
        check(&files, file, pos)?;
    }
    let is_ours = match saved.file_created {
        Some(created) => was_begun(config, file, created).await?,
        None => true,
    };
    if !is_ours {
        saved.prepared.clear();
    }
    Ok(is_ours)
}

/// Whether a file was begun at a time, in seconds since 1970.
async fn was_begun(config: &SourceConfig, file: &str, created: u32) -> Result<bool> {
    let begun = file_created(config, file).await?;
    Ok(begun == Some(SystemTime::UNIX_EPOCH + Duration::from_secs(created.into())))
}

/// Checks that a file is the one that we read, and not another one with its name.
fn check_begin(file: &str, saved: u32, now: Option<SystemTime>) -> Result<()> {
    let saved = SystemTime::UNIX_EPOCH + Duration::from_secs(saved.into());
    let Some(now) = now.filter(|now| *now != saved) else { return Ok(()) };
    let [saved, now] = [saved, now].map(humantime::format_rfc3339_seconds);
    Err(Error::refused(
        format!(
            "binlog file {file} was begun at {now}, but the file of this name that we read was \
             begun at {saved}: the server's binlogs were reset, or it was restored from a backup"
        ),
        BEGIN_WITH_THIS,
    ))
}

/// Checks that the server has the position.
fn check(files: &[(String, u64)], file: &str, pos: u64) -> Result<()> {
    let [(oldest, _), ..] = files else {
        return Err(Error::refused("the server has no binlog files", "turn the binlog on"));
    };
    if let Some(problem) = beyond_end(files, file, pos) {
        return Err(Error::refused(problem, BEGIN_WITH_THIS));
    }
    match files.iter().find(|(name, _)| name == file) {
        Some(_) => Ok(()),
        None => Err(Error::refused(
            format!("the server has purged our binlog file {file} (its oldest is {oldest})"),
            "the changes in between are lost to dts: begin with what is left (`dts position set \
             earliest`) and correct the captured tables as after lost transactions \
             (docs/full-sync.md); to prevent this, raise binlog_expire_logs_seconds",
        )),
    }
}

/// Why the server does not have a position, if it is after the end of the binlog.
pub(crate) fn beyond_end(files: &[(String, u64)], file: &str, pos: u64) -> Option<String> {
    let (newest, _) = files.last()?;
    match files.iter().find(|(name, _)| name == file) {
        Some((_, size)) if *size < pos => Some(format!(
            "binlog file {file} ends at {size}, before our position {pos}: the server lost the end \
             of the file in a crash, was restored from a backup, or its binlogs were reset"
        )),
        None if file_number(file) > file_number(newest) => Some(format!(
            "the server has no binlog file {file}, and its newest file is {newest}: the server was \
             restored from a backup, or its binlogs were reset"
        )),
        _ => None,
    }
}

/// Goes to the next file if this one is read to its end. If not, reads the file from its beginning,
/// and skips the whole transactions before the position. A file of this size has one huge
/// transaction and little else, because the server begins another file as soon as possible.
fn past_4_gib(resumed: &mut Resumed, files: &[(String, u64)], rest: FileRest) {
    let position = &mut resumed.saved.position;
    let at = files.iter().position(|(name, _)| *name == position.file);
    let next = at.and_then(|at| files.get(at + 1));
    match (rest, next) {
        (FileRest::Nothing, Some((next, _))) => {
            (position.file, position.pos) = (next.clone(), FIRST_POS);
            resumed.saved.file_created = None;
            resumed.from = resumed.saved.position.clone();
        }
        _ => resumed.from.pos = FIRST_POS,
    }
}

/// Looks at what follows a position; this statement knows 64 bits, and the dump does not.
async fn rest(
    conn: &mut Conn,
    config: &SourceConfig,
    (file, pos): (&str, u64),
) -> Result<FileRest> {
    let query = format!("SHOW BINLOG EVENTS IN {} FROM {pos} LIMIT 1", quote::text(file));
    let row: Option<Row> =
        conn.query_first(query).await.map_err(|error| classify(config, error))?;
    let kind: Option<String> = row.and_then(|row| row.get("Event_type"));
    Ok(match kind.as_deref() {
        None | Some("Rotate" | "Stop") => FileRest::Nothing,
        Some(_) => FileRest::Events,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<(String, u64)> {
        [("binlog.999998", 500), ("binlog.999999", 5 << 30), ("binlog.1000000", 300)]
            .map(|(name, size)| (name.to_owned(), size))
            .to_vec()
    }

    fn problem(file: &str, pos: u64) -> String {
        check(&files(), file, pos).unwrap_err().to_string()
    }

    #[test]
    fn a_message_says_why_the_server_does_not_have_a_position() {
        check(&files(), "binlog.1000000", 300).unwrap();
        check(&files(), "binlog.999999", 5 << 30).unwrap();
        assert!(problem("binlog.1000000", 301).contains("ends at 300"));
        assert!(problem("binlog.999997", 4).contains("purged our binlog file"));
        assert!(problem("binlog.1000001", 4).contains("restored from a backup, or its binlogs"));
    }

    #[test]
    fn a_file_that_was_begun_at_another_time_is_another_one() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let check = |now| check_begin("b.000001", 1_700_000_000, now);
        check(at(1_700_000_000)).unwrap();
        check(None).unwrap();
        let problem = check(at(1_700_000_060)).unwrap_err().to_string();
        let expected = "binlog file b.000001 was begun at 2023-11-14T22:14:20Z, but the file of \
                        this name that we read was begun at 2023-11-14T22:13:20Z: ";
        assert!(problem.starts_with(expected), "{problem}");
    }

    #[test]
    fn past_4_gib_the_next_file_follows_or_the_file_is_read_again() {
        let at = |pos| {
            let position = SourcePosition { gtids: None, file: "binlog.999999".to_owned(), pos };
            Resumed::at(Saved::new("uuid".to_owned(), position))
        };
        let mut ended = at(5 << 30);
        past_4_gib(&mut ended, &files(), FileRest::Nothing);
        assert_eq!((ended.from.file.as_str(), ended.from.pos), ("binlog.1000000", 4));
        assert_eq!(ended.saved.position, ended.from);
        let mut inside = at((5 << 30) - 100);
        past_4_gib(&mut inside, &files(), FileRest::Events);
        assert_eq!((inside.from.file.as_str(), inside.from.pos), ("binlog.999999", 4));
        assert_eq!(inside.saved.position.pos, (5 << 30) - 100);
    }
}
