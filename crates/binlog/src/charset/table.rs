//! Character sets by table: which characters a server reads from which bytes.
//!
//! `e2e/src/bin/charset_tables.rs` wrote `tables.bin`, by asking a server. All numbers have their
//! low byte first. The file has, in this order:
//!
//! - the number of character sets and the number of all segments (u16 each);
//! - for each character set its name in eight bytes, and the number of its segments (u16);
//! - for each character set 256 numbers (u16), one for each first byte: how many of its segments
//!   begin with this byte or a lower one;
//! - all segments;
//! - the pool, to the end.
//!
//! A segment is a run of characters whose codes follow each other, all with the same number of
//! bytes. A code is the character's bytes, filled up with zeros on the right to four bytes, so that
//! segments of all lengths have one order: `b0a1` is `b0a10000`.
//!
//! A segment is three numbers (u32):
//!
//! - its first code;
//! - the number of its characters, and in the highest four bits the number of bytes of each;
//! - where its characters are. If the highest bit is set, they are the characters of Unicode from
//!   this one on. If not, this is their place in the pool, which has a u16 for each, and zero where
//!   there is no character.
//!
//! Characters of four bytes (gb18030) follow each other in the order in which that character set
//! counts them: the second byte and the last have ten values, the third has 126.

use std::fmt;

use change_event::json;

use super::super::reader::FieldReader;

static TABLES: &[u8] = include_bytes!("tables.bin");

const HEAD_BYTES: usize = 4;
const NAME_BYTES: usize = 8;
const ENTRY_BYTES: usize = NAME_BYTES + 2;
const SEGMENT_BYTES: usize = 12;

type CodeSegment = [u8; SEGMENT_BYTES];
type LeadBytes = [[u8; 2]; 256];

/// The parts of a table in the file.
#[derive(Clone, Copy)]
struct TableParts {
    /// How many segments begin with each byte, or with a lower one.
    leads: &'static LeadBytes,
    segments: &'static [CodeSegment],
    pool: &'static [[u8; 2]],
}

/// A character set that is read by a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CharsetTable {
    /// Its place among the character sets.
    place: u16,
    /// Its segments, as a part of all segments.
    first: u16,
    count: u16,
    /// All bytes below 128 are ASCII.
    has_ascii: bool,
}

impl CharsetTable {
    pub(super) fn named(wanted: &str) -> Option<Self> {
        let mut reader = FieldReader::new(TABLES.get(HEAD_BYTES..)?);
        let mut first = 0_u16;
        for place in 0..head()?.0 {
            let name = reader.take(NAME_BYTES).ok()?;
            let count = reader.u16().ok()?;
            if text(name) == wanted {
                let table = Self { place, first, count, has_ascii: false };
                let has_ascii = table.parts().is_some_and(|parts| has_ascii(parts.segments));
                return Some(Self { has_ascii, ..table });
            }
            first = first.checked_add(count)?;
        }
        None
    }

    /// Its name, as MySQL has it.
    pub fn name(self) -> &'static str {
        let at = usize::from(self.place).saturating_mul(ENTRY_BYTES).saturating_add(HEAD_BYTES);
        text(TABLES.get(at..at.saturating_add(NAME_BYTES)).unwrap_or_default())
    }

    fn parts(self) -> Option<TableParts> {
        let (charsets, segments) = head()?;
        let charsets = usize::from(charsets);
        let (_, rest) = TABLES.split_at_checked(HEAD_BYTES)?;
        let (_, rest) = rest.split_at_checked(charsets.checked_mul(ENTRY_BYTES)?)?;
        let (leads, rest) = rest.split_at_checked(charsets.checked_mul(size_of::<LeadBytes>())?)?;
        let (all, pool) =
            rest.split_at_checked(usize::from(segments).checked_mul(SEGMENT_BYTES)?)?;
        let (first, count) = (usize::from(self.first), usize::from(self.count));
        Some(TableParts {
            leads: leads.as_chunks().0.as_chunks().0.get(usize::from(self.place))?,
            segments: all.as_chunks().0.get(first..first.checked_add(count)?)?,
            pool: pool.as_chunks().0,
        })
    }

    /// Writes text as a JSON string. Returns `false`, and writes nothing, when some bytes are no
    /// character.
    pub(super) fn write(self, out: &mut Vec<u8>, bytes: &[u8]) -> bool {
        let start = out.len();
        out.push(b'"');
        if self.has_ascii && json::is_plain_ascii(bytes) {
            out.extend_from_slice(bytes);
        } else if self.write_characters(out, bytes).is_none() {
            out.truncate(start);
            return false;
        }
        out.push(b'"');
        true
    }

    /// Stops at bytes that are no character.
    fn write_characters(self, out: &mut Vec<u8>, mut rest: &[u8]) -> Option<()> {
        let parts = self.parts()?;
        while let Some(first) = rest.first() {
            if self.has_ascii && first.is_ascii() {
                let (head, tail) = rest.split_at_checked(plain_ascii(rest))?;
                out.extend_from_slice(head);
                rest = tail;
                if !head.is_empty() {
                    continue;
                }
            }
            let (character, length) = parts.first_character(rest)?;
            let mut utf8 = [0; 4];
            let utf8 = character.encode_utf8(&mut utf8);
            if character.is_ascii() {
                json::write_escaped(out, utf8);
            } else {
                out.extend_from_slice(utf8.as_bytes());
            }
            rest = rest.get(length..)?;
        }
        Some(())
    }
}

impl TableParts {
    /// The first character of the text, and its number of bytes.
    fn first_character(self, text: &[u8]) -> Option<(char, usize)> {
        let code = u32::from_be_bytes(text.first_chunk().copied().unwrap_or_else(|| padded(text)));
        let [first, shape, place] = fields(self.segment(code)?);
        let bytes = (shape >> 28) as usize;
        let n = number(code, bytes)?.checked_sub(number(first, bytes)?)?;
        if n >= shape & 0x0fff_ffff || bytes > text.len() {
            return None;
        }
        Some((self.character(place, n)?, bytes))
    }

    /// The last segment that does not begin after the code. It is one of those with the same first
    /// byte, or the one before them.
    fn segment(self, code: u32) -> Option<&'static CodeSegment> {
        let lead = (code >> 24) as usize;
        let up_to = |lead: usize| Some(usize::from(u16::from_le_bytes(*self.leads.get(lead)?)));
        let end = up_to(lead)?;
        let begin = lead.checked_sub(1).map_or(Some(0), up_to)?.saturating_sub(1);
        let own = self.segments.get(begin..end)?;
        let after = own.partition_point(|segment| first_code(segment) <= code);
        own.get(after.checked_sub(1)?)
    }

    /// The n-th character of a segment whose characters are at a place.
    fn character(self, place: u32, n: u32) -> Option<char> {
        if place & IN_ORDER != 0 {
            return char::from_u32((place ^ IN_ORDER).checked_add(n)?);
        }
        let unit = self.pool.get(place.checked_add(n)? as usize).copied();
        let character = char::from_u32(u16::from_le_bytes(unit?).into());
        character.filter(|&character| character != '\0')
    }
}

/// The first four bytes of a text, filled up with zeros.
fn padded(text: &[u8]) -> [u8; 4] {
    let mut window = [0; 4];
    window.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
    window
}

/// How many bytes from the first on are ASCII that may stand in JSON as they are.
fn plain_ascii(bytes: &[u8]) -> usize {
    let special = |byte: &u8| !(0x20..0x80).contains(byte) || matches!(byte, b'"' | b'\\');
    bytes.iter().position(special).unwrap_or(bytes.len())
}

fn fields(segment: &CodeSegment) -> [u32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *segment;
    [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_le_bytes)
}

fn first_code(segment: &CodeSegment) -> u32 {
    let [code, ..] = fields(segment);
    code
}

/// The number of a code among all codes of its length.
fn number(code: u32, bytes: usize) -> Option<u32> {
    let [a, b, c, d] = code.to_be_bytes();
    match bytes {
        1 => Some(code >> 24),
        2 => Some(code >> 16),
        3 => Some(code >> 8),
        4 => {
            let digit = |byte: u8, first: u8, count: u32| {
                byte.checked_sub(first).map(u32::from).filter(|digit| *digit < count)
            };
            let number = digit(a, 0x81, 126)?.wrapping_mul(10).wrapping_add(digit(b, 0x30, 10)?);
            let number = number.wrapping_mul(126).wrapping_add(digit(c, 0x81, 126)?);
            Some(number.wrapping_mul(10).wrapping_add(digit(d, 0x30, 10)?))
        }
        _ => None,
    }
}

const IN_ORDER: u32 = 1 << 31;

fn has_ascii(segments: &[CodeSegment]) -> bool {
    let first = segments.first().map(fields);
    first.is_some_and(|[code, shape, place]| {
        code == 0 && shape >> 28 == 1 && shape & 0x0fff_ffff >= 128 && place == IN_ORDER
    })
}

/// How many character sets there are, and how many segments.
fn head() -> Option<(u16, u16)> {
    let [a, b, c, d] = *TABLES.first_chunk::<HEAD_BYTES>()?;
    Some((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])))
}

/// A name without the zeros after it.
fn text(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap_or_default().trim_end_matches('\0')
}

impl fmt::Debug for CharsetTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
