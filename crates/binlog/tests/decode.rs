//! The decoder gives the same values of a change as a SELECT on the server.

use anyhow::{Context as _, Result, ensure};
use binlog::{Action, Decoder, Error, Image, RowChange, Step, TablePlan};
use e2e::{
    oracle::{ABSENT, Change, Domain, Sample, Table, Writer, samples},
    programs::seed,
    source::{self, Place},
};
use mysql_async::prelude::Queryable as _;
use rand::{SeedableRng as _, rngs::StdRng};

/// Random rows on each server.
const ROWS: usize = 50_000;

#[tokio::test]
async fn every_type_reads_as_a_select_answers_on_mysql_97() -> Result<()> {
    compare(&e2e::servers::mysql_97_url()).await
}

#[tokio::test]
async fn every_type_reads_as_a_select_answers_on_mysql_80() -> Result<()> {
    compare(&e2e::servers::mysql_80_url()).await
}

async fn compare(url: &str) -> Result<()> {
    let samples = samples(&mut source::connect(url).await?).await?;
    compare_all(url, seed(), samples).await
}

pub(crate) async fn compare_all(url: &str, seed: u64, samples: Vec<Sample>) -> Result<()> {
    let schema = format!("decode `{}`", std::process::id());
    let mut conn = source::connect(url).await?;
    let quoted = e2e::oracle::quoted(&schema);
    conn.query_drop(format!("CREATE DATABASE {quoted}")).await?;
    let mut rng = StdRng::seed_from_u64(seed);
    for sample in samples {
        let Sample { table, .. } = &sample;
        let writer = Writer { conn: &mut conn, schema: &schema, rng: &mut rng };
        let run = Run { url, schema: &schema, table };
        run.compare(writer, sample.rows(ROWS))
            .await
            .with_context(|| format!("table {}", table.name))?;
    }
    conn.query_drop(format!("DROP DATABASE {quoted}")).await?;
    Ok(())
}

/// One table, whose changes are read back.
struct Run<'a> {
    url: &'a str,
    schema: &'a str,
    table: &'a Table,
}

impl Run<'_> {
    async fn compare(&self, mut writer: Writer<'_>, random_rows: usize) -> Result<()> {
        writer.conn.query_drop(self.table.create(self.schema)).await?;
        let start = source::end(writer.conn).await?;
        let history = writer.write(self.table, random_rows).await?;
        history.check(self.table, &self.changes(&start).await?)
    }

    async fn changes(&self, start: &Place) -> Result<Vec<Change>> {
        let (schema, table) = (self.schema.to_owned(), self.table.name.clone());
        let mut decoder = Decoder::new(move |s, t| s == schema && t == table);
        decoder.restart(&start.0, start.1);
        decoder.know_types(source::hidden_types(self.url).await?);
        let mut changes = Vec::new();
        let mut transactions = 0;
        source::read(self.url, start, |event| {
            let step = decoder.decode(event, &mut |row| {
                self.check_plan(row.table)?;
                changes.push(change_of(row)?);
                anyhow::Ok(())
            })?;
            transactions += usize::from(matches!(step, Step::Ended(_)));
            Ok(())
        })
        .await?;
        ensure!(transactions > 0, "saw the end of no transaction");
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

/// A document that fills a packet (`max_allowed_packet` is 64 MiB).
#[tokio::test]
async fn a_document_as_large_as_a_packet_reads_whole() -> Result<()> {
    const LETTERS: usize = 60_000_000;
    let url = e2e::servers::mysql_97_url();
    let mut conn = source::connect(&url).await?;
    let schema = format!("document {}", std::process::id());
    let table = Table::new("documents", [("j".to_owned(), Domain::Json)]);
    let name = table.full_name(&schema);
    let quoted = e2e::oracle::quoted(&schema);
    conn.query_drop(format!("CREATE DATABASE {quoted}")).await?;
    conn.query_drop(table.create(&schema)).await?;
    let start = source::end(&mut conn).await?;
    let expression = format!("JSON_OBJECT('k', 1, 'long', REPEAT('é', {}))", LETTERS / 2);
    conn.query_drop(format!("INSERT INTO {name} VALUES (1, {expression})")).await?;
    let run = Run { url: &url, schema: &schema, table: &table };
    let changes = run.changes(&start).await?;
    let [Change { before: None, after: Some(row) }] = &*changes else {
        anyhow::bail!("{} changes", changes.len());
    };
    let expected = format!("{{\"k\":1,\"long\":\"{}\"}}", "é".repeat(LETTERS / 2));
    ensure!(row[1] == expected, "{} bytes: {:.100}", row[1].len(), row[1]);
    conn.query_drop(format!("DROP DATABASE {quoted}")).await?;
    Ok(())
}

/// The change as the decoder gave it.
fn change_of(row: &RowChange<'_>) -> Result<Change> {
    let values = |image: &Image<'_>| {
        (0..row.table.columns.len()).map(|column| written(image, column)).collect()
    };
    let has_images = match row.action {
        Action::Insert => (false, true),
        Action::Update => (true, true),
        Action::Delete => (true, false),
    };
    let found = (row.before.is_some(), row.after.is_some());
    ensure!(found == has_images, "{:?} with the images {found:?}", row.action);
    Ok(Change {
        before: row.before.as_ref().map(values).transpose()?,
        after: row.after.as_ref().map(values).transpose()?,
    })
}

fn written(image: &Image<'_>, column: usize) -> Result<String, Error> {
    let mut out = Vec::new();
    if !image.is_present(column) {
        return Ok(ABSENT.to_owned());
    }
    image.write_value(column, &mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}
