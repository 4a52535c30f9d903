//! The events that name a transaction: GTID, ANONYMOUS_GTID, and GTID_TAGGED_LOG of MySQL 8.3
//! ("Gtid_event" in the MySQL source documentation).

use super::{
    error::{Fault, corrupt},
    gtid::Gtid,
    reader::FieldReader,
};

/// What such an event says, as far as we need to know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GtidEvent {
    /// `None` for an anonymous transaction.
    pub(super) gtid: Option<Gtid>,
    /// When it was committed, where the server says so (since 8.0.1).
    pub(super) commit_micros: Option<u64>,
}

impl GtidEvent {
    /// Reads the body of a GTID or ANONYMOUS_GTID event.
    pub(super) fn read(body: &[u8]) -> Result<Self, Fault> {
        const LOGICAL_CLOCK: u8 = 2;
        const HAS_ORIGINAL: u64 = 1 << 55;
        let mut reader = FieldReader::new(body);
        reader.u8()?;
        let gtid = Some(Gtid::Mysql { uuid: reader.array()?, tag: None, gno: reader.u64()? });
        let has_clock = !reader.is_empty() && reader.u8()? == LOGICAL_CLOCK;
        if !has_clock {
            return Ok(Self { gtid, commit_micros: None });
        }
        reader.array::<16>()?;
        if reader.rest().len() < 7 {
            return Ok(Self { gtid, commit_micros: None });
        }
        let immediate = reader.u56()?;
        let original =
            if immediate & HAS_ORIGINAL != 0 { reader.u56()? } else { immediate & !HAS_ORIGINAL };
        Ok(Self { gtid, commit_micros: Some(original).filter(|&micros| micros != 0) })
    }

    /// Reads the body of a GTID_TAGGED_LOG event, a message of the server's serialization library
    /// (`libs/mysql/serialization`): version, size, the number of the last field that a reader must
    /// know, then the fields, each after its number.
    pub(super) fn read_tagged(body: &[u8]) -> Result<Self, Fault> {
        const VERSION: u64 = 1;
        let mut reader = FieldReader::new(body);
        if reader.varlen()? != VERSION {
            return Err(Fault::NotHandled("this version of a tagged GTID event is".to_owned()));
        }
        let size = usize::try_from(reader.varlen()?).ok().filter(|size| *size <= body.len());
        let size = size.ok_or_else(|| corrupt("a tagged GTID event is cut short"))?;
        let last_needed = reader.varlen()?;
        let head = body.len().saturating_sub(reader.rest().len());
        let fields = reader.take(size.saturating_sub(head))?;
        Tagged::read(fields, last_needed)?.event()
    }
}

#[derive(Default)]
struct Tagged {
    uuid: Option<[u8; 16]>,
    tag: Option<Box<str>>,
    gno: Option<u64>,
    immediate_micros: u64,
    original_micros: Option<u64>,
}

/// Field numbers (`Gtid_event::define_fields`).
mod field {
    pub(super) const FLAGS: u64 = 0;
    pub(super) const UUID: u64 = 1;
    pub(super) const GNO: u64 = 2;
    pub(super) const TAG: u64 = 3;
    pub(super) const LAST_COMMITTED: u64 = 4;
    pub(super) const SEQUENCE_NUMBER: u64 = 5;
    pub(super) const IMMEDIATE_COMMIT: u64 = 6;
    pub(super) const ORIGINAL_COMMIT: u64 = 7;
    pub(super) const LAST_KNOWN: u64 = 11;
}

impl Tagged {
    fn read(fields: &[u8], last_needed: u64) -> Result<Self, Fault> {
        let mut found = Self::default();
        let mut reader = FieldReader::new(fields);
        while !reader.is_empty() {
            match reader.varlen()? {
                // Each byte of the UUID is a number of its own.
                field::UUID => {
                    let mut uuid = [0; 16];
                    for byte in &mut uuid {
                        *byte = u8::try_from(reader.varlen()?).map_err(|_| wrong())?;
                    }
                    found.uuid = Some(uuid);
                }
                field::GNO => found.gno = Some(reader.signed_varlen()?),
                field::TAG => found.tag = Some(read_tag(&mut reader)?),
                field::LAST_COMMITTED | field::SEQUENCE_NUMBER => {
                    reader.signed_varlen()?;
                }
                field::IMMEDIATE_COMMIT => found.immediate_micros = reader.varlen()?,
                field::ORIGINAL_COMMIT => found.original_micros = Some(reader.varlen()?),
                field::FLAGS..=field::LAST_KNOWN => {
                    reader.varlen()?;
                }
                newer if newer > last_needed => break,
                _ => {
                    let what = "a tagged GTID event with a field that must be known is";
                    return Err(Fault::NotHandled(what.to_owned()));
                }
            }
        }
        Ok(found)
    }

    fn event(self) -> Result<GtidEvent, Fault> {
        let (Some(uuid), Some(gno)) = (self.uuid, self.gno.filter(|gno| *gno > 0)) else {
            return Err(wrong());
        };
        let tag = self.tag.filter(|tag| !tag.is_empty());
        let micros = self.original_micros.unwrap_or(self.immediate_micros);
        let commit_micros = Some(micros).filter(|&micros| micros != 0);
        Ok(GtidEvent { gtid: Some(Gtid::Mysql { uuid, tag, gno }), commit_micros })
    }
}

/// Letters, digits and underscores, at most 32.
fn read_tag(reader: &mut FieldReader<'_>) -> Result<Box<str>, Fault> {
    const MAX_BYTES: u64 = 32;
    let length = reader.varlen()?;
    if length > MAX_BYTES {
        return Err(wrong());
    }
    let tag = std::str::from_utf8(reader.take(length as usize)?).map_err(|_| wrong())?;
    let is_plain = tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_plain { Ok(tag.into()) } else { Err(wrong()) }
}

#[cold]
fn wrong() -> Fault {
    corrupt("a tagged GTID event does not name its transaction")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by MySQL 9.7: `SET gtid_next = 'AUTOMATIC:blue'`, shortened to the fields that are
    /// needed.
    fn fields(last_needed: u8, more: &[u8]) -> Vec<u8> {
        let mut fields = vec![0, 2, 2];
        fields.extend_from_slice(&(0..16).map(|byte| byte * 2).collect::<Vec<u8>>());
        fields.extend_from_slice(&[4, 5 << 2, 6, 8]);
        fields.extend_from_slice(b"blue");
        fields.extend_from_slice(more);
        let size = (fields.len() + 3) as u8;
        [&[2, size << 1, last_needed << 1], fields.as_slice()].concat()
    }

    #[test]
    fn a_tagged_gtid_is_read() {
        let event =
            GtidEvent::read_tagged(&fields(9, &[12, 0xff, 1, 2, 3, 0, 0, 0, 0, 0])).unwrap();
        let gtid = event.gtid.unwrap();
        assert_eq!(gtid.to_string(), "00010203-0405-0607-0809-0a0b0c0d0e0f:blue:5");
        assert_eq!(event.commit_micros, Some(0x30201));
    }

    #[test]
    fn fields_of_later_servers_are_skipped_if_the_event_allows_it() {
        assert!(GtidEvent::read_tagged(&fields(9, &[200, 1, 2])).is_ok());
        let error = GtidEvent::read_tagged(&fields(100, &[200, 1, 2])).unwrap_err();
        assert!(error.to_string().contains("must be known"), "{error}");
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let whole = fields(9, &[]);
        for length in 0..whole.len() {
            assert!(GtidEvent::read_tagged(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn numbers_of_every_length_are_read() {
        let read = |bytes: &[u8]| FieldReader::new(bytes).varlen().unwrap();
        assert_eq!(read(&[0b1111_1110]), 127);
        assert_eq!(read(&[0b0000_0001, 0b10]), 128);
        assert_eq!(read(&[0xff, 1, 0, 0, 0, 0, 0, 0, 0x80]), (1 << 63) + 1);
        assert_eq!(read(&[0x7f, 0, 0, 0, 0, 0, 0, 1]), 1 << 48);
        let signed = |bytes: &[u8]| FieldReader::new(bytes).signed_varlen();
        assert_eq!(signed(&[5 << 2]).unwrap(), 5);
        assert!(signed(&[0b110]).is_err(), "negative");
    }
}
