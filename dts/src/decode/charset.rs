//! The character sets that text is read in.

use change_event::json;

/// How the bytes of a text column are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// utf8mb4 and utf8mb3.
    Utf8,
    /// 7 bits; a byte above is not text.
    Ascii,
    /// MySQL's latin1: Windows-1252, with the five bytes that it leaves undefined kept as the
    /// control characters of the same number.
    Latin1,
}

/// The collation id of bytes that are not text.
pub(super) const BINARY_COLLATION: u16 = 63;

impl Charset {
    /// The character set of a collation id (`information_schema.COLLATIONS`), if it is handled.
    pub(super) fn of_collation(id: u16) -> Option<Self> {
        match id {
            33 | 45 | 46 | 76 | 83 | 192..=215 | 223..=247 | 255..=323 => Some(Self::Utf8),
            11 | 65 => Some(Self::Ascii),
            5 | 8 | 15 | 31 | 47 | 48 | 49 | 94 => Some(Self::Latin1),
            _ => None,
        }
    }

    /// Writes text as a JSON string; bytes that are not text in this character set as
    /// `{"base64":"…"}`.
    pub(super) fn write(self, out: &mut Vec<u8>, bytes: &[u8]) {
        let written = match self {
            Self::Utf8 => json::write_utf8(out, bytes),
            Self::Ascii => bytes.is_ascii() && json::write_utf8(out, bytes),
            Self::Latin1 => {
                write_latin1(out, bytes);
                true
            }
        };
        if !written {
            out.extend_from_slice(b"{\"base64\":");
            json::write_base64(out, bytes);
            out.push(b'}');
        }
    }
}

fn write_latin1(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    if json::is_plain_ascii(bytes) {
        out.extend_from_slice(bytes);
    } else {
        for &byte in bytes {
            json::write_escaped(out, latin1_char(byte).encode_utf8(&mut [0; 4]));
        }
    }
    out.push(b'"');
}

fn latin1_char(byte: u8) -> char {
    match byte {
        0x80 => '€',
        0x82 => '‚',
        0x83 => 'ƒ',
        0x84 => '„',
        0x85 => '…',
        0x86 => '†',
        0x87 => '‡',
        0x88 => 'ˆ',
        0x89 => '‰',
        0x8a => 'Š',
        0x8b => '‹',
        0x8c => 'Œ',
        0x8e => 'Ž',
        0x91 => '‘',
        0x92 => '’',
        0x93 => '“',
        0x94 => '”',
        0x95 => '•',
        0x96 => '–',
        0x97 => '—',
        0x98 => '˜',
        0x99 => '™',
        0x9a => 'š',
        0x9b => '›',
        0x9c => 'œ',
        0x9e => 'ž',
        0x9f => 'Ÿ',
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_valid_in_its_charset_is_base64() {
        let mut out = Vec::new();
        Charset::Utf8.write(&mut out, b"\xff");
        Charset::Ascii.write(&mut out, "é".as_bytes());
        Charset::Latin1.write(&mut out, b"\x80\x81\xe9\"");
        let expected = "{\"base64\":\"/w==\"}{\"base64\":\"w6k=\"}\"€\u{81}é\\\"\"";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
