//! The 19 bytes that begin every binlog event ("Log_event_header" in the MySQL source
//! documentation).

use super::{error::Fault, reader::FieldReader};

/// Written by the server for a replica only; the event is not in the binlog file and moves no
/// position.
const ARTIFICIAL: u16 = 0x20;
/// A reader that does not know the event may skip it.
const IGNORABLE: u16 = 0x80;

/// The common header of an event ("Binlog Event Header" in the MySQL internals manual).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventHeader {
    /// Seconds since 1970, when the statement began; 0 on events made for the replica.
    pub timestamp: u32,
    /// The raw event type.
    pub kind: u8,
    /// The server that first wrote the event.
    pub server_id: u32,
    /// Length of the whole event with this header and the checksum.
    pub size: u32,
    /// The low 32 bits of the position after the event; 0 where there is none.
    pub log_pos: u32,
    /// `LOG_EVENT_*_F` flags.
    pub flags: u16,
}

impl EventHeader {
    /// The number of bytes of the header.
    pub const LEN: usize = 19;

    /// Reads the header at the beginning of `bytes`.
    ///
    /// # Errors
    ///
    /// When there are fewer than [`Self::LEN`] bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let mut reader = FieldReader::new(bytes);
        Ok(Self {
            timestamp: reader.u32()?,
            kind: reader.u8()?,
            server_id: reader.u32()?,
            size: reader.u32()?,
            log_pos: reader.u32()?,
            flags: reader.u16()?,
        })
    }

    /// The bytes as they were read, for the checksum.
    pub fn write(&self) -> [u8; Self::LEN] {
        let [t0, t1, t2, t3] = self.timestamp.to_le_bytes();
        let [i0, i1, i2, i3] = self.server_id.to_le_bytes();
        let [s0, s1, s2, s3] = self.size.to_le_bytes();
        let [p0, p1, p2, p3] = self.log_pos.to_le_bytes();
        let [f0, f1] = self.flags.to_le_bytes();
        [t0, t1, t2, t3, self.kind, i0, i1, i2, i3, s0, s1, s2, s3, p0, p1, p2, p3, f0, f1]
    }

    /// Whether the event has a place in the binlog file, so that reading it moves the position.
    pub fn has_position(&self) -> bool {
        self.log_pos != 0 && self.flags & ARTIFICIAL == 0
    }

    pub(super) fn is_ignorable(&self) -> bool {
        self.flags & IGNORABLE != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_written_as_it_was_read() {
        let bytes: Vec<u8> = (1..=19).collect();
        let header = EventHeader::read(&bytes).unwrap();
        assert_eq!(header.kind, 5);
        assert_eq!(header.size, u32::from_le_bytes([10, 11, 12, 13]));
        assert_eq!(header.write().as_slice(), bytes);
        assert!(EventHeader::read(&bytes[..18]).is_err());
    }
}
