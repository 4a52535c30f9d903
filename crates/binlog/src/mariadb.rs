//! Events that only MariaDB writes: its GTID events, and events whose last part is compressed
//! (`sql/log_event.h` and `sql/log_event.cc` in the MariaDB source).

use super::{
    compressed::unpack,
    error::{Fault, corrupt},
    gtid::DomainGtid,
    reader::FieldReader,
    rows::{RowsHead, action_of},
    statement::QueryEvent,
};

/// The raw type of the event that lists which transactions come before a binlog file.
pub const GTID_LIST: u8 = 163;

/// Raw event types.
pub(super) mod event_type {
    pub(crate) const ANNOTATE_ROWS: u8 = 160;
    pub(crate) const BINLOG_CHECKPOINT: u8 = 161;
    pub(crate) const GTID: u8 = 162;
    pub(crate) use super::GTID_LIST;
    pub(crate) const START_ENCRYPTION: u8 = 164;
    pub(crate) const QUERY_COMPRESSED: u8 = 165;
}

/// The GTID event, which begins every group of events.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MariadbGtid {
    pub(super) gtid: DomainGtid,
    /// The group is a single statement, such as DDL or XA COMMIT. If this is false, the group is a
    /// transaction, and this event takes the place of its BEGIN.
    pub(super) is_standalone: bool,
    /// The group prepares an XA transaction, and this event replaces its XA START.
    pub(super) prepares_xa: bool,
}

impl MariadbGtid {
    /// Reads the body ("Gtid_log_event"); the server's id is in the header.
    pub(super) fn read(body: &[u8], server_id: u32) -> Result<Self, Fault> {
        const STANDALONE: u8 = 0x01;
        const PREPARED_XA: u8 = 0x40;
        let mut reader = FieldReader::new(body);
        let (sequence, domain, flags) = (reader.u64()?, reader.u32()?, reader.u8()?);
        Ok(Self {
            gtid: DomainGtid { domain, server_id, sequence },
            is_standalone: flags & STANDALONE != 0,
            prepares_xa: flags & PREPARED_XA != 0,
        })
    }
}

/// Reads the body of a GTID_LIST event, which begins every binlog file: for each domain and server,
/// the last transaction before the file. In a domain, the last transaction of all is listed last.
///
/// # Errors
///
/// When the body is damaged.
pub fn read_gtid_list(body: &[u8]) -> Result<Vec<DomainGtid>, Fault> {
    const COUNT: u32 = 0x0fff_ffff;
    let mut reader = FieldReader::new(body);
    let count = reader.u32()? & COUNT;
    let mut list = Vec::new();
    for _ in 0..count {
        let (domain, server_id, sequence) = (reader.u32()?, reader.u32()?, reader.u64()?);
        list.push(DomainGtid { domain, server_id, sequence });
    }
    // An empty list is padded.
    if reader.is_empty() || list.is_empty() {
        Ok(list)
    } else {
        Err(corrupt("bytes are left over after the GTIDs"))
    }
}

/// The type of the plain event that was compressed to an event of this type.
pub(super) fn plain_kind(compressed: u8) -> Option<u8> {
    Some(match compressed {
        event_type::QUERY_COMPRESSED => 2,
        166..=168 => compressed.wrapping_sub(166).wrapping_add(23),
        169..=171 => compressed.wrapping_sub(169).wrapping_add(30),
        _ => return None,
    })
}

/// Writes the body of the plain event of type `plain` into `out`. The beginning is copied; the text
/// of a statement or the rows are unpacked.
pub(super) fn unpack_event(plain: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let head = match action_of(plain) {
        Some((action, version)) => RowsHead::read(body, action, version)?.rows_start,
        None => body.len().saturating_sub(QueryEvent::read(body)?.text.len()),
    };
    let (head, packed) = body.split_at_checked(head).unwrap_or((body, &[]));
    out.clear();
    out.extend_from_slice(head);
    unpack(packed, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gtid_event_names_its_transaction() {
        let body = [5, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0x2d, 0, 0, 0, 0, 0, 0];
        let event = MariadbGtid::read(&body, 9).unwrap();
        assert_eq!(event.gtid, DomainGtid { domain: 7, server_id: 9, sequence: 5 });
        assert!(event.is_standalone && !event.prepares_xa);
        assert!(MariadbGtid::read(&body[..12], 9).is_err());
    }

    #[test]
    fn a_gtid_list_is_as_long_as_it_says() {
        let mut body = vec![1, 0, 0, 0x10];
        body.extend([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        let gtid = DomainGtid { domain: 1, server_id: 2, sequence: 3 };
        assert_eq!(read_gtid_list(&body).unwrap(), [gtid]);
        body[0] = 2;
        assert!(read_gtid_list(&body).is_err());
        assert!(read_gtid_list(&[0; 6]).unwrap().is_empty());
    }
}
