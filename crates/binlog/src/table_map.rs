//! The TABLE_MAP event: which table the following rows are of, and its columns ("Table_map_event"
//! in the MySQL source documentation).

use super::{
    column::RawType,
    error::{Fault, corrupt},
    reader::FieldReader,
};

/// A table map, read as far as every table needs: enough to skip over its rows.
#[derive(Debug)]
pub(super) struct TableMap<'a> {
    pub(super) schema: &'a str,
    pub(super) table: &'a str,
    pub(super) types: Vec<RawType>,
    nullable: &'a [u8],
    optional: &'a [u8],
}

/// Which product wrote the table maps: some things are counted differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Dialect {
    #[default]
    Mysql,
    Mariadb,
}

/// The number by which rows name their table, at the beginning of the event's body.
pub(super) fn table_id(body: &[u8]) -> Result<u64, Fault> {
    FieldReader::new(body).u48()
}

impl<'a> TableMap<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = FieldReader::new(body);
        reader.u48()?;
        reader.u16()?;
        let schema = read_name(&mut reader)?;
        let table = read_name(&mut reader)?;
        let count = reader.length()?;
        let kinds = reader.take(count)?;
        let mut metadata = FieldReader::new(reader.string()?);
        let types = kinds.iter().map(|&kind| RawType::read(kind, &mut metadata));
        let types = types.collect::<Result<_, _>>().map_err(|fault| at(schema, table, fault))?;
        if !metadata.is_empty() {
            return Err(corrupt("the table map has more column metadata than columns"));
        }
        let nullable = reader.take(count.div_ceil(8))?;
        Ok(Self { schema, table, types, nullable, optional: reader.rest() })
    }

    pub(super) fn is_nullable(&self, column: usize) -> bool {
        bit(self.nullable, column)
    }

    pub(super) fn optional(&self) -> Result<OptionalMetadata<'a>, Fault> {
        OptionalMetadata::read(self.optional)
    }
}

/// Adds the table's name to a fault about a column type whose length is unknown.
fn at(schema: &str, table: &str, fault: Fault) -> Fault {
    match fault {
        Fault::NotHandled(what) => Fault::NotHandled(format!("table {schema}.{table}: {what}")),
        other => other,
    }
}

/// Bit `n` of a bitmap; the lowest bit is the first.
pub(super) fn bit(bitmap: &[u8], n: usize) -> bool {
    bitmap.get(n / 8).is_some_and(|byte| byte & 1_u8.wrapping_shl((n % 8) as u32) != 0)
}

/// A name after one byte of length, and a zero after the name.
fn read_name<'a>(reader: &mut FieldReader<'a>) -> Result<&'a str, Fault> {
    let length = reader.u8()?;
    let name = reader.take(usize::from(length))?;
    if reader.u8()? != 0 {
        return Err(corrupt("a name does not end in a zero byte"));
    }
    utf8_name(name)
}

fn utf8_name(name: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(name).map_err(|_| corrupt("a name is not UTF-8"))
}

/// What `binlog_row_metadata` adds, in the order and form of the event.
#[derive(Debug, Default)]
pub(super) struct OptionalMetadata<'a> {
    /// A bit per numeric column, the highest bit first: set for unsigned.
    pub(super) unsigned: &'a [u8],
    /// Collations of the string columns.
    pub(super) collations: Collations,
    /// Collations of the ENUM and SET columns.
    pub(super) member_collations: Collations,
    /// Per column; empty with MINIMAL metadata.
    pub(super) names: Vec<&'a str>,
    /// Per ENUM column.
    pub(super) enums: Vec<Vec<&'a [u8]>>,
    /// Per SET column.
    pub(super) sets: Vec<Vec<&'a [u8]>>,
    /// Column numbers in key order.
    pub(super) primary_key: Vec<usize>,
}

/// Collation ids: either one for most columns, with exceptions, or one for each.
#[derive(Debug, Default)]
pub(super) struct Collations {
    default: Option<u16>,
    by_column: Vec<(usize, u16)>,
}

/// Field numbers of the optional metadata (`Optional_metadata_field_type` in the server's source).
mod field {
    pub(super) const SIGNEDNESS: u8 = 1;
    pub(super) const DEFAULT_CHARSET: u8 = 2;
    pub(super) const COLUMN_CHARSET: u8 = 3;
    pub(super) const COLUMN_NAME: u8 = 4;
    pub(super) const SET_STR_VALUE: u8 = 5;
    pub(super) const ENUM_STR_VALUE: u8 = 6;
    pub(super) const SIMPLE_PRIMARY_KEY: u8 = 8;
    pub(super) const PRIMARY_KEY_WITH_PREFIX: u8 = 9;
    pub(super) const ENUM_AND_SET_DEFAULT_CHARSET: u8 = 10;
    pub(super) const ENUM_AND_SET_COLUMN_CHARSET: u8 = 11;
}

impl<'a> OptionalMetadata<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut found = Self::default();
        let mut reader = FieldReader::new(bytes);
        while !reader.is_empty() {
            let kind = reader.u8()?;
            let value = reader.string()?;
            found.read_field(kind, value)?;
        }
        Ok(found)
    }

    fn read_field(&mut self, kind: u8, value: &'a [u8]) -> Result<(), Fault> {
        let value = FieldReader::new(value);
        match kind {
            field::SIGNEDNESS => self.unsigned = value.rest(),
            field::DEFAULT_CHARSET => self.collations = Collations::with_default(value)?,
            field::COLUMN_CHARSET => self.collations = Collations::for_each(value)?,
            field::ENUM_AND_SET_DEFAULT_CHARSET => {
                self.member_collations = Collations::with_default(value)?;
            }
            field::ENUM_AND_SET_COLUMN_CHARSET => {
                self.member_collations = Collations::for_each(value)?;
            }
            field::COLUMN_NAME => self.names = read_all(value, |it| utf8_name(it.string()?))?,
            field::SET_STR_VALUE => self.sets = read_all(value, read_members)?,
            field::ENUM_STR_VALUE => self.enums = read_all(value, read_members)?,
            field::SIMPLE_PRIMARY_KEY => self.primary_key = read_all(value, FieldReader::length)?,
            field::PRIMARY_KEY_WITH_PREFIX => {
                self.primary_key = read_all(value, |it| {
                    let column = it.length()?;
                    it.length()?;
                    Ok(column)
                })?;
            }
            // Later servers may add fields; all fields that we need are above.
            _ => {}
        }
        Ok(())
    }
}

impl Collations {
    /// The collation of the n-th column of its group.
    pub(super) fn get(&self, n: usize) -> Option<u16> {
        let own = self.by_column.binary_search_by_key(&n, |&(column, _)| column).ok();
        own.and_then(|at| self.by_column.get(at)).map(|&(_, id)| id).or(self.default)
    }

    fn with_default(mut value: FieldReader<'_>) -> Result<Self, Fault> {
        let default = Some(read_collation(&mut value)?);
        let mut by_column = read_all(value, |it| Ok((it.length()?, read_collation(it)?)))?;
        by_column.sort_unstable();
        Ok(Self { default, by_column })
    }

    fn for_each(value: FieldReader<'_>) -> Result<Self, Fault> {
        let ids = read_all(value, read_collation)?;
        Ok(Self { default: None, by_column: ids.into_iter().enumerate().collect() })
    }
}

fn read_collation(value: &mut FieldReader<'_>) -> Result<u16, Fault> {
    u16::try_from(value.length()?).map_err(|_| corrupt("a collation id is over 65535"))
}

fn read_members<'a>(value: &mut FieldReader<'a>) -> Result<Vec<&'a [u8]>, Fault> {
    let count = value.length()?;
    (0..count).map(|_| value.string()).collect()
}

/// Reads items until the field ends. Each item takes at least a byte, so there are no more items
/// than bytes.
fn read_all<'a, T>(
    mut value: FieldReader<'a>,
    mut read: impl FnMut(&mut FieldReader<'a>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut items = Vec::new();
    while !value.is_empty() {
        items.push(read(&mut value)?);
    }
    Ok(items)
}
