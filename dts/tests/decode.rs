//! What the decoder says of a change equals what the server answers to a SELECT.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use dts::decode::{Action, Decoder, Error, Image, RowChange, Step, TablePlan};
use e2e::oracle::{Expected, Rows, Sample, Table, samples};
use mysql_async::{Conn, prelude::Queryable as _};
use rand::{SeedableRng as _, rngs::StdRng};

use crate::binlog::{self, Place};

/// Random rows on each server.
const ROWS: usize = 50_000;

/// Repeats a run: `TEST_SEED` is printed by every run.
#[expect(clippy::print_stdout, reason = "a failed test shows it, and with it the run is repeated")]
pub(crate) fn seed() -> u64 {
    let given = std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("TEST_SEED={seed}");
    seed
}

#[tokio::test]
async fn every_type_reads_as_a_select_answers_on_mysql_97() -> Result<()> {
    compare_all(&e2e::servers::mysql_97_url(), seed()).await
}

#[tokio::test]
async fn every_type_reads_as_a_select_answers_on_mysql_80() -> Result<()> {
    compare_all(&e2e::servers::mysql_80_url(), seed()).await
}

async fn compare_all(url: &str, seed: u64) -> Result<()> {
    let schema = format!("decode `{}`", std::process::id());
    let mut conn = binlog::connect(url).await?;
    let quoted = e2e::oracle::quoted(&schema);
    conn.query_drop(format!("CREATE DATABASE {quoted}")).await?;
    let mut rng = StdRng::seed_from_u64(seed);
    for Sample { table, weight } in samples() {
        let mut run = Run { url, conn: &mut conn, schema: &schema, table: &table, rng: &mut rng };
        run.compare(ROWS * weight / 1000).await.with_context(|| format!("table {}", table.name))?;
    }
    conn.query_drop(format!("DROP DATABASE {quoted}")).await?;
    Ok(())
}

/// One table, filled, changed and emptied, with the events that this made.
struct Run<'a> {
    url: &'a str,
    conn: &'a mut Conn,
    schema: &'a str,
    table: &'a Table,
    rng: &'a mut StdRng,
}

/// What the table held after each step.
struct States {
    inserted: Rows,
    updated: Rows,
}

/// A change as the decoder gave it, its values by column.
struct Change {
    action: Action,
    before: Option<Vec<String>>,
    after: Option<Vec<String>>,
}

impl Run<'_> {
    async fn compare(&mut self, random_rows: usize) -> Result<()> {
        self.conn.query_drop(self.table.create(self.schema)).await?;
        let start = binlog::end(self.conn).await?;
        self.insert(random_rows).await.context("insert")?;
        let inserted = self.table.select(self.conn, self.schema).await?;
        self.update(&inserted).await.context("update")?;
        let updated = self.table.select(self.conn, self.schema).await?;
        let name = self.table.full_name(self.schema);
        self.conn.query_drop(format!("DELETE FROM {name} WHERE id % 3 = 0")).await?;
        let changes = self.changes(&start).await?;
        States { inserted, updated }.check(self.table, &changes)
    }

    async fn insert(&mut self, random_rows: usize) -> Result<()> {
        const BATCH: usize = 250;
        let mut id = 1;
        self.conn.query_drop("BEGIN").await?;
        for row in self.table.edges() {
            self.conn.query_drop(self.table.insert(self.schema, id, &[row])).await?;
            id += 1;
        }
        let mut left = random_rows;
        while left > 0 {
            let count = left.min(BATCH);
            let rows: Vec<_> = (0..count).map(|_| self.table.random_row(self.rng)).collect();
            self.conn.query_drop(self.table.insert(self.schema, id, &rows)).await?;
            id += i64::try_from(count)?;
            left -= count;
        }
        self.conn.query_drop("COMMIT").await?;
        Ok(())
    }

    async fn update(&mut self, rows: &Rows) -> Result<()> {
        self.conn.query_drop("BEGIN").await?;
        for id in rows.keys().step_by((rows.len() / 300).max(1)) {
            self.conn.query_drop(self.table.update(self.schema, *id, self.rng)).await?;
        }
        self.conn.query_drop("COMMIT").await?;
        Ok(())
    }

    async fn changes(&self, start: &Place) -> Result<Vec<Change>> {
        let (schema, table) = (self.schema.to_owned(), self.table.name.clone());
        let mut decoder = Decoder::new(move |s, t| s == schema && t == table);
        decoder.restart(&start.0, start.1);
        let mut changes = Vec::new();
        let mut transactions = 0;
        binlog::read(self.url, start, |event| {
            let step = decoder.decode(event, &mut |row| {
                self.check_plan(row.table)?;
                changes.push(Change::of(row)?);
                anyhow::Ok(())
            })?;
            transactions += usize::from(matches!(step, Step::Ended(_)));
            Ok(())
        })
        .await?;
        ensure!(transactions >= 3, "saw the end of {transactions} transactions only");
        Ok(changes)
    }

    /// The names, and the key in its order, are those of the table.
    fn check_plan(&self, plan: &TablePlan) -> Result<()> {
        let names: Vec<&str> = plan.columns.iter().map(|column| &*column.name).collect();
        ensure!(names == self.table.column_names(), "the columns are named {names:?}");
        let key: Vec<&str> = plan.primary_key.iter().map(|&column| names[column]).collect();
        ensure!(key == self.table.key, "the primary key is {key:?}");
        Ok(())
    }
}

impl Change {
    fn of(row: &RowChange<'_>) -> Result<Self, Error> {
        let values = |image: &Image<'_>| {
            (0..row.table.columns.len()).map(|column| written(image, column)).collect()
        };
        Ok(Self {
            action: row.action,
            before: row.before.as_ref().map(values).transpose()?,
            after: row.after.as_ref().map(values).transpose()?,
        })
    }

    fn id(&self) -> Result<i64> {
        let image = self.after.as_ref().or(self.before.as_ref()).context("a change of no row")?;
        Ok(image[0].parse()?)
    }
}

fn written(image: &Image<'_>, column: usize) -> Result<String, Error> {
    let mut out = Vec::new();
    image.write_value(column, &mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

impl States {
    fn check(&self, table: &Table, changes: &[Change]) -> Result<()> {
        let mut seen: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
        for change in changes {
            let id = change.id()?;
            let (name, before, after) = match change.action {
                Action::Insert => ("insert", None, self.inserted.get(&id)),
                Action::Update => ("update", self.inserted.get(&id), self.updated.get(&id)),
                Action::Delete => ("delete", self.updated.get(&id), None),
            };
            ensure!(seen.entry(name).or_default().insert(id), "a second {name} of row {id}");
            same(table, before, change.before.as_ref())
                .and_then(|()| same(table, after, change.after.as_ref()))
                .with_context(|| format!("{name} of row {id}"))?;
        }
        let none = BTreeSet::new();
        let of = |name| seen.get(name).unwrap_or(&none);
        ensure!(of("insert").iter().eq(self.inserted.keys()), "an insert is missing");
        let is_deleted = |id: &&i64| **id % 3 == 0;
        ensure!(
            of("delete").iter().eq(self.updated.keys().filter(is_deleted)),
            "a delete is missing"
        );
        let changed = self.inserted.iter().filter(|(id, row)| self.updated.get(id) != Some(row));
        ensure!(
            changed.map(|(id, _)| id).all(|id| of("update").contains(id)),
            "an update is missing"
        );
        Ok(())
    }
}

fn same(
    table: &Table,
    expected: Option<&Vec<Expected>>,
    found: Option<&Vec<String>>,
) -> Result<()> {
    let (Some(expected), Some(found)) = (expected, found) else {
        ensure!(expected.is_none() && found.is_none(), "an image is there or missing wrongly");
        return Ok(());
    };
    let names = table.column_names();
    ensure!(found.len() == names.len(), "{} columns instead of {}", found.len(), names.len());
    for ((name, expected), found) in names.iter().zip(expected).zip(found) {
        ensure!(
            expected.matches(found),
            "column {name}: expected {:.300}, found {found:.300}",
            format!("{expected:?}")
        );
    }
    Ok(())
}
