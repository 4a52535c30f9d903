//! What a row must look like as an event: made from a SELECT over the binary protocol.
//!
//! The oracle knows how a column was declared and what the server answers, and derives the JSON
//! form from these two by the rules of `docs/event-format.md`. It shares no code with the decoder.

mod charsets;
mod domain;
mod edges;
mod expected;
mod history;
mod json;
mod mariadb;
mod pieces;
mod random;
mod spatial;
mod tables;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use mysql_async::{Conn, Params, Row, Value, prelude::Queryable as _};
use rand::{RngExt as _, rngs::StdRng};

pub use domain::{Domain, TextCharset};
pub use expected::Expected;
pub use history::{Change, History, Writer};
pub use json::same_json;
pub use mariadb::{MARIADB_SESSION, mariadb_samples};
pub use tables::{Sample, samples};

/// A table whose rows the oracle can make and predict. Its first column is `id bigint`.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name, unquoted.
    pub name: String,
    /// The columns after `id`.
    pub columns: Vec<Column>,
    /// The names of the primary key's columns, in its order; none without one.
    pub key: Vec<&'static str>,
    /// The character set of its columns that are declared without one.
    pub charset: String,
}

/// A column of a [`Table`].
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name, unquoted.
    pub name: String,
    /// How it is declared, and what can stand in it.
    pub domain: Domain,
    /// What else it is.
    pub role: Role,
}

/// What a column is, apart from its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It may be NULL.
    Nullable,
    /// It may not. Of a text in the primary key, the first ten characters are in the key.
    NotNull,
    /// It may be NULL, and `SELECT *` leaves it out.
    Invisible,
    /// Its value is made by the server: the expression, and whether it is VIRTUAL or STORED.
    Generated(&'static str),
    /// The same, of a MariaDB that may log it in INSERT alone.
    Unlogged(&'static str),
}

/// Stands in a [`Change`] for the value of a column that was not logged.
pub const ABSENT: &str = "absent";

/// The session that makes every value possible: zero dates, invalid ENUM members, UTC.
pub const SESSION: &str = "SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00', \
     cte_max_recursion_depth = 1000000, group_concat_max_len = 1000000, \
     explicit_defaults_for_timestamp = ON";

/// The rows of a table by id, each as the expected values of all columns, `id` included.
pub type Rows = BTreeMap<i64, Vec<Expected>>;

impl Table {
    /// A table with NULLs everywhere but in its id.
    pub fn new(name: &str, columns: impl IntoIterator<Item = (String, Domain)>) -> Self {
        let columns = columns.into_iter();
        let columns = columns.map(|(name, domain)| Column { name, domain, role: Role::Nullable });
        let charset = "utf8mb4".to_owned();
        Self { name: name.to_owned(), columns: columns.collect(), key: vec!["id"], charset }
    }

    /// The names of all columns, `id` first.
    pub fn column_names(&self) -> Vec<&str> {
        std::iter::once("id").chain(self.columns.iter().map(|column| &*column.name)).collect()
    }

    /// The statement that makes the table.
    pub fn create(&self, schema: &str) -> String {
        let id = "`id` BIGINT NOT NULL".to_owned();
        let mut parts: Vec<String> =
            std::iter::once(id).chain(self.columns.iter().map(Column::declared)).collect();
        let key: Vec<String> = self.key.iter().map(|name| self.key_part(name)).collect();
        if !key.is_empty() {
            parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
        }
        let (name, charset) = (self.full_name(schema), &self.charset);
        format!("CREATE TABLE {name} ({}) CHARSET {charset}", parts.join(", "))
    }

    fn key_part(&self, name: &str) -> String {
        let column = self.columns.iter().find(|column| column.name == name);
        let is_text = column.is_some_and(|column| matches!(column.domain, Domain::Text(..)));
        format!("{}{}", quoted(name), if is_text { "(10)" } else { "" })
    }

    /// `schema.table`, quoted.
    pub fn full_name(&self, schema: &str) -> String {
        format!("{}.{}", quoted(schema), quoted(&self.name))
    }

    /// Rows in which every column takes each of its edge values at least once, as SQL literals.
    pub fn edges(&self) -> Vec<Vec<String>> {
        let edges: Vec<Vec<String>> = self.columns.iter().map(Column::edges).collect();
        let count = edges.iter().map(Vec::len).max().unwrap_or_default();
        (0..count).map(|n| edges.iter().map(|of| of[n % of.len()].clone()).collect()).collect()
    }

    /// A random row, as SQL literals.
    pub fn random_row(&self, rng: &mut StdRng) -> Vec<String> {
        self.columns.iter().map(|column| column.random(rng)).collect()
    }

    /// The statement that inserts these rows under the ids from `first_id`.
    pub fn insert(&self, schema: &str, first_id: i64, rows: &[Vec<String>]) -> String {
        let rows = rows.iter().zip(first_id..).map(|(row, id)| format!("({id},{})", row.join(",")));
        let rows: Vec<String> = rows.collect();
        let (name, columns) = (self.full_name(schema), self.column_list());
        format!("INSERT INTO {name} ({columns}) VALUES {}", rows.join(","))
    }

    /// A statement that changes one to all of a row's columns.
    pub fn update(&self, schema: &str, id: i64, rng: &mut StdRng) -> String {
        let count = rng.random_range(1..=self.columns.len());
        let assignments = (0..count).map(|_| {
            let column = &self.columns[rng.random_range(0..self.columns.len())];
            format!("{} = {}", quoted(&column.name), column.random(rng))
        });
        let assignments: Vec<String> = assignments.collect();
        format!("UPDATE {} SET {} WHERE id = {id}", self.full_name(schema), assignments.join(", "))
    }

    /// What the rows of the table must look like, by a SELECT over the binary protocol.
    ///
    /// # Errors
    ///
    /// When the server does, or answers what the column's type cannot be.
    pub async fn select(&self, conn: &mut Conn, schema: &str) -> Result<Rows> {
        let texts = self.columns.iter().filter(|column| column.charset().is_some());
        let proofs: String = texts.map(|column| charsets::proof(&quoted(&column.name))).collect();
        let (name, columns) = (self.full_name(schema), self.column_list());
        let query = format!("SELECT {columns} {proofs} FROM {name}");
        let rows: Vec<Row> = conn.exec(query, Params::Empty).await?;
        rows.into_iter().map(|row| self.expect(row)).collect()
    }

    fn expect(&self, row: Row) -> Result<(i64, Vec<Expected>)> {
        let mut values = row.unwrap().into_iter();
        let id: i64 = mysql_async::from_value_opt(values.next().context("a row without columns")?)?;
        let mut expected = vec![Expected::Text(id.to_string())];
        let cells: Vec<Value> = values.by_ref().take(self.columns.len()).collect();
        for (column, value) in self.columns.iter().zip(cells) {
            let cell = match column.charset() {
                None => Expected::of(&column.domain, value),
                Some(charset) => charsets::expect(charset, value, &mut values),
            };
            expected.push(cell.with_context(|| format!("{}.{}", self.name, column.name))?);
        }
        Ok((id, expected))
    }

    fn column_list(&self) -> String {
        let names = self.column_names().into_iter().map(quoted);
        names.collect::<Vec<_>>().join(", ")
    }
}

impl Column {
    /// As it stands in CREATE TABLE.
    fn declared(&self) -> String {
        let role = match self.role {
            Role::Nullable => "NULL".to_owned(),
            Role::NotNull => "NOT NULL".to_owned(),
            Role::Invisible => "NULL INVISIBLE".to_owned(),
            Role::Generated(expression) | Role::Unlogged(expression) => {
                format!("GENERATED ALWAYS AS {expression}")
            }
        };
        format!("{} {} {role}", quoted(&self.name), self.domain.declared())
    }

    /// The character set of a text that the server may not be able to convert.
    fn charset(&self) -> Option<&'static str> {
        match self.domain {
            Domain::Text(_, TextCharset::Named(charset), _) => Some(charset),
            _ => None,
        }
    }

    fn edges(&self) -> Vec<String> {
        let mut edges = match self.role {
            Role::Generated(_) | Role::Unlogged(_) => return vec!["DEFAULT".to_owned()],
            _ => edges::of(&self.domain),
        };
        if self.role != Role::NotNull {
            edges.push("NULL".to_owned());
        }
        edges
    }

    fn random(&self, rng: &mut StdRng) -> String {
        const NULLS: f64 = 0.1;
        match self.role {
            Role::Generated(_) | Role::Unlogged(_) => return "DEFAULT".to_owned(),
            Role::NotNull => {}
            _ if rng.random_bool(NULLS) => return "NULL".to_owned(),
            _ => {}
        }
        random::value(&self.domain, rng)
    }
}

/// A name as an SQL identifier.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
