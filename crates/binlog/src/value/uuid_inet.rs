//! UUID, INET4 and INET6 of MariaDB, in the form that it prints (`plugin/type_uuid/sql_type_uuid.h`
//! and `plugin/type_inet/sql_type_inet.h` in its source). Zero bytes at the end are not logged.

use std::{
    io::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
};

use crate::error::{Fault, corrupt};

/// UUID: 16 bytes in the order of its digits.
pub(super) fn write_uuid(out: &mut Vec<u8>, raw: &[u8]) -> Result<(), Fault> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for (at, byte) in padded::<16>(raw)?.into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        let digit = |n: u8| DIGITS.get(usize::from(n)).copied().unwrap_or_default();
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    out.push(b'"');
    Ok(())
}

/// INET4: four bytes.
pub(super) fn write_inet4(out: &mut Vec<u8>, raw: &[u8]) -> Result<(), Fault> {
    // Writing to a vector does not fail.
    let _ = write!(out, "\"{}\"", Ipv4Addr::from(padded::<4>(raw)?));
    Ok(())
}

/// INET6: 16 bytes.
pub(super) fn write_inet6(out: &mut Vec<u8>, raw: &[u8]) -> Result<(), Fault> {
    let address = Ipv6Addr::from(padded::<16>(raw)?);
    let groups = address.segments();
    let [.., a, b, c, d] = address.octets();
    let embedded = Ipv4Addr::new(a, b, c, d);
    out.push(b'"');
    // Writing to a vector does not fail.
    let _ = match groups {
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => write!(out, "::{embedded}"),
        [0, 0, 0, 0, 0, 0xffff, ..] => write!(out, "::ffff:{embedded}"),
        _ => write_groups(out, groups),
    };
    out.push(b'"');
    Ok(())
}

/// Groups of hex digits. The first of the longest runs of zeros is left out, even if it is a single
/// group. RFC 5952 keeps a single group, but MariaDB does not.
fn write_groups(out: &mut Vec<u8>, groups: [u16; 8]) -> std::io::Result<()> {
    let run_at = |at: usize| groups.iter().skip(at).take_while(|group| **group == 0).count();
    let longest = (0..8).rev().max_by_key(|at| run_at(*at)).unwrap_or_default();
    let left_out = longest..longest.saturating_add(run_at(longest));
    for (at, group) in groups.into_iter().enumerate() {
        if left_out.contains(&at) {
            if at == left_out.start {
                out.extend_from_slice(b"::");
            }
            continue;
        }
        if at > 0 && at != left_out.end {
            out.push(b':');
        }
        write!(out, "{group:x}")?;
    }
    Ok(())
}

fn padded<const N: usize>(raw: &[u8]) -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    let given = bytes.get_mut(..raw.len());
    given.ok_or_else(|| corrupt("an address is longer than its type"))?.copy_from_slice(raw);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: fn(&mut Vec<u8>, &[u8]) -> Result<(), Fault>, raw: &[u8]) -> String {
        let mut out = Vec::new();
        write(&mut out, raw).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_was_cut_at_the_end_is_zero() {
        assert_eq!(
            written(write_uuid, b"\x12\x3e\x45\x67\xe8\x9b\x12\xd3\xa4\x56\x42\x66\x55\x44"),
            "\"123e4567-e89b-12d3-a456-426655440000\""
        );
        assert_eq!(written(write_uuid, b""), "\"00000000-0000-0000-0000-000000000000\"");
        assert_eq!(written(write_inet4, b"\x0a"), "\"10.0.0.0\"");
        assert_eq!(written(write_inet6, b"\x20\x01"), "\"2001::\"");
        assert_eq!(written(write_inet6, &[0; 16]), "\"::\"");
        let groups = [0, 1, 0, 0, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8];
        assert_eq!(written(write_inet6, &groups), "\"1::3:4:5:6:7:8\"");
        assert!(write_inet4(&mut Vec::new(), b"12345").is_err());
    }
}
