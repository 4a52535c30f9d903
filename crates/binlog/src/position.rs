//! A place in the binlog, and the arithmetic of places: events give only the low 32 bits
//! ("Log_event_header" in the MySQL source documentation).

use std::sync::Arc;

use super::header::EventHeader;

/// The first event's position in every binlog file.
pub const FIRST_POS: u64 = 4;

/// A place in the binlog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePosition {
    /// The binlog file's name.
    pub file: Arc<str>,
    /// The offset in it, in 64 bits.
    pub pos: u64,
}

impl FilePosition {
    /// Where the event with this header begins and ends, if `self` is not after its beginning. The
    /// header has only the low 32 bits of the end. We know the high ones, because events come in
    /// order.
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

    /// Moves to the server's place, as a heartbeat says it. The server sends such heartbeats when
    /// it skips transactions that we have. The place never moves back.
    pub(super) fn advance_to(&mut self, log_pos: u32) {
        let ahead = log_pos.wrapping_sub(self.pos as u32);
        if ahead < 1 << 31 {
            self.pos = self.pos.saturating_add(u64::from(ahead));
        }
    }
}

/// The number of a binlog file, which gives the order of files: `binlog.1000000` comes after
/// `binlog.999999`.
#[must_use]
pub fn file_number(file: &str) -> Option<u64> {
    file.rsplit_once('.')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(pos: u64, size: u32, log_pos: u32) -> (u64, u64) {
        let header = EventHeader { size, log_pos, ..EventHeader::default() };
        FilePosition { file: "binlog.000001".into(), pos }.bounds(&header)
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
        let mut position = FilePosition { file: "f".into(), pos: (1 << 32) - 10 };
        position.advance_to(20);
        assert_eq!(position.pos, (1 << 32) + 20);
        position.advance_to(10);
        assert_eq!(position.pos, (1 << 32) + 20);
    }
}
