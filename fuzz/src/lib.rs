//! What the fuzz targets share: decoding with every value written, and real table maps.

// The decoder's own files, without the rest of `dts`: that would be ten minutes of building TLS and
// gRPC with a compiler that nothing else uses.
#[path = "../../dts/src/decode/mod.rs"]
pub mod decode;

use decode::{Decoder, Error, EventHeader, Image, RawEvent, RowChange, Unpacker};

const TABLE_MAP: u8 = 19;

/// A binlog with a transaction that is open, and the table maps of all types in it.
static TABLES: &[u8] = include_bytes!("../tables.binlog");

/// Events of a binlog, as far as they are whole: header, and body without checksum.
pub fn events(mut log: &[u8]) -> impl Iterator<Item = (EventHeader, &[u8])> {
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

/// Decodes events until the first that is refused, and says how many bytes their values have.
pub fn decode_all<'a>(events: impl Iterator<Item = (EventHeader, &'a [u8])>) -> usize {
    let mut decoder = Decoder::new(|_, _| true);
    decoder.restart("binlog.000001", 4);
    let mut out = Vec::new();
    for (header, body) in events {
        let event = RawEvent { header, body };
        if decoder.decode(&event, &mut |row| write(row, &mut out)).is_err() {
            break;
        }
    }
    out.len()
}

/// A binlog that begins as a real one and goes on with one rows event. `table` chooses among the
/// real table maps.
pub fn decode_rows(table: usize, kind: u8, body: &[u8]) -> usize {
    let real: Vec<_> = events(&TABLES[4..]).collect();
    let maps = real.iter().filter(|(header, _)| header.kind == TABLE_MAP);
    let maps: Vec<_> = maps.collect();
    let before = real.iter().filter(|(header, _)| header.kind != TABLE_MAP);
    let map = maps[table % maps.len()];
    // The rows are of that table, whatever they say.
    let mut body = body.to_vec();
    body.iter_mut().zip(&map.1[..6]).for_each(|(to, from)| *to = *from);
    let header = EventHeader { kind, size: 100, log_pos: 0, ..EventHeader::default() };
    let rows = (header, &*body);
    decode_all(before.chain([map]).copied().chain([rows]))
}

/// Unpacks a compressed transaction until it is refused, and says how many bytes it has.
pub fn unpack(body: &[u8]) -> usize {
    let mut unpacker = Unpacker::default();
    let mut unpacked = 0;
    if unpacker.begin(body).is_ok() {
        while let Ok(Some((_, event))) = unpacker.next(body) {
            unpacked += EventHeader::LEN + event.len();
        }
    }
    unpacked
}

/// Decodes an event between groups, inside an XA transaction, and after a GTID.
pub fn decode_in_xa(kind: u8, body: &[u8]) {
    const QUERY: u8 = 2;
    const ANONYMOUS_GTID: u8 = 34;
    /// No session, error, schema and variables; then the text.
    const START: &[u8] = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0XA START X'61',X'',1";
    const GTID: &[u8] = &[0; 25];
    let of = |kind| EventHeader { kind, size: 100, ..EventHeader::default() };
    let (gtid, start) = ((of(ANONYMOUS_GTID), GTID), (of(QUERY), START));
    for before in [None, Some(gtid), Some(start)] {
        decode_all(before.into_iter().chain([(of(kind), body)]));
    }
}

fn write(row: &RowChange<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    for image in [&row.before, &row.after].into_iter().flatten() {
        // Each value by itself: one that is refused must not hide the others.
        (0..row.table.columns.len()).for_each(|column| drop(write_value(image, column, out)));
    }
    Ok(())
}

fn write_value(image: &Image<'_>, column: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    image.write_value(column, out)
}
