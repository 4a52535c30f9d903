//! What the fuzz targets share: decoding with every value written, real table maps, and a server's
//! packets.

pub mod mariadb;
#[path = "../../dts/src/replica/pulse.rs"]
mod pulse;
/// The room of `dts` that the packets are from.
mod replica {
    pub(crate) use crate::pulse::Pulse;
}
pub mod wire;

use binlog::{Decoder, Error, EventHeader, HiddenTypes, Image, RawEvent, RowChange, Unpacker};

const TABLE_MAP: u8 = 19;

/// After so many bytes of values or of a transaction that was unpacked an input is left: what is
/// packed says little and unpacks to a lot, and would only make the run slower.
pub const MAX_BYTES: usize = 16 << 20;

/// A binlog with a transaction that is open, and the table maps of all types in it.
static TABLES: &[u8] = include_bytes!("../tables.binlog");

/// An event's header, and its body without checksum.
pub type Event<'a> = (EventHeader, &'a [u8]);

/// Events of a binlog, as far as they are whole.
pub fn events(mut log: &[u8]) -> impl Iterator<Item = Event<'_>> {
    const CHECKSUM_BYTES: usize = 4;
    std::iter::from_fn(move || {
        let header = EventHeader::read(log).ok()?;
        let length = (header.size as usize).max(EventHeader::LEN).min(log.len());
        let (event, rest) = log.split_at_checked(length)?;
        log = rest;
        let body =
            event.get(EventHeader::LEN..length.saturating_sub(CHECKSUM_BYTES)).unwrap_or_default();
        Some((header, body))
    })
}

/// The events that open a transaction, and the table maps that are in it.
pub fn tables() -> (Vec<Event<'static>>, Vec<Event<'static>>) {
    events(&TABLES[4..]).partition(|(header, _)| header.kind != TABLE_MAP)
}

/// Decodes events until the first that is refused, and gives the values of their rows.
pub fn decode_all<'a>(events: impl Iterator<Item = Event<'a>>) -> Vec<u8> {
    let mut decoder = Decoder::new(|_, _| true);
    decoder.know_types(hidden());
    decoder.restart("binlog.000001", 4);
    let mut out = Vec::new();
    for (header, body) in events {
        let event = RawEvent { header, body };
        if decoder.decode(&event, &mut |row| write(row, &mut out)).is_err() {
            break;
        }
    }
    out
}

/// A binlog that begins as a real one and goes on with one rows event. `table` chooses among the
/// real table maps.
pub fn decode_rows(table: usize, kind: u8, body: &[u8]) -> Vec<u8> {
    let (before, maps) = tables();
    let map = maps[table % maps.len()];
    // The rows are of that table, whatever they say.
    let mut body = body.to_vec();
    body.iter_mut().zip(&map.1[..6]).for_each(|(to, from)| *to = *from);
    let rows = (header(kind), &*body);
    decode_all(before.into_iter().chain([map, rows]))
}

/// The JSON form of a GEOMETRY.
pub fn geometry(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    binlog::geometry::write(&mut out, bytes);
    out
}

/// The JSON form of a VECTOR.
pub fn vector(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    binlog::vector::write(&mut out, bytes);
    out
}

/// The events of a compressed transaction, until one is refused.
pub fn unpack(body: &[u8]) -> Vec<(EventHeader, Vec<u8>)> {
    let mut unpacker = Unpacker::default();
    let (mut events, mut unpacked) = (Vec::new(), 0);
    if unpacker.begin(body).is_ok() {
        while unpacked < MAX_BYTES
            && let Ok(Some((header, event))) = unpacker.next(body)
        {
            unpacked += EventHeader::LEN + event.len();
            events.push((header, event));
        }
    }
    events
}

/// How the events of a transaction may stand in a TRANSACTION_PAYLOAD event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    None,
    Zstd,
}

/// The body of a TRANSACTION_PAYLOAD event.
pub fn payload(packing: Packing, events: &[u8]) -> Vec<u8> {
    let (algorithm, packed): (&[u8], _) = match packing {
        Packing::None => (b"\xfc\xff\0", events.to_vec()),
        Packing::Zstd => (b"\0", zstd::encode_all(events, 1).unwrap_or_default()),
    };
    let length = |bytes: &[u8]| [&[0xfe][..], &(bytes.len() as u64).to_le_bytes()].concat();
    let fields = [(1, length(&packed)), (2, algorithm.to_vec()), (3, length(events))];
    let field =
        |(number, value): (u8, Vec<u8>)| [&[number, value.len() as u8][..], &value].concat();
    [fields.map(field).concat(), vec![0], packed].concat()
}

/// Decodes an event between groups, inside an XA transaction, and after a GTID.
pub fn decode_in_groups(kind: u8, body: &[u8]) {
    const QUERY: u8 = 2;
    const ANONYMOUS_GTID: u8 = 34;
    /// No session, error, schema and variables; then the text.
    const START: &[u8] = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0XA START X'61',X'',1";
    const GTID: &[u8] = &[0; 25];
    let (gtid, start) = ((header(ANONYMOUS_GTID), GTID), (header(QUERY), START));
    for before in [None, Some(gtid), Some(start)] {
        decode_all(before.into_iter().chain([(header(kind), body)]));
    }
}

fn header(kind: u8) -> EventHeader {
    EventHeader { kind, size: 100, ..EventHeader::default() }
}

/// What a MariaDB would say of the table `addresses`.
fn hidden() -> HiddenTypes {
    let mut hidden = HiddenTypes::default();
    for (column, kind) in [("u", "uuid"), ("i4", "inet4"), ("i6", "inet6")] {
        hidden.add(("fuzz".to_owned(), "addresses".to_owned()), column.to_owned(), (kind, 0));
    }
    hidden
}

fn write(row: &RowChange<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    for image in [&row.before, &row.after].into_iter().flatten() {
        // Each value by itself: one that is refused must not hide the others.
        (0..row.table.columns.len()).for_each(|column| drop(write_value(image, column, out)));
    }
    Ok(())
}

fn write_value(image: &Image<'_>, column: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    if out.len() < MAX_BYTES { image.write_value(column, out) } else { Ok(()) }
}
