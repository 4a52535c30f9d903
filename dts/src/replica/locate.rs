//! Looks at a place in a binlog file: between which transactions it is, or in which.

use binlog::{FIRST_POS, Step};

use source_table::Conn;

use super::{scan::Scan, server::Server};
use crate::{
    checkpoint::SourcePosition,
    config::SourceConfig,
    error::{Error, Result},
};

/// A place in a binlog file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatedPlace {
    /// The boundary between transactions at or before it.
    pub before: SourcePosition,
    /// The boundary at or after it.
    pub after: SourcePosition,
    /// The place's position in the transaction between the two.
    pub depth: Depth,
}

/// A place's position in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Between two transactions.
    Boundary,
    /// After the GTID event, before BEGIN.
    Begin,
    /// After the GTID event, before a single statement (DDL).
    Statement,
    /// After BEGIN, where an event begins.
    Body,
    /// Before the event that commits the transaction.
    Commit,
    /// Where no event begins.
    Torn,
}

/// Looks at a place; `None` when the server has no such binlog file, or it is shorter.
///
/// # Errors
///
/// As [`connect`](super::connect()); also when an event before the place is not understood (rows
/// are not read).
pub async fn locate(
    conn: &mut Conn,
    config: &SourceConfig,
    server: &Server,
    (file, pos): (&str, u64),
) -> Result<Option<LocatedPlace>> {
    let files = Server::binlog_files(conn, config).await?;
    if !files.iter().any(|(name, size)| name == file && pos <= *size) {
        return Ok(None);
    }
    let mut walk = Walk { scan: Scan::open(config, server, file).await?, events: 0 };
    // The events at the beginning of a file belong to no transaction.
    let pos = if pos == FIRST_POS { walk.scan.event_end().1 } else { pos };
    let mut boundary = walk.boundary();
    while walk.scan.event_end().0 == file && walk.scan.event_end().1 < pos {
        if !walk.step().await? {
            break;
        }
        let (now, end) = walk.scan.event_end();
        if walk.events == 0 && now == file && end <= pos {
            boundary = walk.boundary();
        }
    }
    let is_torn = walk.scan.event_end() != (file, pos);
    let (after, depth) = walk.finish().await?;
    let depth = if is_torn { Depth::Torn } else { depth };
    Ok(Some(LocatedPlace { before: boundary, after, depth }))
}

/// A walk over events that counts those of the current transaction.
struct Walk {
    scan: Scan,
    /// Events of the transaction that were read; zero between two transactions.
    events: u64,
}

impl Walk {
    /// Reads an event; `false` at the end of the binlog.
    async fn step(&mut self) -> Result<bool> {
        let Some(step) = self.scan.step().await? else { return Ok(false) };
        if step.end().is_some() || step == Step::TornOff {
            self.events = 0;
        } else if step == Step::Begun {
            self.events = 1;
        } else if self.events > 0 {
            self.events += 1;
        }
        Ok(true)
    }

    /// The walk's place, between two transactions.
    fn boundary(&self) -> SourcePosition {
        let (file, pos) = self.scan.event_end();
        SourcePosition { gtids: self.scan.place().gtids.clone(), file: file.to_owned(), pos }
    }

    /// Goes to the end of the current transaction, and returns where in it the walk was.
    async fn finish(mut self) -> Result<(SourcePosition, Depth)> {
        let begun = self.events;
        let mut further = 0;
        while self.events > 0 {
            if !self.step().await? {
                let (file, pos) = self.scan.event_end();
                return Err(Error::Internal(format!(
                    "the transaction before {file}:{pos} has no end"
                )));
            }
            further += 1;
        }
        let depth = match (begun, further) {
            (0, _) => Depth::Boundary,
            (1, 1) => Depth::Statement,
            (1, _) => Depth::Begin,
            (_, 1) => Depth::Commit,
            _ => Depth::Body,
        };
        Ok((self.boundary(), depth))
    }
}
