//! JSON documents: from MySQL's binary format to text.
//!
//! The format is described in the server's `json_binary.h`. A document is a type byte and a value.
//! An array or object begins with its count and its size in bytes, each in two bytes (small) or
//! four (large). In an object, key entries follow (offset, two bytes of length). Then come value
//! entries (type byte, and the value itself if it fits, otherwise its offset). Offsets are counted
//! from the count.

use change_event::json;

use super::{
    super::{
        column::raw,
        error::{Fault, corrupt},
        reader::FieldReader,
    },
    decimal, double,
    temporal::packed,
};

/// The server allows 100 levels.
const MAX_DEPTH: u32 = 128;

mod kind {
    pub(super) const SMALL_OBJECT: u8 = 0;
    pub(super) const LARGE_OBJECT: u8 = 1;
    pub(super) const SMALL_ARRAY: u8 = 2;
    pub(super) const LARGE_ARRAY: u8 = 3;
    pub(super) const LITERAL: u8 = 4;
    pub(super) const INT16: u8 = 5;
    pub(super) const UINT16: u8 = 6;
    pub(super) const INT32: u8 = 7;
    pub(super) const UINT32: u8 = 8;
    pub(super) const INT64: u8 = 9;
    pub(super) const UINT64: u8 = 10;
    pub(super) const DOUBLE: u8 = 11;
    pub(super) const STRING: u8 = 12;
    pub(super) const OPAQUE: u8 = 15;
}

/// Writes a document. One without bytes is `null`, as the server reads it.
pub(super) fn write(out: &mut Vec<u8>, document: &[u8]) -> Result<(), Fault> {
    let Some((&kind, value)) = document.split_first() else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    DocumentWriter { out, budget: document.len() }.value(kind, value, MAX_DEPTH)
}

struct DocumentWriter<'a> {
    out: &'a mut Vec<u8>,
    /// How many bytes of the document may still be used. In a document of a server no two values
    /// share bytes. In a damaged document they could, and the text would grow without end.
    budget: usize,
}

/// An array or object, and the width of its numbers.
#[derive(Clone, Copy)]
struct Container<'a> {
    bytes: &'a [u8],
    width: Width,
    count: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Small,
    Large,
}

impl DocumentWriter<'_> {
    fn value(&mut self, kind: u8, bytes: &[u8], depth: u32) -> Result<(), Fault> {
        let mut reader = FieldReader::new(bytes);
        match kind {
            kind::SMALL_OBJECT | kind::LARGE_OBJECT => {
                return self.object(Container::read(kind, bytes)?, depth);
            }
            kind::SMALL_ARRAY | kind::LARGE_ARRAY => {
                return self.array(Container::read(kind, bytes)?, depth);
            }
            kind::LITERAL => self.out.extend_from_slice(literal(reader.u8()?)?),
            kind::INT16 => self.integer(reader.array().map(i16::from_le_bytes)?),
            kind::UINT16 => json::write_u64(self.out, u64::from(reader.u16()?)),
            kind::INT32 => self.integer(reader.array().map(i32::from_le_bytes)?),
            kind::UINT32 => json::write_u64(self.out, u64::from(reader.u32()?)),
            kind::INT64 => self.integer(reader.array().map(i64::from_le_bytes)?),
            kind::UINT64 => json::write_u64(self.out, reader.u64()?),
            kind::DOUBLE => double::write(self.out, reader.array().map(f64::from_le_bytes)?)?,
            kind::STRING => {
                let text = read_string(&mut reader)?;
                self.spend(text.len())?;
                self.text(text)?;
            }
            kind::OPAQUE => {
                let column_type = reader.u8()?;
                let value = read_string(&mut reader)?;
                self.spend(value.len())?;
                self.opaque(column_type, value)?;
            }
            _ => return Err(corrupt("a JSON document has a value of an unknown type")),
        }
        Ok(())
    }

    fn object(&mut self, object: Container<'_>, depth: u32) -> Result<(), Fault> {
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        self.out.push(b'{');
        for n in 0..object.count {
            if n > 0 {
                self.out.push(b',');
            }
            let key = object.key(n)?;
            self.spend(key.len().saturating_add(4))?;
            self.text(key)?;
            self.out.push(b':');
            self.entry(object, object.key_entries_end(object.count), (n, depth))?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn array(&mut self, array: Container<'_>, depth: u32) -> Result<(), Fault> {
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        self.out.push(b'[');
        for n in 0..array.count {
            if n > 0 {
                self.out.push(b',');
            }
            self.entry(array, array.key_entries_end(0), (n, depth))?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// Writes the n-th value of a container, whose value entries begin at `entries`.
    fn entry(
        &mut self,
        container: Container<'_>,
        entries: usize,
        (n, depth): (usize, u32),
    ) -> Result<(), Fault> {
        self.spend(3)?;
        let size = container.width.value_entry_bytes();
        let mut entry = container.from(entries.saturating_add(n.saturating_mul(size)))?;
        let kind = entry.u8()?;
        if container.width.holds(kind) {
            return self.value(kind, entry.rest(), depth);
        }
        let offset = container.width.read(&mut entry)?;
        let value = container.from(offset)?;
        self.value(kind, value.rest(), depth)
    }

    fn integer(&mut self, n: impl Into<i64>) {
        json::write_i64(self.out, n.into());
    }

    fn text(&mut self, text: &[u8]) -> Result<(), Fault> {
        if json::write_utf8(self.out, text) {
            Ok(())
        } else {
            Err(corrupt("JSON text is not UTF-8"))
        }
    }

    /// Writes a value of a column type as SELECT prints it; only a decimal is a number with its
    /// digits.
    fn opaque(&mut self, column_type: u8, value: &[u8]) -> Result<(), Fault> {
        if column_type == raw::NEWDECIMAL {
            let [precision, scale, digits @ ..] = value else {
                return Err(corrupt("a decimal in a JSON document is cut short"));
            };
            return decimal::write(self.out, (*precision, *scale), digits);
        }
        self.out.push(b'"');
        match column_type {
            raw::DATE => packed::write_date(self.out, packed_time(value)?)?,
            raw::OLD_DATETIME | raw::OLD_TIMESTAMP => {
                packed::write_datetime(self.out, packed_time(value)?)?;
            }
            raw::OLD_TIME => packed::write_time(self.out, packed_time(value)?)?,
            _ => self.base64(column_type, value),
        }
        self.out.push(b'"');
        Ok(())
    }

    /// Writes base64 as the server does: the type's number first, and lines of 76 digits.
    fn base64(&mut self, column_type: u8, value: &[u8]) {
        const BYTES_PER_LINE: usize = 57;
        self.out.extend_from_slice(b"base64:type");
        json::write_u64(self.out, u64::from(column_type));
        self.out.push(b':');
        for (n, line) in value.chunks(BYTES_PER_LINE).enumerate() {
            if n > 0 {
                self.out.extend_from_slice(b"\\n");
            }
            json::write_base64_digits(self.out, line);
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Fault> {
        let left = self.budget.checked_sub(bytes);
        self.budget = left.ok_or_else(|| corrupt("values of a JSON document overlap"))?;
        Ok(())
    }
}

impl<'a> Container<'a> {
    fn read(kind: u8, bytes: &'a [u8]) -> Result<Self, Fault> {
        let width = match kind {
            kind::SMALL_OBJECT | kind::SMALL_ARRAY => Width::Small,
            _ => Width::Large,
        };
        let mut reader = FieldReader::new(bytes);
        let count = width.read(&mut reader)?;
        let size = width.read(&mut reader)?;
        let bytes = bytes.get(..size).ok_or_else(|| corrupt("a JSON document is cut short"))?;
        Ok(Self { bytes, width, count })
    }

    fn from(&self, offset: usize) -> Result<FieldReader<'a>, Fault> {
        let rest = self.bytes.get(offset..);
        rest.map(FieldReader::new).ok_or_else(|| corrupt("a JSON document points past its end"))
    }

    /// Where the entries of this many keys end.
    fn key_entries_end(&self, keys: usize) -> usize {
        let header = self.width.bytes().saturating_mul(2);
        header.saturating_add(keys.saturating_mul(self.width.key_entry_bytes()))
    }

    fn key(&self, n: usize) -> Result<&'a [u8], Fault> {
        let mut entry = self.from(self.key_entries_end(n))?;
        let offset = self.width.read(&mut entry)?;
        let length = entry.u16()?;
        self.from(offset)?.take(usize::from(length))
    }
}

impl Width {
    fn bytes(self) -> usize {
        if self == Self::Small { 2 } else { 4 }
    }

    fn key_entry_bytes(self) -> usize {
        self.bytes().saturating_add(2)
    }

    fn value_entry_bytes(self) -> usize {
        self.bytes().saturating_add(1)
    }

    fn read(self, reader: &mut FieldReader<'_>) -> Result<usize, Fault> {
        match self {
            Self::Small => reader.u16().map(usize::from),
            Self::Large => reader.u32().map(|n| n as usize),
        }
    }

    /// Whether a value of this type is in the entry itself.
    fn holds(self, kind: u8) -> bool {
        match kind {
            kind::LITERAL | kind::INT16 | kind::UINT16 => true,
            kind::INT32 | kind::UINT32 => self == Self::Large,
            _ => false,
        }
    }
}

fn literal(byte: u8) -> Result<&'static [u8], Fault> {
    Ok(match byte {
        0 => b"null",
        1 => b"true",
        2 => b"false",
        _ => return Err(corrupt("a JSON document has an unknown literal")),
    })
}

/// Reads the bytes after a length. The length has seven bits in each byte, the lowest first; all
/// bytes but the last have their highest bit set.
fn read_string<'a>(reader: &mut FieldReader<'a>) -> Result<&'a [u8], Fault> {
    let mut length = 0_usize;
    for shift in [0, 7, 14, 21, 28] {
        let byte = reader.u8()?;
        length |= usize::from(byte & 0x7f).wrapping_shl(shift);
        if byte & 0x80 == 0 {
            return reader.take(length);
        }
    }
    Err(corrupt("a length in a JSON document is too long"))
}

fn packed_time(value: &[u8]) -> Result<i64, Fault> {
    let bytes = value.first_chunk().filter(|_| value.len() == 8);
    let bytes = bytes.ok_or_else(|| corrupt("a time in a JSON document is not 8 bytes long"))?;
    Ok(i64::from_le_bytes(*bytes))
}

#[cold]
fn too_deep() -> Fault {
    corrupt("a JSON document is nested deeper than the server allows")
}
