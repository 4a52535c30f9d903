//! The CRC32 at the end of binlog events ("Log_event_footer" in the MySQL source documentation).
//! One file may have them, and the next may not.

use super::header::EventHeader;

const BYTES: usize = 4;
const FORMAT_DESCRIPTION: u8 = 15;

/// Whether the events of the current file have a checksum.
#[derive(Debug, Default)]
pub struct Checksum {
    /// `None` before the first format description, which says so.
    is_on: Option<bool>,
}

impl Checksum {
    /// The length of the event without its checksum; `None` when the checksum is wrong.
    pub fn check(&mut self, header: &EventHeader, event: &[u8]) -> Option<usize> {
        if header.kind == FORMAT_DESCRIPTION {
            return self.check_description(event);
        }
        let split =
            event.split_last_chunk::<BYTES>().filter(|(rest, _)| rest.len() >= EventHeader::LEN);
        match (self.is_on, split) {
            (Some(false), _) | (None, None) => Some(event.len()),
            (Some(true), None) => None,
            (is_on, Some((rest, sum))) => {
                let is_right = crc32fast::hash(rest) == u32::from_le_bytes(*sum);
                match is_on {
                    _ if is_right => Some(rest.len()),
                    // The name of the first file, from a server that writes no checksums.
                    None => Some(event.len()),
                    Some(_) => None,
                }
            }
        }
    }

    /// The format description says whether the events after it have a checksum. It always has room
    /// for one itself.
    fn check_description(&mut self, event: &[u8]) -> Option<usize> {
        /// `BINLOG_IN_USE`: set while the file is written. The checksum is computed without
        /// this flag.
        const IN_USE: u8 = 1;
        const FLAGS_AT: usize = 17;
        const CRC32: u8 = 1;
        let (rest, sum) = event.split_last_chunk::<BYTES>()?;
        let is_on = *rest.last()? == CRC32;
        self.is_on = Some(is_on);
        let mut head: [u8; EventHeader::LEN] = *rest.first_chunk()?;
        head[FLAGS_AT] &= !IN_USE;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&head);
        hasher.update(rest.get(EventHeader::LEN..)?);
        let is_right = !is_on || hasher.finalize() == u32::from_le_bytes(*sum);
        is_right.then_some(rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u8, body: &[u8]) -> (EventHeader, Vec<u8>) {
        let header = EventHeader { kind, ..EventHeader::default() };
        (header, [&header.write(), body].concat())
    }

    fn with_sum(mut bytes: Vec<u8>) -> Vec<u8> {
        let sum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    #[test]
    fn each_file_says_whether_its_events_have_one() {
        let mut checksum = Checksum::default();
        let (rotate, bytes) = event(4, b"12345678binlog.000001");
        assert_eq!(checksum.check(&rotate, &bytes), Some(bytes.len()));
        assert_eq!(checksum.check(&rotate, &with_sum(bytes.clone())), Some(bytes.len()));
        for algorithm in [1, 0, 1] {
            let (description, bytes) = event(FORMAT_DESCRIPTION, &[4, algorithm]);
            let whole = with_sum(bytes.clone());
            assert_eq!(checksum.check(&description, &whole), Some(bytes.len()));
            let (xid, bytes) = event(16, &[0; 8]);
            let (plain, summed) = (checksum.check(&xid, &bytes), with_sum(bytes.clone()));
            if algorithm == 1 {
                assert_eq!((plain, checksum.check(&xid, &summed)), (None, Some(bytes.len())));
            } else {
                assert_eq!(plain, Some(bytes.len()));
            }
        }
    }

    #[test]
    fn a_description_in_a_file_in_use_is_right() {
        let (header, bytes) = event(FORMAT_DESCRIPTION, &[4, 1]);
        let mut whole = with_sum(bytes);
        whole[17] |= 1;
        assert!(Checksum::default().check(&header, &whole).is_some());
        whole[19] ^= 1;
        assert!(Checksum::default().check(&header, &whole).is_none());
    }
}
