//! A table of the target, as its server describes it.

use std::fmt::Write as _;

use super::{client::PgConnection, refusal::Refused};

/// How the texts of a column's values look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Bool,
    Bytes,
    /// Bits, with the length that each value must have; 0 where it may vary.
    Bits(usize),
    Array,
    Json,
    Date,
    Timestamp,
    Other,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PgTable {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) columns: Vec<PgColumn>,
    /// The columns of each unique index that can find a row.
    pub(super) unique: Vec<Vec<String>>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PgColumn {
    pub(super) name: String,
    /// The type without its length or precision: a cast to it must not cut a value.
    pub(super) declared: String,
    pub(super) form: Form,
    /// A row must have a value for it.
    pub(super) is_required: bool,
    /// The server computes it.
    pub(super) is_generated: bool,
    /// It can be inserted, and not changed: `GENERATED ALWAYS AS IDENTITY`.
    pub(super) is_identity: bool,
}

impl PgTable {
    /// The place of a column.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The table's name with its schema, in quotes.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// Whether rows can be found by these columns.
    pub(super) fn is_unique_by(&self, columns: &[String]) -> bool {
        let same = |index: &&Vec<String>| {
            index.len() == columns.len() && columns.iter().all(|name| index.contains(name))
        };
        self.unique.iter().any(|index| same(&index))
    }

    /// Asks the server.
    ///
    /// # Errors
    ///
    /// Why it did not answer. `None`: there is no such table.
    pub(super) async fn describe(
        connection: &PgConnection,
        schema: &str,
        name: &str,
    ) -> Result<Option<Self>, Refused> {
        let client = &connection.client;
        let columns = client.query(COLUMNS, &[&schema, &name]).await?;
        if columns.is_empty() {
            return Ok(None);
        }
        let unique = client.query(UNIQUE, &[&schema, &name]).await?;
        let column = |row: &tokio_postgres::Row| {
            let (category, of, length): (String, String, i32) =
                (row.get(2), row.get(3), row.get(4));
            PgColumn {
                name: row.get(0),
                declared: row.get(1),
                form: form_of(&category, &of, usize::try_from(length).unwrap_or(0)),
                is_required: row.get(5),
                is_generated: row.get(6),
                is_identity: row.get(7),
            }
        };
        Ok(Some(Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
            columns: columns.iter().map(column).collect(),
            unique: unique.iter().map(|row| row.get(0)).collect(),
        }))
    }
}

const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, -1), t.typcategory::text, \
    format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, -1), a.atttypmod, \
    a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', a.attgenerated <> '', \
    a.attidentity = 'a' \
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid \
    WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'f', 'v') \
    AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

const UNIQUE: &str = "SELECT array(SELECT a.attname::text FROM pg_attribute a \
    WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])) \
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2 \
    AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL \
    AND i.indexprs IS NULL";

/// `category` is that of `pg_type`, `of` the type under a domain.
fn form_of(category: &str, of: &str, length: usize) -> Form {
    match (category, of) {
        ("A", _) => Form::Array,
        ("B", _) => Form::Bool,
        (_, "bytea") => Form::Bytes,
        (_, "json" | "jsonb") => Form::Json,
        (_, "date") => Form::Date,
        (_, of) if of.starts_with("timestamp") => Form::Timestamp,
        (_, "\"bit\"" | "bit") => Form::Bits(length),
        ("V", _) => Form::Bits(0),
        _ => Form::Other,
    }
}

/// A name in quotes.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in quotes.
pub(super) fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Names in quotes, with commas between them.
pub(super) fn quoted_list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut list = String::new();
    for name in names {
        // Writing to a string does not fail.
        let _ = write!(list, "{}{}", if list.is_empty() { "" } else { ", " }, quoted(name));
    }
    list
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A column without any peculiarity.
    pub(in super::super) fn column(name: &str, declared: &str) -> PgColumn {
        PgColumn {
            name: name.to_owned(),
            declared: declared.to_owned(),
            form: form_of("", declared, 0),
            is_required: false,
            is_generated: false,
            is_identity: false,
        }
    }

    #[test]
    fn rows_are_found_by_a_unique_index_with_just_these_columns() {
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let table = PgTable { unique: vec![of(&["a", "b"])], ..PgTable::default() };
        assert!(table.is_unique_by(&of(&["b", "a"])));
        assert!(!table.is_unique_by(&of(&["a"])) && !table.is_unique_by(&of(&["a", "c"])));
    }

    #[test]
    fn names_and_texts_cannot_end_their_quotes() {
        assert_eq!(quoted("a\"; DROP"), "\"a\"\"; DROP\"");
        assert_eq!(quoted_text("it's"), "'it''s'");
    }
}
