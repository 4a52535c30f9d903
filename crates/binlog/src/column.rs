//! A column of a table map: its type, and how long its values are. (Sources: "Table_map_event" in
//! the MySQL source documentation, and `sql/field.cc` of the server.)

use super::{
    charset::{BINARY_COLLATION, Charset},
    error::{Fault, corrupt},
    reader::FieldReader,
};

/// The raw type bytes of a table map (`enum_field_types`).
pub(super) mod raw {
    pub(crate) const TINY: u8 = 1;
    pub(crate) const SHORT: u8 = 2;
    pub(crate) const LONG: u8 = 3;
    pub(crate) const FLOAT: u8 = 4;
    pub(crate) const DOUBLE: u8 = 5;
    pub(crate) const OLD_TIMESTAMP: u8 = 7;
    pub(crate) const LONGLONG: u8 = 8;
    pub(crate) const INT24: u8 = 9;
    pub(crate) const DATE: u8 = 10;
    pub(crate) const OLD_TIME: u8 = 11;
    pub(crate) const OLD_DATETIME: u8 = 12;
    pub(crate) const YEAR: u8 = 13;
    pub(crate) const NEWDATE: u8 = 14;
    pub(crate) const VARCHAR: u8 = 15;
    pub(crate) const BIT: u8 = 16;
    pub(crate) const TIMESTAMP: u8 = 17;
    pub(crate) const DATETIME: u8 = 18;
    pub(crate) const TIME: u8 = 19;
    pub(crate) const BLOB_COMPRESSED: u8 = 140;
    pub(crate) const VARCHAR_COMPRESSED: u8 = 141;
    pub(crate) const VECTOR: u8 = 242;
    pub(crate) const JSON: u8 = 245;
    pub(crate) const NEWDECIMAL: u8 = 246;
    pub(crate) const ENUM: u8 = 247;
    pub(crate) const SET: u8 = 248;
    pub(crate) const TINY_BLOB: u8 = 249;
    pub(crate) const BLOB: u8 = 252;
    pub(crate) const VAR_STRING: u8 = 253;
    pub(crate) const STRING: u8 = 254;
    pub(crate) const GEOMETRY: u8 = 255;
}

/// A column of a captured table.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Whether MariaDB computes its values from other columns. The server may leave the column out
    /// of the changes that it logs.
    pub is_generated: bool,
    /// `"name":`, escaped: the text before a value in an object.
    pub json_key: Box<[u8]>,
}

/// The type of a column, with all that the bytes of its values depend on.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    missing_docs,
    reason = "the variants are MySQL's types, the fields what they are declared with"
)]
pub enum Kind {
    Int,
    UnsignedInt,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Year,
    Date,
    Time {
        fraction: u8,
    },
    DateTime {
        fraction: u8,
    },
    Timestamp {
        fraction: u8,
    },
    /// This and the next two have the format before MySQL 5.6.4, which had no fractions.
    OldTime,
    OldDateTime,
    OldTimestamp,
    Bit,
    Text(Charset),
    /// BINARY(n): the server cuts zero bytes at the end, which belong to the value.
    FixedBinary {
        length: u16,
    },
    /// VARBINARY and BLOB.
    Binary,
    /// The members as JSON strings, in the order of their numbers.
    Enum(Members),
    /// The members as JSON strings, in the order of their bits.
    Set(Members),
    Json,
    /// GEOMETRY, POINT and the other spatial types.
    Geometry,
    /// VECTOR. In MariaDB's binlog it looks like VARBINARY.
    Vector,
    /// COMPRESSED (MariaDB): text or bytes; each value may be compressed or not.
    Compressed(Box<Kind>),
    /// MariaDB's types that look like BINARY in the binlog.
    Uuid,
    Inet4,
    Inet6,
}

/// The members of an ENUM or SET, each a JSON string with its quotes.
pub type Members = Box<[Box<[u8]>]>;

/// How to find the end of a value: enough to skip over a row of any table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// A fixed number of bytes.
    Fixed(u32),
    /// A length in this many bytes, little-endian, then the value.
    Prefixed(u8),
}

/// The type of a column as the table map has it: the raw type and its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawType {
    pub(super) kind: u8,
    /// The two metadata bytes as they were logged; metadata of one byte is in the first.
    pub(super) meta: [u8; 2],
}

impl RawType {
    /// Reads the metadata of one column ("Table_map_event" in the MySQL source documentation).
    pub(super) fn read(kind: u8, metadata: &mut FieldReader<'_>) -> Result<Self, Fault> {
        let meta = match kind {
            raw::FLOAT | raw::DOUBLE | raw::JSON | raw::VECTOR | raw::GEOMETRY => {
                [metadata.u8()?, 0]
            }
            raw::TIMESTAMP..=raw::TIME | raw::TINY_BLOB..=raw::BLOB | raw::BLOB_COMPRESSED => {
                [metadata.u8()?, 0]
            }
            raw::VARCHAR_COMPRESSED => metadata.array()?,
            raw::VARCHAR | raw::BIT | raw::NEWDECIMAL | raw::ENUM | raw::SET => metadata.array()?,
            raw::VAR_STRING => metadata.array()?,
            raw::STRING => return Self::read_string(metadata.array()?),
            raw::TINY..=raw::DOUBLE | raw::OLD_TIMESTAMP..=raw::NEWDATE => [0, 0],
            _ => return Err(Fault::NotHandled(format!("a column of the binlog type {kind} is"))),
        };
        Ok(Self { kind, meta })
    }

    /// CHAR, BINARY, ENUM and SET share a type byte. The metadata has the real type, mixed with the
    /// two high bits of the length where a CHAR is longer than 255 bytes
    /// (`Field_string::do_save_field_metadata`).
    fn read_string([first, low]: [u8; 2]) -> Result<Self, Fault> {
        let kind = if first & 0x30 == 0x30 { first } else { first | 0x30 };
        match kind {
            raw::ENUM | raw::SET => Ok(Self { kind, meta: [low, 0] }),
            raw::STRING => {
                let high = (first & 0x30) ^ 0x30;
                Ok(Self { kind, meta: [low, high.wrapping_shr(4)] })
            }
            _ => Err(corrupt("a string column has a type that no string has")),
        }
    }

    /// The declared length in bytes of a CHAR, VARCHAR, BINARY or VARBINARY.
    fn max_length(self) -> u16 {
        u16::from_le_bytes(self.meta)
    }

    pub(super) fn layout(self) -> Result<Layout, Fault> {
        let [first, second] = self.meta;
        Ok(match self.kind {
            raw::TINY | raw::YEAR => Layout::Fixed(1),
            raw::SHORT => Layout::Fixed(2),
            raw::INT24 | raw::DATE | raw::NEWDATE | raw::OLD_TIME => Layout::Fixed(3),
            raw::LONG | raw::FLOAT | raw::OLD_TIMESTAMP => Layout::Fixed(4),
            raw::LONGLONG | raw::DOUBLE | raw::OLD_DATETIME => Layout::Fixed(8),
            raw::TIME => Layout::Fixed(3_u32.wrapping_add(fraction_bytes(first)?)),
            raw::TIMESTAMP => Layout::Fixed(4_u32.wrapping_add(fraction_bytes(first)?)),
            raw::DATETIME => Layout::Fixed(5_u32.wrapping_add(fraction_bytes(first)?)),
            raw::NEWDECIMAL => Layout::Fixed(decimal_bytes(first, second)?),
            raw::BIT if first <= 7 && second <= 8 => {
                Layout::Fixed(u32::from(second).wrapping_add(u32::from(first > 0)))
            }
            raw::ENUM if matches!(first, 1 | 2) => Layout::Fixed(u32::from(first)),
            raw::SET if matches!(first, 1..=8) => Layout::Fixed(u32::from(first)),
            raw::VARCHAR | raw::VARCHAR_COMPRESSED | raw::VAR_STRING | raw::STRING => {
                Layout::Prefixed(if self.max_length() > 255 { 2 } else { 1 })
            }
            raw::TINY_BLOB..=raw::BLOB
            | raw::BLOB_COMPRESSED
            | raw::JSON
            | raw::GEOMETRY
            | raw::VECTOR
                if matches!(first, 1..=4) =>
            {
                Layout::Prefixed(first)
            }
            _ => return Err(corrupt("a column's metadata does not fit its type")),
        })
    }

    /// Whether the optional metadata says if it is signed (`is_numeric_type` in the server's
    /// source).
    pub(super) fn is_numeric(self) -> bool {
        matches!(
            self.kind,
            raw::TINY..=raw::DOUBLE | raw::LONGLONG | raw::INT24 | raw::YEAR | raw::NEWDECIMAL
        )
    }

    /// Whether the optional metadata gives its collation (`is_character_type`).
    pub(super) fn is_character(self) -> bool {
        matches!(
            self.kind,
            raw::VARCHAR | raw::VARCHAR_COMPRESSED | raw::VAR_STRING | raw::STRING | raw::TINY_BLOB
                ..=raw::BLOB | raw::BLOB_COMPRESSED
        )
    }

    pub(super) fn is_enum_or_set(self) -> bool {
        matches!(self.kind, raw::ENUM | raw::SET)
    }

    /// The kind of a column that is neither a string nor an ENUM or SET.
    pub(super) fn plain_kind(self, is_unsigned: bool) -> Result<Kind, Fault> {
        let [first, second] = self.meta;
        Ok(match self.kind {
            raw::TINY | raw::SHORT | raw::INT24 | raw::LONG | raw::LONGLONG => {
                if is_unsigned {
                    Kind::UnsignedInt
                } else {
                    Kind::Int
                }
            }
            raw::FLOAT => Kind::Float,
            raw::DOUBLE => Kind::Double,
            raw::NEWDECIMAL => Kind::Decimal { precision: first, scale: second },
            raw::YEAR => Kind::Year,
            raw::DATE | raw::NEWDATE => Kind::Date,
            raw::TIME => Kind::Time { fraction: first },
            raw::DATETIME => Kind::DateTime { fraction: first },
            raw::TIMESTAMP => Kind::Timestamp { fraction: first },
            raw::BIT => Kind::Bit,
            raw::JSON => Kind::Json,
            raw::GEOMETRY => Kind::Geometry,
            raw::VECTOR => Kind::Vector,
            raw::OLD_TIME => Kind::OldTime,
            raw::OLD_DATETIME => Kind::OldDateTime,
            raw::OLD_TIMESTAMP => Kind::OldTimestamp,
            _ => return Err(corrupt("a column has an unknown type")),
        })
    }

    /// The kind of a string column with this collation.
    pub(super) fn string_kind(self, collation: u16) -> Result<Kind, Fault> {
        if matches!(self.kind, raw::BLOB_COMPRESSED | raw::VARCHAR_COMPRESSED) {
            let plain = Self { kind: raw::VARCHAR, ..self }.string_kind(collation)?;
            return Ok(Kind::Compressed(Box::new(plain)));
        }
        if collation == BINARY_COLLATION {
            return Ok(match self.kind {
                raw::STRING => Kind::FixedBinary { length: self.max_length() },
                _ => Kind::Binary,
            });
        }
        charset(collation).map(Kind::Text)
    }
}

/// The character set of a collation.
pub(super) fn charset(collation: u16) -> Result<Charset, Fault> {
    Charset::of_collation(collation).ok_or_else(|| {
        let what = format!(
            "its collation {collation} (SELECT COLLATION_NAME FROM \
             information_schema.COLLATIONS WHERE ID = {collation}) is"
        );
        Fault::NotHandled(what)
    })
}

/// The number of bytes that the fraction of a TIME, DATETIME or TIMESTAMP takes.
fn fraction_bytes(digits: u8) -> Result<u32, Fault> {
    match digits {
        0..=6 => Ok(u32::from(digits.div_ceil(2))),
        _ => Err(corrupt("a time has more than six digits of fraction")),
    }
}

/// How many bytes 0 to 8 decimal digits take; the index is the number of digits.
pub(super) const DIGITS_BYTES: [u8; 9] = [0, 1, 1, 2, 2, 3, 3, 4, 4];

fn decimal_bytes(precision: u8, scale: u8) -> Result<u32, Fault> {
    let whole = precision.checked_sub(scale).filter(|_| matches!(precision, 1..=65));
    let whole = whole.ok_or_else(|| corrupt("a decimal has an impossible precision"))?;
    Ok(part_bytes(whole).wrapping_add(part_bytes(scale)))
}

/// The number of bytes for one side of the point: four for every nine digits, and `DIGITS_BYTES`
/// for the digits that are left.
fn part_bytes(digits: u8) -> u32 {
    let left_over = DIGITS_BYTES.get(usize::from(digits % 9)).copied().unwrap_or_default();
    u32::from(digits / 9).wrapping_mul(4).wrapping_add(u32::from(left_over))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(kind: u8, metadata: &[u8]) -> Layout {
        RawType::read(kind, &mut FieldReader::new(metadata)).unwrap().layout().unwrap()
    }

    #[test]
    fn every_type_has_the_length_that_its_metadata_says() {
        assert_eq!(layout(raw::NEWDECIMAL, &[65, 30]), Layout::Fixed(30));
        assert_eq!(layout(raw::NEWDECIMAL, &[12, 2]), Layout::Fixed(6));
        assert_eq!(layout(raw::NEWDECIMAL, &[1, 1]), Layout::Fixed(1));
        assert_eq!(layout(raw::DATETIME, &[3]), Layout::Fixed(7));
        assert_eq!(layout(raw::BIT, &[1, 0]), Layout::Fixed(1));
        assert_eq!(layout(raw::BIT, &[0, 8]), Layout::Fixed(8));
        assert_eq!(layout(raw::STRING, &[raw::ENUM, 2]), Layout::Fixed(2));
        assert_eq!(layout(raw::STRING, &[raw::STRING, 255]), Layout::Prefixed(1));
        // CHAR(255) in utf8mb4 is 1020 bytes: bits 8 and 9 of that are in the type, inverted.
        assert_eq!(layout(raw::STRING, &[0xce, 0xfc]), Layout::Prefixed(2));
        assert_eq!(layout(raw::VARCHAR, &[0, 1]), Layout::Prefixed(2));
    }
}
