//! From the bytes of one value to its JSON form. `docs/event-format.md` has the table of forms; the
//! bytes are those of `sql/field.cc` in the server's source.

mod decimal;
mod double;
pub mod geometry;
mod json_diff;
mod json_text;
pub(super) mod temporal;
mod uuid_inet;
pub mod vector;

use change_event::json;

use super::{
    column::{Kind, Members},
    compressed,
    error::{Fault, corrupt},
};

/// Writes a value that is not NULL.
pub(super) fn write(out: &mut Vec<u8>, kind: &Kind, raw: &[u8]) -> Result<(), Fault> {
    match kind {
        Kind::Int => json::write_i64(out, signed(raw)?),
        Kind::UnsignedInt => json::write_u64(out, little_endian(raw)?),
        Kind::Float => return write_float(out, raw),
        Kind::Double => return write_double(out, raw),
        Kind::Decimal { precision, scale } => {
            out.push(b'"');
            decimal::write(out, (*precision, *scale), raw)?;
            out.push(b'"');
        }
        Kind::Year => return temporal::write_year(out, raw),
        Kind::Date => return temporal::write_date(out, raw),
        Kind::Time { fraction } => return temporal::write_time(out, *fraction, raw),
        Kind::DateTime { fraction } => return temporal::write_datetime(out, *fraction, raw),
        Kind::Timestamp { fraction } => return temporal::write_timestamp(out, *fraction, raw),
        Kind::OldTime => return temporal::old::write_time(out, raw),
        Kind::OldDateTime => return temporal::old::write_datetime(out, raw),
        Kind::OldTimestamp => return temporal::old::write_timestamp(out, raw),
        Kind::Bit => json::write_u64(out, big_endian(raw)?),
        Kind::Text(charset) => charset.write(out, raw),
        Kind::Binary => json::write_base64(out, raw),
        Kind::FixedBinary { length } => return write_fixed_binary(out, *length, raw),
        Kind::Enum(members) => return write_enum(out, members, raw),
        Kind::Set(members) => return write_set(out, members, raw),
        Kind::Json => return json_text::write(out, raw),
        Kind::Compressed(plain) => {
            let mut unpacked = Vec::new();
            return write(out, plain, compressed::column_value(raw, &mut unpacked)?);
        }
        Kind::Geometry => geometry::write(out, raw),
        Kind::Vector => vector::write(out, raw),
        Kind::Uuid => return uuid_inet::write_uuid(out, raw),
        Kind::Inet4 => return uuid_inet::write_inet4(out, raw),
        Kind::Inet6 => return uuid_inet::write_inet6(out, raw),
    }
    Ok(())
}

/// Applies these differences to the document before, and writes the new JSON document.
pub(super) fn write_changed_json(
    out: &mut Vec<u8>,
    document: &[u8],
    diffs: &[u8],
) -> Result<(), Fault> {
    json_diff::write(out, document, diffs)
}

fn signed(raw: &[u8]) -> Result<i64, Fault> {
    Ok(match *raw {
        [a] => i64::from(i8::from_le_bytes([a])),
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        // Three bytes in the upper part of four, then shifted down with their sign.
        [a, b, c] => i64::from(i32::from_le_bytes([0, a, b, c]).wrapping_shr(8)),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => return Err(corrupt("an integer of an impossible length")),
    })
}

fn little_endian(raw: &[u8]) -> Result<u64, Fault> {
    Ok(match *raw {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ if raw.len() < 8 => raw.iter().rev().fold(0, |n, &byte| (n << 8) | u64::from(byte)),
        _ => return Err(corrupt("an integer of an impossible length")),
    })
}

fn big_endian(raw: &[u8]) -> Result<u64, Fault> {
    if raw.len() > 8 {
        return Err(corrupt("a number of more than 64 bits"));
    }
    Ok(raw.iter().fold(0, |n, &byte| (n << 8) | u64::from(byte)))
}

fn write_float(out: &mut Vec<u8>, raw: &[u8]) -> Result<(), Fault> {
    let number = raw.first_chunk().copied().map(f32::from_le_bytes).filter(|n| n.is_finite());
    json::write_f32(out, number.ok_or_else(not_finite)?);
    Ok(())
}

fn write_double(out: &mut Vec<u8>, raw: &[u8]) -> Result<(), Fault> {
    let number = raw.first_chunk().copied().map(f64::from_le_bytes).filter(|n| n.is_finite());
    json::write_f64(out, number.ok_or_else(not_finite)?);
    Ok(())
}

#[cold]
fn not_finite() -> Fault {
    corrupt("a floating point number that is not finite")
}

/// The server cuts the zero bytes at the end of a BINARY; they belong to the value.
fn write_fixed_binary(out: &mut Vec<u8>, length: u16, raw: &[u8]) -> Result<(), Fault> {
    let length = usize::from(length);
    if raw.len() > length {
        return Err(corrupt("a BINARY is longer than its column"));
    }
    // Whole groups of three bytes are written directly, the rest from a copy.
    let whole = raw.len().saturating_sub(raw.len() % 3);
    let (head, tail) = raw.split_at_checked(whole).unwrap_or_default();
    out.push(b'"');
    json::write_base64_digits(out, head);
    let padded = length.saturating_sub(whole);
    let mut rest = [0; 3];
    rest.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
    json::write_base64_digits(out, rest.get(..padded.min(3)).unwrap_or_default());
    json::write_base64_zeros(out, padded.saturating_sub(3));
    out.push(b'"');
    Ok(())
}

fn write_enum(out: &mut Vec<u8>, members: &Members, raw: &[u8]) -> Result<(), Fault> {
    // Number 0 is the empty string, which replaces an invalid value (sql_mode without STRICT).
    let Some(index) = little_endian(raw)?.checked_sub(1) else {
        out.extend_from_slice(b"\"\"");
        return Ok(());
    };
    let member = usize::try_from(index).ok().and_then(|index| members.get(index));
    out.extend_from_slice(member.ok_or_else(|| corrupt("an ENUM has no such member"))?);
    Ok(())
}

fn write_set(out: &mut Vec<u8>, members: &Members, raw: &[u8]) -> Result<(), Fault> {
    let mut bits = little_endian(raw)?;
    out.push(b'[');
    let mut separator: &[u8] = b"";
    while bits != 0 {
        let member = members.get(bits.trailing_zeros() as usize);
        out.extend_from_slice(separator);
        out.extend_from_slice(member.ok_or_else(|| corrupt("a SET has no such member"))?);
        separator = b",";
        bits &= bits.wrapping_sub(1);
    }
    out.push(b']');
    Ok(())
}
