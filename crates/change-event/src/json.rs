//! JSON text, written straight into a byte buffer: no intermediate values, no allocation.
//!
//! Everything here appends to `out`, and does not change what is there already.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// `"00"` to `"99"`, for dates and times.
static TWO_DIGITS: [[u8; 2]; 100] = two_digits();

const HEX: &[u8; 16] = b"0123456789abcdef";

const fn two_digits() -> [[u8; 2]; 100] {
    let mut table = [[0; 2]; 100];
    let mut n = 0;
    while n < 100 {
        table[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    table
}

/// The two decimal digits of `n`; of its last two where it has more.
#[inline]
pub fn digits(n: u32) -> [u8; 2] {
    TWO_DIGITS[(n % 100) as usize]
}

/// Writes an integer.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, n: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Writes an integer.
#[inline]
pub fn write_u64(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Writes the shortest number that reads back as the same `f64`, always with a fraction or an
/// exponent. Infinities and NaN have no JSON form and become `null`.
#[inline]
pub fn write_f64(out: &mut Vec<u8>, n: f64) {
    if n.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(n).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Writes the shortest number that reads back as the same `f32`; else as [`write_f64`].
#[inline]
pub fn write_f32(out: &mut Vec<u8>, n: f32) {
    if n.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(n).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Writes a string with its quotes.
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    if needs_escape(text.as_bytes()) {
        write_escaped(out, text);
    } else {
        out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
}

/// Writes bytes that are meant as UTF-8 as a string with its quotes. Says `false`, and writes
/// nothing, when they are not.
#[inline]
#[must_use]
pub fn write_utf8(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    if is_plain_ascii(bytes) {
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return true;
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    write_str(out, text);
    true
}

/// Whether these bytes are ASCII that may stand in a JSON string as they are.
#[inline]
pub fn is_plain_ascii(bytes: &[u8]) -> bool {
    // One pass without branches, so that the compiler takes 16 bytes at a time.
    !bytes.iter().fold(false, |special, &byte| special | (byte >= 0x80) | is_special(byte))
}

fn needs_escape(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |special, &byte| special | is_special(byte))
}

fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Writes text without quotes, with `"`, `\` and control characters escaped.
pub fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| is_special(byte)) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        write_escape(out, special[0]);
        rest = &special[1..];
    }
    out.extend_from_slice(rest);
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let [high, low] = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Writes bytes that are not what their type says as `{"base64":"…"}`.
#[cold]
pub fn write_unreadable(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"{\"base64\":");
    write_base64(out, bytes);
    out.push(b'}');
}

/// Writes bytes as a string of standard base64 with padding.
pub fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    write_base64_digits(out, bytes);
    out.push(b'"');
}

/// Writes standard base64 with padding, without quotes.
pub fn write_base64_digits(out: &mut Vec<u8>, bytes: &[u8]) {
    // Whole groups of three go through a small buffer, so only the last one is padded.
    const CHUNK_BYTES: usize = 768;
    let mut digits = [0; CHUNK_BYTES / 3 * 4];
    for chunk in bytes.chunks(CHUNK_BYTES) {
        if let Ok(written) = STANDARD.encode_slice(chunk, &mut digits) {
            out.extend_from_slice(&digits[..written]);
        }
    }
}

/// Writes the digits that so many zero bytes have, as [`write_base64_digits`] would.
pub fn write_base64_zeros(out: &mut Vec<u8>, count: usize) {
    let whole = count / 3 * 4;
    let end: &[u8] = [&b""[..], b"AA==", b"AAA="][count % 3];
    out.resize(out.len() + whole, b'A');
    out.extend_from_slice(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b">".to_vec();
        write(&mut out);
        String::from_utf8(out).unwrap().split_off(1)
    }

    #[test]
    fn strings_read_back_as_they_were() {
        let every_ascii: String = (0..=127_u8).map(char::from).collect();
        for text in ["", "plain", "\"\\/\u{8}\u{c}\n\r\t\0\u{1f}", "é\u{2028}😀\"", &every_ascii]
        {
            let json = written(|out| write_str(out, text));
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text, "{json}");
            assert_eq!(json, written(|out| assert!(write_utf8(out, text.as_bytes()))));
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_write_nothing() {
        for bytes in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80"] {
            assert_eq!(written(|out| assert!(!write_utf8(out, bytes))), "");
        }
    }

    #[test]
    fn numbers_keep_every_bit() {
        for n in [0, 1, -1, i64::MIN, i64::MAX] {
            assert_eq!(written(|out| write_i64(out, n)), n.to_string());
        }
        assert_eq!(written(|out| write_u64(out, u64::MAX)), "18446744073709551615");
        for n in [0.0, -0.0, 0.1, 1.0, 1e23, 5e-324, f64::MIN_POSITIVE, f64::MAX, -1.5e-7] {
            let json = written(|out| write_f64(out, n));
            assert_eq!(json.parse::<f64>().unwrap().to_bits(), n.to_bits(), "{json}");
        }
        for n in [0.1_f32, 16_777_216.0, f32::MAX, 1e-45, -3.402_823e38] {
            let json = written(|out| write_f32(out, n));
            assert_eq!(json.parse::<f32>().unwrap().to_bits(), n.to_bits(), "{json}");
        }
        assert_eq!(written(|out| write_f64(out, f64::NAN)), "null");
    }

    #[test]
    fn base64_of_any_length_is_padded_once_at_the_end() {
        for length in [0, 1, 2, 3, 767, 768, 769, 3000] {
            let bytes: Vec<u8> = (0..length).map(|n| (n * 7 % 256) as u8).collect();
            let json = written(|out| write_base64(out, &bytes));
            assert_eq!(STANDARD.decode(json.trim_matches('"')).unwrap(), bytes);
            let zeros = written(|out| write_base64_zeros(out, length));
            assert_eq!(zeros, STANDARD.encode(vec![0; length]));
        }
    }
}
