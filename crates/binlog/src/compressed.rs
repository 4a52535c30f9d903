//! What MariaDB compresses by itself: the end of an event, and the values of a COMPRESSED column
//! (`sql/log_event.cc`, `binlog_buf_compress`, and `sql/field.cc` in the server's source).

use flate2::{Decompress, FlushDecompress, Status};

use super::{
    error::{Fault, corrupt},
    reader::FieldReader,
};

/// The largest event that a server may have made: its limit for a packet.
const MAX_EVENT_BYTES: usize = 1 << 30;

/// Appends what `binlog_buf_compress` compressed: a byte with the algorithm and the number of
/// length bytes, the length with its highest byte first, and a zlib stream.
pub(super) fn unpack(packed: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut reader = FieldReader::new(packed);
    let first = reader.u8()?;
    if first & 0xf0 != 0x80 {
        return Err(corrupt("it is compressed in a way that is not known"));
    }
    let length = read_length(&mut reader, first & 7)?;
    inflate(reader.rest(), (Wrap::Zlib, length), out)
}

/// A length of one to four bytes, the highest byte first.
fn read_length(reader: &mut FieldReader<'_>, bytes: u8) -> Result<usize, Fault> {
    if !(1..=4).contains(&bytes) {
        return Err(corrupt("the length of the compressed bytes has no bytes"));
    }
    let bytes = reader.take(usize::from(bytes))?;
    Ok(bytes.iter().fold(0, |length, &byte| (length << 8) | usize::from(byte)))
}

/// What is around a deflated stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrap {
    /// Header and checksum of zlib.
    Zlib,
    /// Nothing.
    Raw,
}

/// Appends exactly `length` bytes from a stream. Memory is taken only as bytes are unpacked, so a
/// wrong length costs nothing.
fn inflate(packed: &[u8], (wrap, length): (Wrap, usize), out: &mut Vec<u8>) -> Result<(), Fault> {
    const STEP_BYTES: usize = 64 << 10;
    if length > MAX_EVENT_BYTES {
        return Err(corrupt("once unpacked, it is larger than any event"));
    }
    let mut stream = Decompress::new(wrap == Wrap::Zlib);
    let end = out.len().saturating_add(length);
    loop {
        // One byte more than the length says is noticed and refused.
        let room = end.saturating_sub(out.len()).saturating_add(1);
        out.reserve(room.min(STEP_BYTES));
        let taken = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
        let (rest, before) = (packed.get(taken..).unwrap_or_default(), out.len());
        let status = stream.decompress_vec(rest, out, FlushDecompress::None);
        let ended = status.map_err(|_| corrupt("it cannot be unpacked"))? == Status::StreamEnd;
        if out.len() > end || (ended && out.len() < end) {
            return Err(corrupt("once unpacked, it does not have the length that it says"));
        }
        if ended {
            return Ok(());
        }
        let progress = stream.total_in() > taken as u64 || out.len() > before;
        if !progress {
            return Err(corrupt("what is compressed is cut short"));
        }
    }
}

/// Gives the value of a COMPRESSED column. If it was compressed, it is unpacked into `out`. The
/// bytes are a zero and the value itself, or the method with the length, and a stream
/// ("Field_longstr").
pub(super) fn column_value<'a>(raw: &'a [u8], out: &'a mut Vec<u8>) -> Result<&'a [u8], Fault> {
    const NO_HEADER: u8 = 8;
    let mut reader = FieldReader::new(raw);
    if reader.is_empty() {
        return Ok(raw);
    }
    let first = reader.u8()?;
    match first & 0xf0 {
        0 if first == 0 => Ok(reader.rest()),
        0x80 => {
            let length = read_length(&mut reader, first & 7)?;
            let wrap = if first & NO_HEADER == 0 { Wrap::Zlib } else { Wrap::Raw };
            inflate(reader.rest(), (wrap, length), out)?;
            Ok(out)
        }
        _ => Err(corrupt("a value is compressed in a way that is not known")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::ZlibEncoder};

    use super::*;

    fn packed(text: &[u8], said: u32) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        let mut bytes = vec![0x84];
        bytes.extend_from_slice(&said.to_be_bytes());
        bytes.extend(encoder.finish().unwrap());
        bytes
    }

    #[test]
    fn unpacked_bytes_are_appended_to_what_is_there() {
        for length in [0, 1, 1000, 64 << 10, (64 << 10) + 1, 1_000_000] {
            let text: Vec<u8> = (0..length).map(|n| ((n % 251) * (n % 251) % 251) as u8).collect();
            let mut out = b"head".to_vec();
            unpack(&packed(&text, length as u32), &mut out).unwrap();
            assert!(out.starts_with(b"head") && out[4..] == text, "{length}");
        }
    }

    #[test]
    fn a_wrong_length_is_refused_and_takes_no_memory() {
        let text = vec![b'a'; 100_000];
        for said in [0, 99_999, 100_001, u32::MAX] {
            let mut out = Vec::new();
            assert!(unpack(&packed(&text, said), &mut out).is_err(), "{said}");
            assert!(out.capacity() < 1 << 20, "{} for {said}", out.capacity());
        }
        let whole = packed(&text, 100_000);
        for cut in 0..whole.len() {
            assert!(unpack(&whole[..cut], &mut Vec::new()).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_compressed_columns_value_is_read_in_all_its_forms() {
        let mut out = Vec::new();
        assert_eq!(column_value(b"", &mut out).unwrap(), b"");
        assert_eq!(column_value(b"\0short", &mut out).unwrap(), b"short");
        // What MariaDB 11.8 logs for REPEAT('long', 50).
        let deflated = b"\x89\xc8\xcb\xc9\xcf\x4b\xcf\x19\x06\x18\x00";
        assert_eq!(column_value(deflated, &mut out).unwrap(), "long".repeat(50).as_bytes());
        let mut wrapped = packed(b"text", 4);
        assert_eq!(column_value(&wrapped, &mut Vec::new()).unwrap(), b"text");
        wrapped[0] = 0x94;
        assert!(column_value(&wrapped, &mut Vec::new()).is_err());
        assert!(column_value(b"\x01text", &mut Vec::new()).is_err());
    }
}
