//! The character sets that text is read in: every one that MySQL and MariaDB have.
//!
//! The server's own conversion decides what the bytes mean. The character sets of one byte and the
//! Asian ones are read by [`CharsetTable`]s, which were made by asking a real server
//! (`e2e/src/bin/charset_tables.rs`, which also writes `charset/collations.rs`). The character sets
//! of Unicode are read here.

mod collations;
mod table;

use change_event::json;

pub(super) use table::CharsetTable;

/// How the bytes of a text column are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// utf8mb4.
    Utf8mb4,
    /// utf8mb3: UTF-8 without characters of four bytes.
    Utf8mb3,
    /// ucs2: two bytes for each character, the high one first.
    Ucs2,
    /// utf16, the high byte first.
    Utf16,
    /// utf16le, the low byte first.
    Utf16Le,
    /// utf32, the high byte first.
    Utf32,
    /// Any other.
    Table(CharsetTable),
}

/// The collation id of bytes that are not text.
pub(super) const BINARY_COLLATION: u16 = 63;

impl Charset {
    /// The character set of a collation id (`information_schema.COLLATIONS`), if there is such a
    /// collation.
    pub fn of_collation(id: u16) -> Option<Self> {
        let ranges = collations::COLLATIONS;
        let after = ranges.partition_point(|&(first, ..)| first <= id);
        let &(_, last, name) = ranges.get(after.checked_sub(1)?)?;
        if id <= last { Self::named(name) } else { None }
    }

    /// The character set of a name (`information_schema.CHARACTER_SETS`).
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "utf8mb4" => Self::Utf8mb4,
            "utf8mb3" | "utf8" => Self::Utf8mb3,
            "ucs2" => Self::Ucs2,
            "utf16" => Self::Utf16,
            "utf16le" => Self::Utf16Le,
            "utf32" => Self::Utf32,
            _ => Self::Table(CharsetTable::named(name)?),
        })
    }

    /// Writes text as a JSON string; bytes that are not text in this character set as
    /// `{"base64":"…"}`.
    pub fn write(self, out: &mut Vec<u8>, bytes: &[u8]) {
        if !self.write_text(out, bytes) {
            json::write_unreadable(out, bytes);
        }
    }

    /// The text in UTF-8; `None` when the bytes are not text.
    pub(super) fn to_utf8(self, bytes: &[u8]) -> Option<String> {
        let mut json = Vec::new();
        self.write_text(&mut json, bytes).then(|| serde_json::from_slice(&json).ok())?
    }

    /// Returns `false`, and writes nothing, when the bytes are not text.
    fn write_text(self, out: &mut Vec<u8>, bytes: &[u8]) -> bool {
        match self {
            Self::Utf8mb4 => json::write_utf8(out, bytes),
            Self::Utf8mb3 => !has_four_bytes(bytes) && json::write_utf8(out, bytes),
            Self::Table(table) => table.write(out, bytes),
            Self::Ucs2 => write_units(out, bytes, |units: &[[u8; 2]]| {
                units.iter().map(|unit| char::from_u32(u16::from_be_bytes(*unit).into())).collect()
            }),
            Self::Utf16 => write_units(out, bytes, |units: &[[u8; 2]]| {
                utf16(units.iter().map(|unit| u16::from_be_bytes(*unit)))
            }),
            Self::Utf16Le => write_units(out, bytes, |units: &[[u8; 2]]| {
                utf16(units.iter().map(|unit| u16::from_le_bytes(*unit)))
            }),
            Self::Utf32 => write_units(out, bytes, |units: &[[u8; 4]]| {
                units.iter().map(|unit| char::from_u32(u32::from_be_bytes(*unit))).collect()
            }),
        }
    }
}

/// Whether UTF-8 text has a character above U+FFFF: each of them begins with such a byte.
fn has_four_bytes(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, &byte| found | (byte >= 0xf0))
}

fn utf16(units: impl Iterator<Item = u16>) -> Option<String> {
    char::decode_utf16(units).map(Result::ok).collect()
}

/// Writes text whose units have `N` bytes.
fn write_units<const N: usize>(
    out: &mut Vec<u8>,
    bytes: &[u8],
    read: impl FnOnce(&[[u8; N]]) -> Option<String>,
) -> bool {
    let (units, cut) = bytes.as_chunks();
    let text = if cut.is_empty() { read(units) } else { None };
    if let Some(text) = &text {
        json::write_str(out, text);
    }
    text.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(charset: &str, bytes: &[u8]) -> String {
        let mut out = b">".to_vec();
        Charset::named(charset).expect(charset).write(&mut out, bytes);
        String::from_utf8(out).unwrap().split_off(1)
    }

    #[test]
    fn text_that_is_not_valid_in_its_charset_is_base64() {
        for (charset, bytes, expected) in [
            ("utf8mb4", &b"\xff"[..], r#"{"base64":"/w=="}"#),
            ("utf8mb3", "😀".as_bytes(), r#"{"base64":"8J+YgA=="}"#),
            ("ascii", "é".as_bytes(), r#"{"base64":"w6k="}"#),
            // A lone surrogate, a pair that ucs2 does not know, and half a unit.
            ("utf16", b"\xd8\x3d", r#"{"base64":"2D0="}"#),
            ("ucs2", b"\xd8\x3d\xde\x00", r#"{"base64":"2D3eAA=="}"#),
            ("utf16le", b"a\0b", r#"{"base64":"YQBi"}"#),
            ("utf32", b"\0\x11\0\0", r#"{"base64":"ABEAAA=="}"#),
            // A first byte at the end, a pair that is no character, and a character of four bytes
            // cut short.
            ("gbk", b"a\xc4", r#"{"base64":"YcQ="}"#),
            ("gbk", b"\xa2\xa0", r#"{"base64":"oqA="}"#),
            ("gb18030", b"\x81\x30\x81", r#"{"base64":"gTCB"}"#),
            ("gb18030", b"\x81\x30\xff\xff", r#"{"base64":"gTD//w=="}"#),
            ("cp1250", b"a\x81", r#"{"base64":"YYE="}"#),
        ] {
            assert_eq!(written(charset, bytes), expected, "{charset}");
        }
    }

    #[test]
    fn text_is_read_in_its_charset() {
        for (charset, bytes, expected) in [
            ("latin1", &b"\x80\x81\xe9\""[..], "\"€\u{81}é\\\"\""),
            ("utf8mb3", "é€\n".as_bytes(), "\"é€\\n\""),
            ("ucs2", b"\x4e\x2d\0\"", "\"中\\\"\""),
            ("utf16", b"\xd8\x3d\xde\0", "\"😀\""),
            ("utf16le", b"\x3d\xd8\0\xde", "\"😀\""),
            ("utf32", b"\0\x01\xf6\0\0\0\0\n", "\"😀\\n\""),
            // The second byte of a character may be one that JSON escapes, or a letter.
            ("gbk", b"\xd6\xd0\xce\xc4\x81\x5c\"\\", "\"中文乗\\\"\\\\\""),
            ("sjis", b"\x83\x5c\x5c\xb1", "\"ソ\\\\ｱ\""),
            ("gb18030", b"\xd6\xd0\x94\x39\xda\x33a", "\"中💩a\""),
            ("ujis", b"\x8f\xb0\xa1\x8e\xb1\xc6\xfc", "\"丂ｱ日\""),
            ("swe7", b"[\\]{|}a\n", "\"ÄÖÅäöåa\\n\""),
            ("koi8r", b"\xee\xc5\xd4", "\"Нет\""),
        ] {
            assert_eq!(written(charset, bytes), expected, "{charset}");
        }
    }

    #[test]
    fn a_collation_has_its_charset_and_an_unknown_one_none() {
        let name = |id| match Charset::of_collation(id)? {
            Charset::Table(table) => Some(table.name().to_owned()),
            other => Some(format!("{other:?}")),
        };
        for (id, expected) in [
            (1, Some("big5")),
            (8, Some("latin1")),
            (28, Some("gbk")),
            (33, Some("Utf8mb3")),
            (255, Some("Utf8mb4")),
            (248, Some("gb18030")),
            // uca1400 of MariaDB.
            (2304, Some("Utf8mb4")),
            (3072, Some("Utf32")),
            (0, None),
            (BINARY_COLLATION, None),
            (700, None),
            (u16::MAX, None),
        ] {
            assert_eq!(name(id).as_deref(), expected, "collation {id}");
        }
        for (first, last, name) in collations::COLLATIONS {
            assert!(first <= last && Charset::named(name).is_some(), "{name}");
        }
        assert!(collations::COLLATIONS.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }
}
