//! The FORMAT_DESCRIPTION event, which begins every binlog file ("Format_description_event" in the
//! MySQL source documentation).

use super::{
    error::{Fault, corrupt},
    header::EventHeader,
    reader::FieldReader,
};

/// The FORMAT_DESCRIPTION event, which begins every binlog file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatDescription {
    /// The server's version, as `SELECT VERSION()` has it.
    pub server_version: String,
    /// The checksum of the file's events: 0 for none, 1 for a CRC32 at their end.
    pub checksum: u8,
}

impl FormatDescription {
    /// Reads the body without the four bytes of checksum at its end, which this event always has.
    ///
    /// # Errors
    ///
    /// When the file has a format older than MySQL 5.6, or the event headers have a length other
    /// than this decoder expects.
    pub fn read(body: &[u8]) -> Result<Self, Fault> {
        let mut reader = FieldReader::new(body);
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

/// The fixed part of each event type must have the length that this decoder reads.
fn check_lengths(lengths: &[u8]) -> Result<(), Fault> {
    /// Event type, length of its fixed part.
    const EXPECTED: [(usize, u8); 9] =
        [(2, 13), (4, 8), (19, 8), (23, 8), (24, 8), (25, 8), (30, 10), (31, 10), (32, 10)];
    let fits = |&(kind, expected): &(usize, u8)| {
        let length = lengths.get(kind.wrapping_sub(1));
        // 0: the server does not write this event type (9.7 writes no rows events of version 1).
        length.is_none_or(|&length| length == expected || length == 0)
    };
    if EXPECTED.iter().all(fits) {
        Ok(())
    } else {
        Err(corrupt(
            "the fixed part of an event type does not have the length that it has since MySQL 5.6",
        ))
    }
}
