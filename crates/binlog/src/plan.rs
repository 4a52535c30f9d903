//! The plan of a captured table: all that is needed to write its rows, made once per table map
//! ("Table_map_event" in the MySQL source documentation has the order of the optional metadata).

use change_event::json;

use super::{
    charset::BINARY_COLLATION,
    column::{Column, Kind, Members, RawType, charset, raw},
    error::{Fault, Setting, corrupt},
    table_map::{Dialect, OptionalMetadata, TableMap},
};

/// A captured table as one table map describes it. When the definition of the table changes, a new
/// plan is made.
#[derive(Debug, PartialEq)]
pub struct TablePlan {
    /// Unique among the plans of a decoder, so that others can remember what they prepared for a
    /// plan.
    pub serial: u64,
    /// The schema's name.
    pub schema: String,
    /// The table's name.
    pub table: String,
    /// The columns, in the table's order. The last logged columns may be missing here: MariaDB's
    /// hidden ones.
    pub columns: Vec<Column>,
    /// The columns of the primary key, in its order; empty without one.
    pub primary_key: Vec<usize>,
}

/// A fault and the column that it is about.
pub(super) type ColumnFault = (Fault, Option<String>);

const NO_METADATA: Setting = Setting {
    problem: "the binlog does not name the columns of this table",
    variable: Some(("binlog_row_metadata", "FULL")),
    then: "and begin after the events that were logged before: `dts check` names the command",
};

impl TablePlan {
    pub(super) fn new(
        serial: u64,
        map: &TableMap<'_>,
        dialect: Dialect,
    ) -> Result<Self, ColumnFault> {
        let optional = map.optional().map_err(|fault| (fault, None))?;
        if optional.names.len() != map.types.len() {
            return Err((Fault::Setting(&NO_METADATA), None));
        }
        if optional.primary_key.iter().any(|&column| column >= map.types.len()) {
            return Err((corrupt("the primary key names a column that is not there"), None));
        }
        let mut kinds = Kinds::of(&optional, dialect);
        let mut columns = Vec::with_capacity(map.types.len());
        for (n, (raw, name)) in map.types.iter().zip(&optional.names).enumerate() {
            let kind = kinds.next(*raw).map_err(|fault| (fault, Some((*name).to_owned())))?;
            columns.push(Column::new(name, kind, map.is_nullable(n)));
        }
        let in_key = optional.primary_key.iter().max().map_or(0, |column| column.saturating_add(1));
        while dialect == Dialect::Mariadb
            && columns.len() > in_key
            && columns.last().is_some_and(Column::is_row_hash)
        {
            columns.pop();
        }
        Ok(Self {
            serial,
            schema: map.schema.to_owned(),
            table: map.table.to_owned(),
            columns,
            primary_key: optional.primary_key,
        })
    }
}

impl Column {
    fn new(name: &str, kind: Kind, nullable: bool) -> Self {
        let mut json_key = Vec::new();
        json::write_str(&mut json_key, name);
        json_key.push(b':');
        let (name, json_key) = (name.to_owned(), json_key.into());
        Self { name, kind, nullable, is_generated: false, json_key }
    }

    /// Whether it is a column that MariaDB adds after all others and that no SELECT shows: the hash
    /// of a text that is too long for a unique index.
    fn is_row_hash(&self) -> bool {
        self.name.starts_with("DB_ROW_HASH_") && self.kind == Kind::UnsignedInt
    }
}

/// Gives each column its kind, in order. Each field of the optional metadata counts only the
/// columns that it is about, so each field has its own counter.
struct Kinds<'a> {
    optional: &'a OptionalMetadata<'a>,
    dialect: Dialect,
    numerics: usize,
    strings: usize,
    with_members: usize,
    enums: std::slice::Iter<'a, Vec<&'a [u8]>>,
    sets: std::slice::Iter<'a, Vec<&'a [u8]>>,
}

impl<'a> Kinds<'a> {
    fn of(optional: &'a OptionalMetadata<'a>, dialect: Dialect) -> Self {
        let (enums, sets) = (optional.enums.iter(), optional.sets.iter());
        Self { optional, dialect, numerics: 0, strings: 0, with_members: 0, enums, sets }
    }

    fn next(&mut self, raw: RawType) -> Result<Kind, Fault> {
        if raw.is_numeric() {
            let unsigned = highest_bit_first(self.optional.unsigned, self.numerics);
            self.numerics = self.numerics.saturating_add(1);
            return raw.plain_kind(unsigned);
        }
        if raw.kind == raw::GEOMETRY && self.dialect == Dialect::Mariadb {
            // MariaDB gives a geometry a collation, and counts it (`Field_geom::binlog_type_info`).
            self.strings = self.strings.saturating_add(1);
        }
        if raw.kind == raw::VECTOR {
            // MySQL 9 gives a vector the collation of bytes, and counts it.
            self.strings = self.strings.saturating_add(1);
        }
        if raw.is_character() {
            let collation = self.optional.collations.get(self.strings);
            self.strings = self.strings.saturating_add(1);
            let collation = collation.ok_or_else(|| corrupt("a string has no collation"))?;
            return raw.string_kind(collation);
        }
        if raw.is_enum_or_set() { self.next_with_members(raw) } else { raw.plain_kind(false) }
    }

    fn next_with_members(&mut self, raw: RawType) -> Result<Kind, Fault> {
        let collation = self.optional.member_collations.get(self.with_members);
        self.with_members = self.with_members.saturating_add(1);
        let is_enum = raw.kind == raw::ENUM;
        let names = if is_enum { self.enums.next() } else { self.sets.next() };
        let names = names.ok_or_else(|| corrupt("an ENUM or SET has no members"))?;
        let members = write_members(names, collation)?;
        Ok(if is_enum { Kind::Enum(members) } else { Kind::Set(members) })
    }
}

fn write_members(names: &[&[u8]], collation: Option<u16>) -> Result<Members, Fault> {
    let collation = collation.ok_or_else(|| corrupt("an ENUM or SET has no collation"))?;
    let binary = collation == BINARY_COLLATION;
    let charset = if binary { super::charset::Charset::Utf8mb4 } else { charset(collation)? };
    let quoted = names.iter().map(|name| {
        let mut json = Vec::new();
        charset.write(&mut json, name);
        json.into_boxed_slice()
    });
    Ok(quoted.collect())
}

fn highest_bit_first(bitmap: &[u8], n: usize) -> bool {
    bitmap.get(n / 8).is_some_and(|byte| byte & 0x80_u8.wrapping_shr((n % 8) as u32) != 0)
}
