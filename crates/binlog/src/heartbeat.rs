//! The heartbeats that an idle server sends, in both versions ("Heartbeat_event" and
//! "Heartbeat_event_v2" in the MySQL source documentation).

use super::{error::Fault, reader::FieldReader};

/// File name and 64-bit position of a HEARTBEAT_V2.
pub(super) fn read_v2(body: &[u8]) -> Result<(&[u8], Option<u64>), Fault> {
    const END: u64 = 0;
    const FILE_NAME: u64 = 1;
    const POSITION: u64 = 2;
    let (mut file, mut pos) = (&[][..], None);
    let mut reader = FieldReader::new(body);
    while !reader.is_empty() {
        match reader.length_encoded()? {
            END => break,
            FILE_NAME => file = reader.string()?,
            POSITION => pos = Some(FieldReader::new(reader.string()?).length_encoded()?),
            _ => {
                reader.string()?;
            }
        }
    }
    Ok((file, pos))
}
