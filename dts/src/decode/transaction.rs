//! The transaction around the row changes: where it begins, what it is called, when it committed.

use std::sync::Arc;

use super::{
    error::{Fault, corrupt},
    header::EventHeader,
    reader::Reader,
};

/// A place in the binlog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The binlog file's name.
    pub file: Arc<str>,
    /// The offset in it, in 64 bits.
    pub pos: u64,
}

impl Position {
    /// Where the event of this header begins and ends, if `self` is not behind its beginning. The
    /// header has only the low 32 bits of the end; we know the high ones, for events come in order.
    pub(super) fn bounds(&self, header: &EventHeader) -> (u64, u64) {
        if !header.has_position() {
            return (self.pos, self.pos);
        }
        let size = u64::from(header.size);
        let least = self.pos.saturating_add(size);
        let same_round = (least & !u64::from(u32::MAX)) | u64::from(header.log_pos);
        let end = if same_round < least { same_round.saturating_add(1 << 32) } else { same_round };
        (end.saturating_sub(size), end)
    }

    /// Moves to where a heartbeat says that the server is. It says so when it skips transactions
    /// that we have; it never goes back.
    pub(super) fn advance_to(&mut self, log_pos: u32) {
        let ahead = log_pos.wrapping_sub(self.pos as u32);
        if ahead < 1 << 31 {
            self.pos = self.pos.saturating_add(u64::from(ahead));
        }
    }
}

/// A global transaction identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gtid {
    /// One of MySQL.
    Mysql {
        /// The server that first committed the transaction.
        uuid: [u8; 16],
        /// The tag (MySQL 8.3+).
        tag: Option<Box<str>>,
        /// The number of the transaction among those of its server and tag.
        gno: u64,
    },
    /// One of MariaDB.
    Mariadb(DomainGtid),
}

/// A global transaction identifier of MariaDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainGtid {
    /// Its line of history.
    pub domain: u32,
    /// The server that first committed the transaction.
    pub server_id: u32,
    /// Its number in the domain.
    pub sequence: u64,
}

/// A transaction, as far as it is known while its rows are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its GTID, where the server writes them.
    pub gtid: Option<Gtid>,
    /// Where its first event begins.
    pub start: Position,
    /// When it was committed on the server that first had it, in microseconds since 1970. Whole
    /// seconds, and the time when the statement began, before MySQL 8.0.1.
    pub commit_micros: u64,
    /// The `server_id` of the server that first had it.
    pub server_id: u32,
}

/// What is known at the end of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionEnd {
    /// As [`Transaction::gtid`].
    pub gtid: Option<Gtid>,
    /// Where the next transaction begins: a place to start from.
    pub end: Position,
    /// As [`Transaction::commit_micros`].
    pub commit_micros: u64,
    /// Row changes read, captured or not.
    pub rows: u64,
}

/// The FORMAT_DESCRIPTION event, which begins every binlog file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatDescription {
    /// The server's version, as `SELECT VERSION()` has it.
    pub server_version: String,
    /// How the events of the file are protected: 0 not at all, 1 by a CRC32 at their end.
    pub checksum: u8,
}

impl FormatDescription {
    /// Reads the body without the four bytes of checksum at its end, which this event always has.
    ///
    /// # Errors
    ///
    /// When the file is of a format from before MySQL 5.6, or its event headers are not as long
    /// as this decoder takes them to be.
    pub fn read(body: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(body);
        let format = reader.u16()?;
        let version = reader.array::<50>()?;
        reader.u32()?;
        let header_length = reader.u8()?;
        let [lengths @ .., checksum] = reader.rest() else {
            return Err(corrupt("the format description is cut short"));
        };
        check_lengths(lengths)?;
        if format != 4 || usize::from(header_length) != EventHeader::LEN {
            return Err(corrupt("the binlog's format is not version 4"));
        }
        if *checksum > 1 {
            return Err(corrupt("the binlog has a checksum other than CRC32"));
        }
        let version = version.split(|&byte| byte == 0).next().unwrap_or_default();
        let server_version = String::from_utf8_lossy(version).into_owned();
        Ok(Self { server_version, checksum: *checksum })
    }
}

/// The fixed part of each event type must be as long as we read it.
fn check_lengths(lengths: &[u8]) -> Result<(), Fault> {
    /// Event type, length of its fixed part.
    const EXPECTED: [(usize, u8); 9] =
        [(2, 13), (4, 8), (19, 8), (23, 8), (24, 8), (25, 8), (30, 10), (31, 10), (32, 10)];
    let fits = |&(kind, expected): &(usize, u8)| {
        let length = lengths.get(kind.wrapping_sub(1));
        // 0: the server does not write such events (9.7 and the rows of version 1).
        length.is_none_or(|&length| length == expected || length == 0)
    };
    if EXPECTED.iter().all(fits) {
        Ok(())
    } else {
        Err(corrupt("an event type's fixed part has another length than since MySQL 5.6"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(pos: u64, size: u32, log_pos: u32) -> (u64, u64) {
        let header = EventHeader { size, log_pos, ..EventHeader::default() };
        Position { file: "binlog.000001".into(), pos }.bounds(&header)
    }

    #[test]
    fn positions_go_past_4_gib() {
        let round = 1_u64 << 32;
        assert_eq!(bounds(4, 100, 104), (4, 104));
        assert_eq!(bounds(round - 50, 100, 50), (round - 50, round + 50));
        assert_eq!(bounds(round - 100, 100, 0), (round - 100, round - 100), "no position");
        assert_eq!(bounds(3 * round + 7, 100, 107), (3 * round + 7, 3 * round + 107));
        assert_eq!(bounds(4, 100, 5104), (5004, 5104), "the server skipped what we have");
    }

    #[test]
    fn a_heartbeat_only_moves_on() {
        let mut position = Position { file: "f".into(), pos: (1 << 32) - 10 };
        position.advance_to(20);
        assert_eq!(position.pos, (1 << 32) + 20);
        position.advance_to(10);
        assert_eq!(position.pos, (1 << 32) + 20);
    }
}
