//! A table of the target, as its server describes it.

use std::fmt::Write as _;

use tokio_postgres::types::ToSql;

use super::{client::PgConnection, limit::Limit, refusal::Refused};

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
    /// The type as it is declared.
    pub(super) full: String,
    /// The type under a domain, without its length or precision.
    pub(super) base: String,
    pub(super) form: Form,
    /// What its values must be like.
    pub(super) limit: Limit,
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
        connection: &mut PgConnection,
        schema: &str,
        name: &str,
    ) -> Result<Option<Self>, Refused> {
        let (columns, unique) =
            (connection.prepare(COLUMNS).await?, connection.prepare(UNIQUE).await?);
        let client = &connection.client;
        let names: &[&(dyn ToSql + Sync)] = &[&schema, &name];
        let asked = (client.query(&columns, names), client.query(&unique, names));
        let (columns, unique) = tokio::try_join!(asked.0, asked.1)?;
        Ok((!columns.is_empty()).then(|| Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
            columns: columns.iter().map(PgColumn::of).collect(),
            unique: unique.iter().map(|row| row.get(0)).collect(),
        }))
    }

    /// What is defined differently in another look at the same table; empty where nothing is.
    pub(super) fn differences(&self, now: &Self) -> String {
        let mut found = Vec::new();
        for before in &self.columns {
            match now.columns.iter().find(|column| column.name == before.name) {
                None => found.push(format!("the column {} is gone", before.name)),
                Some(after) if after.full != before.full => found.push(format!(
                    "the column {} was {} and is {}",
                    before.name, before.full, after.full
                )),
                Some(after) if after != before => {
                    found.push(format!("the column {} is defined differently", before.name));
                }
                Some(_) => {}
            }
        }
        for after in now.columns.iter().filter(|after| self.column(&after.name).is_none()) {
            found.push(format!("the column {} is new", after.name));
        }
        if self.unique != now.unique {
            found.push("its unique indexes are others".to_owned());
        }
        if found.is_empty() && self != now {
            found.push("its columns have another order".to_owned());
        }
        found.join("; ")
    }
}

impl PgColumn {
    fn of(row: &tokio_postgres::Row) -> Self {
        let (category, limited): (String, String) = (row.get(3), row.get(5));
        let (base, limit): (String, _) = (row.get(4), Limit::of(&limited));
        let length = if let Limit::Bits(length) = limit { length } else { 0 };
        Self {
            name: row.get(0),
            declared: row.get(1),
            full: row.get(2),
            form: form_of(&category, &base, length),
            base,
            limit,
            is_required: row.get(6),
            is_generated: row.get(7),
            is_identity: row.get(8),
        }
    }
}

/// What the target has of a table.
#[derive(Clone, Copy, Debug)]
pub(super) enum There<'a> {
    Table(&'a PgTable),
    Schema,
    Nothing,
}

impl<'a> There<'a> {
    /// Looks for the schema where the table is not there.
    ///
    /// # Errors
    ///
    /// Why the server did not answer.
    pub(super) async fn of(
        connection: &PgConnection,
        schema: &str,
        table: Option<&'a PgTable>,
    ) -> Result<Self, Refused> {
        const SQL: &str = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
        if let Some(table) = table {
            return Ok(Self::Table(table));
        }
        let has_schema = connection.client.query_one(SQL, &[&schema]).await?.get(0);
        Ok(if has_schema { Self::Schema } else { Self::Nothing })
    }
}

const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, -1), \
    format_type(a.atttypid, a.atttypmod), t.typcategory::text, format_type(b.oid, -1), \
    format_type(b.oid, b.typmod), a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', \
    a.attgenerated <> '', a.attidentity = 'a' \
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid \
    CROSS JOIN LATERAL (WITH RECURSIVE under (oid, typmod, depth) AS ( \
    SELECT a.atttypid, a.atttypmod, 0 UNION ALL SELECT d.typbasetype, d.typtypmod, depth + 1 \
    FROM under JOIN pg_type d ON d.oid = under.oid AND d.typtype = 'd') \
    SELECT oid, typmod FROM under ORDER BY depth DESC LIMIT 1) b \
    WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'f', 'v') \
    AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

const UNIQUE: &str = "SELECT array(SELECT a.attname::text FROM pg_attribute a \
    WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])) \
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2 \
    AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL \
    AND i.indexprs IS NULL ORDER BY i.indexrelid";

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
            full: declared.to_owned(),
            base: declared.to_owned(),
            limit: Limit::of(declared),
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
    fn what_has_changed_since_the_last_look_is_said() {
        let of = |columns: &[(&str, &str)]| PgTable {
            columns: columns.iter().map(|(name, declared)| column(name, declared)).collect(),
            ..PgTable::default()
        };
        let before = of(&[("id", "integer"), ("n", "integer"), ("old", "text")]);
        let now = of(&[("id", "integer"), ("n", "bigint"), ("new", "text")]);
        assert_eq!(
            before.differences(&now),
            "the column n was integer and is bigint; the column old is gone; the column new is new"
        );
        assert_eq!(before.differences(&before.clone()), "");
    }

    #[test]
    fn names_and_texts_cannot_end_their_quotes() {
        assert_eq!(quoted("a\"; DROP"), "\"a\"\"; DROP\"");
        assert_eq!(quoted_text("it's"), "'it''s'");
    }
}
