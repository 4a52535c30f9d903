//! Reads a Java-serialised `HashMap<byte[], byte[]>`: the standalone offset file of Kafka Connect.
//!
//! The layout comes from the "Java Object Serialization Specification", chapter 6, and only this
//! one shape of it is read: `FileOffsetBackingStore` writes no other. No class is looked up or
//! instantiated.
//!
//! ```text
//! AC ED 00 05                        magic, version
//! 73 72 0011 "java.util.HashMap"     TC_OBJECT, TC_CLASSDESC, name
//!    0507DAC1C31660D1 03             serialVersionUID; flags: serializable, with writeObject
//!    0002 46 000A "loadFactor" 49 0009 "threshold"
//!    78 70                           end of annotations, no superclass
//!    f32 i32                         the two fields
//!    77 08 u32 u32                   block data: buckets, entries
//!    (key value)*                    TC_ARRAY each; a value may be TC_NULL
//!    78                              end of what writeObject wrote
//! ```

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

/// The beginning of every such stream.
pub(super) const MAGIC: [u8; 4] = [0xac, 0xed, 0x00, 0x05];

const OBJECT: u8 = 0x73;
const CLASS: u8 = 0x72;
const REFERENCE: u8 = 0x71;
const NULL: u8 = 0x70;
const ARRAY: u8 = 0x75;
const BLOCK: u8 = 0x77;
const END: u8 = 0x78;

const MAP_NAME: &[u8] = b"java.util.HashMap";
const MAP_VERSION: [u8; 8] = [0x05, 0x07, 0xda, 0xc1, 0xc3, 0x16, 0x60, 0xd1];
/// Two fields: float `loadFactor` and int `threshold`.
const MAP_FIELDS: &[u8] = b"\x03\x00\x02F\x00\x0aloadFactorI\x00\x09threshold\x78\x70";
const BYTES_NAME: &[u8] = b"[B";
const BYTES_VERSION: [u8; 8] = [0xac, 0xf3, 0x17, 0xf8, 0x06, 0x08, 0x54, 0xe0];
const BYTES_FIELDS: &[u8] = &[0x02, 0x00, 0x00, END, NULL];
/// The handle of `[B`, after the map's class and the map itself.
const BYTES_HANDLE: u32 = 0x007e_0002;

/// More entries than any worker has connectors and tasks.
const MAX_ENTRIES: u32 = 100_000;

/// A key and its value; a value that was removed is `None`.
pub(super) type JavaEntry<'a> = (&'a [u8], Option<&'a [u8]>);

/// The map's entries, in the order of the file; an error says what was found and where.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<JavaEntry<'_>>, String> {
    let mut reader = JavaReader { rest: bytes, length: bytes.len(), knows_bytes: false };
    reader.expect(&MAGIC, "a Java object stream")?;
    reader.expect(&[OBJECT, CLASS], "an object")?;
    reader.expect_name(MAP_NAME)?;
    reader.expect(&MAP_VERSION, "the version of HashMap")?;
    reader.expect(MAP_FIELDS, "the fields of HashMap")?;
    reader.take(8)?;
    reader.expect(&[BLOCK, 8], "the size of the map")?;
    reader.take(4)?;
    let entries = reader.u32()?;
    if entries > MAX_ENTRIES {
        return Err(format!("{entries} entries are more than {MAX_ENTRIES}"));
    }
    let mut found = Vec::new();
    for _ in 0..entries {
        let key = reader.array()?.ok_or("an entry has no key")?;
        found.push((key, reader.array()?));
    }
    reader.expect(&[END], "the end of the map")?;
    if !reader.rest.is_empty() {
        return Err(format!("{} bytes follow the map", reader.rest.len()));
    }
    Ok(found)
}

struct JavaReader<'a> {
    rest: &'a [u8],
    /// The length of the whole file.
    length: usize,
    /// Whether the class `[B` was already described.
    knows_bytes: bool,
}

impl<'a> JavaReader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let split = self.rest.split_at_checked(length);
        let (taken, rest) =
            split.ok_or_else(|| format!("it is cut short at byte {}", self.length))?;
        self.rest = rest;
        Ok(taken)
    }

    /// How many bytes were taken.
    fn at(&self) -> usize {
        self.length.saturating_sub(self.rest.len())
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(self.take(4)?.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    fn expect(&mut self, expected: &[u8], what: &str) -> Result<(), String> {
        let at = self.at();
        if self.take(expected.len())? == expected {
            return Ok(());
        }
        Err(format!("{what} is not at byte {at}"))
    }

    /// A name with its length in two bytes.
    fn expect_name(&mut self, name: &[u8]) -> Result<(), String> {
        let what = String::from_utf8_lossy(name);
        self.expect(&[0, name.len() as u8], &what)?;
        self.expect(name, &what)
    }

    /// A byte array, or null.
    fn array(&mut self) -> Result<Option<&'a [u8]>, String> {
        let at = self.at();
        match self.take(1)? {
            [NULL] => return Ok(None),
            [ARRAY] => self.bytes_class()?,
            other => return Err(format!("no byte array, but {other:02x?}, is at byte {at}")),
        }
        let length = self.u32()?;
        self.take(length as usize).map(Some)
    }

    fn bytes_class(&mut self) -> Result<(), String> {
        if self.knows_bytes {
            self.expect(&[REFERENCE], "the class of a byte array")?;
            return self.expect(&BYTES_HANDLE.to_be_bytes(), "the class of a byte array");
        }
        self.expect(&[CLASS], "the class of a byte array")?;
        self.expect_name(BYTES_NAME)?;
        self.expect(&BYTES_VERSION, "the version of byte[]")?;
        self.knows_bytes = true;
        self.expect(BYTES_FIELDS, "the class of a byte array")
    }
}
