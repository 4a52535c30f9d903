//! The statements that make what the target lacks, from the definition of the source's table.

use full_sync::{Table, TableColumn};

use super::{
    PgRows,
    table::{PgTable, There, quoted, quoted_list, quoted_text},
};
use crate::{
    shape::{AddedKind, Shape},
    sql::DELETED_TABLE,
    value::Kind,
};

/// The columns of an audit log beside those of the source, and how they are declared.
pub(super) const AUDIT_COLUMNS: [(&str, &str); 4] = [
    ("ev_id", "text"),
    ("ev_action", "text"),
    ("ev_time", "timestamp with time zone"),
    ("ev_seq", "bigint"),
];

/// What a table of the target should have.
#[derive(Clone, Copy)]
pub(super) struct PgWish<'a> {
    pub(super) rows: &'a PgRows,
    pub(super) shape: &'a Shape,
    /// Who makes it.
    pub(super) user: &'a str,
    /// The source's table, if its columns are known.
    pub(super) source: Option<&'a Table>,
    pub(super) schema: &'a str,
    pub(super) name: &'a str,
    /// The columns of the key at the target; empty where each change is a row of its own.
    pub(super) key: &'a [String],
}

impl PgWish<'_> {
    /// The statements that make what is lacking; none where nothing is, or nobody knows how.
    pub(super) fn lacking(&self, there: There<'_>) -> Vec<String> {
        let knows_columns = self.source.is_some_and(|source| source.columns.is_some());
        match there {
            There::Table(table) => self.alter(table).into_iter().collect(),
            There::Schema if knows_columns => vec![self.create()],
            There::Nothing if knows_columns => {
                vec![create_schema(self.schema, self.user), self.create()]
            }
            There::Schema | There::Nothing => Vec::new(),
        }
    }

    /// The columns that come from the source, with their types at the target.
    fn columns(&self) -> impl Iterator<Item = (String, String)> {
        let columns = self.source.into_iter().flat_map(|source| source.columns.iter().flatten());
        let taken = columns.filter(|column| self.shape.takes(&column.name));
        taken.map(|column| (self.shape.name_of(&column.name).into_owned(), type_of(column)))
    }

    /// All columns that are wanted.
    fn wanted(&self) -> Vec<(String, String)> {
        let mut wanted: Vec<(String, String)> = Vec::new();
        if self.key.is_empty() {
            let owned = |(name, declared): (&str, &str)| (name.to_owned(), declared.to_owned());
            wanted.extend(AUDIT_COLUMNS.map(owned));
        }
        wanted.extend(self.columns());
        let added =
            |(name, kind): (&str, AddedKind)| (name.to_owned(), type_of_added(kind).to_owned());
        wanted.extend(self.shape.added().map(added));
        if let Some(version) = self.version() {
            wanted.push((version.to_owned(), "bigint".to_owned()));
        }
        wanted
    }

    fn version(&self) -> Option<&str> {
        self.rows.version_column.as_deref().filter(|_| !self.key.is_empty())
    }

    /// Columns may be NULL, but for those of the key: an event may lack a column.
    fn create(&self) -> String {
        let mut parts: Vec<String> = self
            .wanted()
            .iter()
            .map(|(name, declared)| format!("{} {declared}", quoted(name)))
            .collect();
        let key = match self.key {
            [] => quoted(AUDIT_COLUMNS[0].0),
            key => quoted_list(key.iter().map(String::as_str)),
        };
        parts.push(format!("PRIMARY KEY ({key})"));
        format!("CREATE TABLE IF NOT EXISTS {} ({})", self.quoted(), parts.join(", "))
    }

    fn alter(&self, table: &PgTable) -> Option<String> {
        let parts: Vec<String> = self
            .wanted()
            .iter()
            .filter(|(name, _)| table.column(name).is_none())
            .map(|(name, declared)| format!("ADD COLUMN IF NOT EXISTS {} {declared}", quoted(name)))
            .collect();
        (!parts.is_empty()).then(|| format!("ALTER TABLE {} {}", self.quoted(), parts.join(", ")))
    }

    fn quoted(&self) -> String {
        format!("{}.{}", quoted(self.schema), quoted(self.name))
    }
}

/// The statement that makes a schema for a user. PostgreSQL asks for the right to make schemas
/// before it looks whether the schema is there.
pub(super) fn create_schema(schema: &str, user: &str) -> String {
    format!("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}", quoted(schema), quoted(user))
}

/// The statement that makes the sink's own table in a schema.
pub(super) fn create_deleted(schema: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {}.{DELETED_TABLE} (table_name text NOT NULL, row_key text \
         NOT NULL, seq bigint NOT NULL, deleted_at timestamp with time zone NOT NULL DEFAULT \
         now(), PRIMARY KEY (table_name, row_key))",
        quoted(schema)
    )
}

/// The statement that lets rows be found by their key.
pub(super) fn create_unique(table: &PgTable, key: &[String]) -> String {
    format!(
        "CREATE UNIQUE INDEX ON {} ({})",
        table.quoted(),
        quoted_list(key.iter().map(String::as_str))
    )
}

/// The statement that forgets the deletes of a schema that are older than the sink keeps them.
pub(super) fn forget_deleted(schema: &str, kept: std::time::Duration) -> String {
    let seconds = quoted_text(&format!("{} seconds", kept.as_secs()));
    format!(
        "DELETE FROM {}.{DELETED_TABLE} WHERE deleted_at < now() - {seconds}::interval",
        quoted(schema)
    )
}

fn type_of_added(kind: AddedKind) -> &'static str {
    match kind {
        AddedKind::Flag => "boolean",
        AddedKind::Integer => "bigint",
        AddedKind::Number => "double precision",
        AddedKind::Text => "text",
    }
}

/// The nearest type of PostgreSQL. Numbers and times have no fixed scale, so that a column that
/// grows at the source is not rounded here.
pub(super) fn type_of(column: &TableColumn) -> String {
    let declared = column.declared.to_ascii_lowercase();
    let word = declared.split([' ', '(']).next().unwrap_or_default();
    let is_unsigned = declared.contains("unsigned") || declared.contains("zerofill");
    let fixed = match Kind::of(&declared) {
        Kind::Integer => integer(word, is_unsigned),
        Kind::Bit => return format!("bit{}", length_of(&declared).unwrap_or("(1)")),
        Kind::Single => "real",
        Kind::Float => "double precision",
        Kind::Decimal => "numeric",
        Kind::Date => "date",
        // A TIME may be negative, and longer than a day.
        Kind::Time => "interval",
        Kind::DateTime => "timestamp without time zone",
        Kind::Timestamp => "timestamp with time zone",
        Kind::Year => "smallint",
        Kind::Binary => "bytea",
        Kind::Set => "text[]",
        Kind::Json | Kind::Geometry => "jsonb",
        Kind::Vector => "real[]",
        Kind::Text if word == "uuid" => "uuid",
        Kind::Text if matches!(word, "inet4" | "inet6") => "inet",
        Kind::Text | Kind::Enum => "text",
    };
    fixed.to_owned()
}

fn integer(word: &str, is_unsigned: bool) -> &'static str {
    match (word, is_unsigned) {
        ("tinyint" | "bool" | "boolean", _) | ("smallint", false) => "smallint",
        ("smallint", true) | ("mediumint", _) | ("int" | "integer", false) => "integer",
        ("int" | "integer", true) | (_, false) => "bigint",
        (_, true) => "numeric(20)",
    }
}

/// `(5)` of `bit(5)`.
fn length_of(declared: &str) -> Option<&str> {
    let start = declared.find('(')?;
    let end = declared.find(')')?;
    declared.get(start..=end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, declared: &str) -> TableColumn {
        TableColumn { name: name.into(), declared: declared.into(), ..TableColumn::default() }
    }

    fn lacking(rows: &PgRows, key: &[&str], there: There<'_>) -> Vec<String> {
        let source = Table {
            schema: "shop".into(),
            table: "item".into(),
            columns: Some(vec![column("id", "int unsigned"), column("na\"me", "varchar(9)")]),
            primary_key: vec!["id".into()],
        };
        let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
        let (source, shape, key) = (Some(&source), &Shape::default(), &*key);
        let user = "me";
        PgWish { rows, shape, user, source, schema: "s", name: "item", key }.lacking(there)
    }

    #[test]
    fn a_table_is_made_as_the_sources_is_defined() {
        let rows = PgRows { version_column: Some("_seq".into()), ..PgRows::default() };
        assert_eq!(
            lacking(&rows, &["id"], There::Nothing),
            [
                "CREATE SCHEMA IF NOT EXISTS \"s\" AUTHORIZATION \"me\"",
                "CREATE TABLE IF NOT EXISTS \"s\".\"item\" (\"id\" bigint, \"na\"\"me\" text, \
                 \"_seq\" bigint, PRIMARY KEY (\"id\"))",
            ]
        );
        let audit = lacking(&PgRows::default(), &[], There::Schema);
        assert!(audit[0].ends_with("PRIMARY KEY (\"ev_id\"))"), "{audit:?}");
        assert_eq!(audit.len(), 1, "the schema is there");
    }

    #[test]
    fn only_columns_that_are_lacking_are_added() {
        let has = |names: &[&str]| PgTable {
            columns: names
                .iter()
                .map(|name| super::super::table::tests::column(name, "text"))
                .collect(),
            ..PgTable::default()
        };
        let rows = PgRows::default();
        assert_eq!(
            lacking(&rows, &["id"], There::Table(&has(&["id"]))),
            ["ALTER TABLE \"s\".\"item\" ADD COLUMN IF NOT EXISTS \"na\"\"me\" text"]
        );
        assert!(lacking(&rows, &["id"], There::Table(&has(&["na\"me", "id"]))).is_empty());
    }

    #[test]
    fn each_type_has_its_nearest() {
        for (declared, nearest) in [
            ("tinyint(1)", "smallint"),
            ("smallint unsigned", "integer"),
            ("mediumint unsigned", "integer"),
            ("int(10) unsigned zerofill", "bigint"),
            ("bigint", "bigint"),
            ("bigint unsigned", "numeric(20)"),
            ("bit(5)", "bit(5)"),
            ("bit", "bit(1)"),
            ("float", "real"),
            ("decimal(10,2)", "numeric"),
            ("time(3)", "interval"),
            ("datetime(3)", "timestamp without time zone"),
            ("timestamp", "timestamp with time zone"),
            ("year", "smallint"),
            ("varbinary(9)", "bytea"),
            ("enum('a(','b')", "text"),
            ("set('a','b')", "text[]"),
            ("point", "jsonb"),
            ("vector(3)", "real[]"),
            ("inet6", "inet"),
        ] {
            assert_eq!(type_of(&column("c", declared)), nearest, "{declared}");
        }
    }
}
