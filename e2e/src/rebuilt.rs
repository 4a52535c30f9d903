//! Tables rebuilt from what a handler received, and compared with MySQL's own.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use mysql_async::{Conn, Row, prelude::Queryable};
use serde_json::{Map, Value};

use crate::recording::{Event, Recording};

/// The rows of all tables: table name, then primary key as JSON, then column values as text.
#[derive(Debug, Default)]
pub struct Rebuilt {
    rows: BTreeMap<(String, String), Version>,
}

/// The newest version of a row; without values once the row is deleted.
#[derive(Debug)]
struct Version {
    offset: u64,
    values: Option<Values>,
}

/// By column name.
type Values = BTreeMap<String, String>;

impl Rebuilt {
    /// Applies each handled event, unless a newer one of its key was applied already: a consumer
    /// must expect repeats, and recognises them by the offset in the bus.
    ///
    /// # Errors
    ///
    /// When an event is not what the format promises.
    pub fn from_recording(recording: &Recording) -> Result<Self> {
        let mut tables = Self::default();
        for event in recording.done() {
            tables.apply(event).with_context(|| event.ev_id.clone())?;
        }
        Ok(tables)
    }

    fn apply(&mut self, event: &Event) -> Result<()> {
        let (table, key) = event.key();
        let at = (table.to_owned(), key.to_owned());
        let offset = event.bus.offset;
        if self.rows.get(&at).is_some_and(|known| known.offset > offset) {
            return Ok(());
        }
        let values = match event.action.as_str() {
            "delete" => None,
            "insert" => Some(as_text(event.data.get())?),
            // A column that is absent did not change.
            "update" => {
                let known = self.rows.get(&at).and_then(|known| known.values.clone());
                let mut values = known.unwrap_or_default();
                values.extend(as_text(event.data.get())?);
                Some(values)
            }
            other => anyhow::bail!("the action {other} is not known"),
        };
        self.rows.insert(at, Version { offset, values });
        Ok(())
    }

    /// Compares one table with what the server answers now.
    ///
    /// # Errors
    ///
    /// Shows some of the rows that only one side has.
    pub async fn check_table(&self, server: &mut Conn, schema: &str, table: &str) -> Result<usize> {
        let ours: BTreeSet<Vec<String>> = self
            .rows
            .iter()
            .filter(|((name, _), _)| name == table)
            .filter_map(|(_, version)| version.values.clone())
            .map(|values| values.into_values().collect())
            .collect();
        check_rows(&ours, server, (schema, table, "TRUE")).await
    }
}

/// The values of a row that is given as a JSON object, as texts, sorted by column name.
///
/// # Errors
///
/// When it is no object.
pub fn texts_of(row: &str) -> Result<Vec<String>> {
    Ok(as_text(row)?.into_values().collect())
}

/// Compares rows, each as its [texts](texts_of), with those of a table that meet a condition; gives
/// how many there are.
///
/// # Errors
///
/// Shows some of the rows that only one side has.
pub async fn check_rows(
    ours: &BTreeSet<Vec<String>>,
    server: &mut Conn,
    (schema, table, condition): (&str, &str, &str),
) -> Result<usize> {
    let theirs = select(server, (schema, table, condition)).await?;
    let lost: Vec<_> = theirs.difference(ours).take(3).collect();
    let invented: Vec<_> = ours.difference(&theirs).take(3).collect();
    ensure!(
        lost.is_empty() && invented.is_empty(),
        "{schema}.{table}: only in MySQL {lost:?}; only rebuilt {invented:?}"
    );
    Ok(theirs.len())
}

/// The values of `Data`.
fn as_text(data: &str) -> Result<Values> {
    let columns: Map<String, Value> = serde_json::from_str(data)?;
    Ok(columns.into_iter().map(|(name, value)| (name, text_of(value))).collect())
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// The rows, each as the texts that MySQL prints, sorted by column name; NULL is `null`.
async fn select(
    server: &mut Conn,
    (schema, table, condition): (&str, &str, &str),
) -> Result<BTreeSet<Vec<String>>> {
    let columns: Vec<(String, String)> = server
        .exec(
            "SELECT column_name, data_type FROM information_schema.columns \
             WHERE table_schema = ? AND table_name = ? ORDER BY BINARY column_name",
            (schema, table),
        )
        .await?;
    let list: Vec<String> =
        columns.iter().map(|(name, _)| format!("IFNULL(CAST(`{name}` AS CHAR), 'null')")).collect();
    let query = format!("SELECT {} FROM `{schema}`.`{table}` WHERE {condition}", list.join(", "));
    let rows: Vec<Row> = server.query(query).await?;
    let text = |row: &Row, at: usize| -> Result<String> {
        let text: String = row.get(at).context("a column is missing")?;
        if columns[at].1 != "json" {
            return Ok(text);
        }
        // The same document, printed as ours are.
        Ok(text_of(serde_json::from_str(&text)?))
    };
    let texts = |row: Row| (0..row.len()).map(|at| text(&row, at)).collect();
    rows.into_iter().map(texts).collect()
}
