//! What a row must look like as an event: made from a SELECT over the binary protocol.
//!
//! The oracle knows how a column was declared and what the server answers, and derives the JSON
//! form from these two by the rules of `docs/event-format.md`. It shares no code with the decoder.

mod domain;
mod edges;
mod expected;
mod history;
mod json;
mod random;
mod tables;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use mysql_async::{Conn, Params, Row, prelude::Queryable as _};
use rand::{RngExt as _, rngs::StdRng};

pub use domain::{Domain, TextCharset};
pub use expected::Expected;
pub use history::{Change, History, Writer};
pub use json::same_json;
pub use tables::{Sample, samples};

/// A table whose rows the oracle can make and predict. Its first column is `id bigint`.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name, unquoted.
    pub name: String,
    /// The columns after `id`.
    pub columns: Vec<Column>,
    /// The names of the primary key's columns, in its order.
    pub key: Vec<&'static str>,
}

/// A column of a [`Table`].
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name, unquoted.
    pub name: String,
    /// How it is declared, and what can stand in it.
    pub domain: Domain,
    /// Part of the primary key, so never NULL; of a text, its first ten characters are.
    pub in_key: bool,
}

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
        let columns = columns.map(|(name, domain)| Column { name, domain, in_key: false });
        Self { name: name.to_owned(), columns: columns.collect(), key: vec!["id"] }
    }

    /// The names of all columns, `id` first.
    pub fn column_names(&self) -> Vec<&str> {
        std::iter::once("id").chain(self.columns.iter().map(|column| &*column.name)).collect()
    }

    /// The statement that makes the table.
    pub fn create(&self, schema: &str) -> String {
        let columns = self.columns.iter().map(|column| {
            let null = if column.in_key { "NOT NULL" } else { "NULL" };
            format!("{} {} {null}", quoted(&column.name), column.domain.declared())
        });
        let columns: Vec<String> = columns.collect();
        let key: Vec<String> = self.key.iter().map(|name| self.key_part(name)).collect();
        format!(
            "CREATE TABLE {} (`id` BIGINT NOT NULL, {}, PRIMARY KEY ({})) CHARSET utf8mb4",
            self.full_name(schema),
            columns.join(", "),
            key.join(", ")
        )
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
        let edges: Vec<Vec<String>> = self.columns.iter().map(|c| edges::of(&c.domain)).collect();
        let count = edges.iter().map(Vec::len).max().unwrap_or_default();
        let cell = |n: usize, column: usize| {
            let values = &edges[column];
            // One more than the edges: NULL.
            match values.get(n % (values.len() + 1)) {
                Some(value) => value.clone(),
                None if self.columns[column].in_key => values[0].clone(),
                None => "NULL".to_owned(),
            }
        };
        (0..=count).map(|n| (0..edges.len()).map(|column| cell(n, column)).collect()).collect()
    }

    /// A random row, as SQL literals.
    pub fn random_row(&self, rng: &mut StdRng) -> Vec<String> {
        self.columns.iter().map(|column| column.random(rng)).collect()
    }

    /// The statement that inserts these rows under the ids from `first_id`.
    pub fn insert(&self, schema: &str, first_id: i64, rows: &[Vec<String>]) -> String {
        let rows = rows.iter().zip(first_id..).map(|(row, id)| format!("({id},{})", row.join(",")));
        let rows: Vec<String> = rows.collect();
        format!("INSERT INTO {} VALUES {}", self.full_name(schema), rows.join(","))
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
        let query = format!("SELECT * FROM {}", self.full_name(schema));
        let rows: Vec<Row> = conn.exec(query, Params::Empty).await?;
        rows.into_iter().map(|row| self.expect(row)).collect()
    }

    fn expect(&self, row: Row) -> Result<(i64, Vec<Expected>)> {
        let mut values = row.unwrap().into_iter();
        let id: i64 = mysql_async::from_value_opt(values.next().context("a row without columns")?)?;
        let mut expected = vec![Expected::Text(id.to_string())];
        for (column, value) in self.columns.iter().zip(values) {
            let cell = Expected::of(&column.domain, value);
            expected.push(cell.with_context(|| format!("{}.{}", self.name, column.name))?);
        }
        Ok((id, expected))
    }
}

impl Column {
    fn random(&self, rng: &mut StdRng) -> String {
        const NULLS: f64 = 0.1;
        if !self.in_key && rng.random_bool(NULLS) {
            return "NULL".to_owned();
        }
        random::value(&self.domain, rng)
    }
}

/// A name as an SQL identifier.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
