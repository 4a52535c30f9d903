//! Tables with every kind of key are read whole, each row once, in the server's order, and each
//! page by a search of the index.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use change_event::Columns;
use e2e::{
    oracle::quoted,
    programs::{seed, size},
    source,
};
use mysql_async::{Row, prelude::Queryable as _};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use source_table::{Bounds, Conn, Cursor, Description};

use super::{
    ReadRow,
    kinds::{Kind, kinds},
    lookups::check_lookups,
    open, read_all, read_page,
};

#[tokio::test]
async fn tables_of_every_key_are_read_whole_on_mysql_97() -> Result<()> {
    read_every_kind(&e2e::servers::mysql_97_url()).await
}

#[tokio::test]
#[ignore = "as on MySQL 9.7: scripts/test.sh --all"]
async fn tables_of_every_key_are_read_whole_on_mysql_80() -> Result<()> {
    read_every_kind(&e2e::servers::mysql_80_url()).await
}

#[tokio::test]
#[ignore = "as on MariaDB 11.8: scripts/test.sh --all"]
async fn tables_of_every_key_are_read_whole_on_mariadb_1011() -> Result<()> {
    read_every_kind(&e2e::servers::mariadb_1011_url()).await
}

#[tokio::test]
async fn tables_of_every_key_are_read_whole_on_mariadb_118() -> Result<()> {
    read_every_kind(&e2e::servers::mariadb_118_url()).await
}

async fn read_every_kind(url: &str) -> Result<()> {
    let seed = seed();
    let schema = format!("keys `{}\" é", std::process::id());
    let mut conn = source::connect(url).await?;
    conn.query_drop(format!("CREATE DATABASE {}", quoted(&schema))).await?;
    // A failure of one kind says nothing about the others.
    let mut failed = Vec::new();
    let kinds = kinds(conn.server_version());
    let count = kinds.len();
    for kind in kinds {
        let rng = StdRng::seed_from_u64(seed);
        let run = Run { url, schema: &schema, kind: &kind };
        if let Err(error) = run.check(&mut conn, rng).await {
            failed.push(format!("{}: {error:#}", kind.name));
        }
    }
    ensure!(failed.is_empty(), "{} of {count} kinds:\n{}", failed.len(), failed.join("\n"));
    conn.query_drop(format!("DROP DATABASE {}", quoted(&schema))).await?;
    Ok(())
}

struct Run<'a> {
    url: &'a str,
    schema: &'a str,
    kind: &'a Kind,
}

impl Run<'_> {
    fn full_name(&self) -> String {
        format!("{}.{}", quoted(self.schema), quoted(&self.kind.name))
    }

    async fn check(&self, conn: &mut mysql_async::Conn, mut rng: StdRng) -> Result<()> {
        self.fill(conn, &mut rng).await?;
        // In the order of the server's sorting, not of the index.
        let query = format!("SELECT n FROM {} ORDER BY {}", self.full_name(), self.kind.order);
        conn.query_drop("SET SESSION max_sort_length = 65536").await?;
        let expected: Vec<u64> = conn.query(query).await?;
        let (mut reader, description) = open(self.url, self.schema, &self.kind.name).await?;
        let everything = Bounds::default();
        for limit in [1, 7, 100, 1000] {
            // Small pages need a query each; if the index does not help, each query reads the whole
            // table.
            let max_pages = match (self.kind.is_searched, limit) {
                (_, 100 | 1000) => usize::MAX,
                (true, 7) => usize::MAX,
                (true, _) => usize::try_from(size(150, 3_000))?,
                (false, _) => 30,
            };
            let pages = (limit, max_pages);
            let rows = read_all(&mut reader, &description, &everything, pages).await?;
            let found = numbers(&rows)?;
            let full = usize::try_from(limit)?.saturating_mul(max_pages).min(expected.len());
            ensure!(found.len() == full, "{} rows of {full}, limit {limit}", found.len());
            if let Some(at) = found.iter().zip(&expected).position(|(l, r)| l != r) {
                bail!("row {at} is {:?}, limit {limit}", rows[at]);
            }
        }
        check_lookups(&mut reader, &description).await?;
        self.check_bounds(&mut reader, &description, (&expected, &mut rng)).await?;
        self.check_search(&mut reader, &description).await
    }

    async fn fill(&self, conn: &mut mysql_async::Conn, rng: &mut StdRng) -> Result<()> {
        const BATCH: u64 = 500;
        let Kind { columns, rest, options, .. } = self.kind;
        let rows = size(700, 20_000).min(self.kind.keys);
        let declared: Vec<String> =
            columns.iter().map(|(name, kind, _)| format!("{} {kind}", quoted(name))).collect();
        let not_null = |declared: &String| declared.replace(" NOT NULL", "") + " NOT NULL";
        // A key that must not be chosen may have NULLs.
        let declared: Vec<String> = if self.kind.name == "unique" {
            declared
        } else {
            declared.iter().map(not_null).collect()
        };
        conn.query_drop(format!(
            "CREATE TABLE {} (n INT NOT NULL, {}, {rest}) {options}",
            self.full_name(),
            declared.join(", ")
        ))
        .await?;
        let names: Vec<String> = columns.iter().map(|(name, ..)| quoted(name)).collect();
        let mut next = 0;
        for _ in 0..1_000 {
            let values: Vec<String> = (next..next + BATCH)
                .map(|n| {
                    let values: Vec<String> = columns.iter().map(|(.., of)| of(rng)).collect();
                    format!("({n},{})", values.join(","))
                })
                .collect();
            let insert = format!(
                "INSERT IGNORE INTO {} (n, {}) VALUES {}",
                self.full_name(),
                names.join(","),
                values.join(",")
            );
            conn.query_drop(insert).await?;
            next += BATCH;
            let count = format!("SELECT COUNT(*) FROM {}", self.full_name());
            let count: u64 = conn.query_first(count).await?.context("no count")?;
            if count >= rows {
                return Ok(());
            }
        }
        bail!("too few different keys")
    }

    /// Both bounds belong to the rows that are read.
    async fn check_bounds(
        &self,
        conn: &mut Conn,
        description: &Description,
        (expected, rng): (&[u64], &mut StdRng),
    ) -> Result<()> {
        let all = Bounds::default();
        let first = rng.random_range(0..expected.len() / 2);
        let last = rng.random_range(first..expected.len());
        let mut cursors: Vec<Cursor> = Vec::new();
        for at in [first, last] {
            let page = read_page(conn, description, (None, &all), at as u64 + 1).await?;
            cursors.push(page.last.context("no cursor")?);
        }
        let [from, to] = &cursors[..] else { bail!("no cursors") };
        let bounds = Bounds { first: Some(from.clone()), last: Some(to.clone()) };
        let rows = read_all(conn, description, &bounds, (300, usize::MAX)).await?;
        ensure!(numbers(&rows)? == expected[first..=last], "from {first} to {last}, {bounds:?}");
        Ok(())
    }

    /// How the server would read a page in the middle.
    async fn check_search(&self, conn: &mut Conn, description: &Description) -> Result<()> {
        let version = conn.server_version();
        if ((9, 0, 0)..(10, 0, 0)).contains(&version) {
            conn.query_drop("SET SESSION explain_format = TRADITIONAL").await?;
        }
        let all = Bounds::default();
        let page = read_page(conn, description, (None, &all), 500).await?;
        let bounds = Bounds { first: page.last.clone(), last: None };
        for (after, bounds) in [(page.last.as_ref(), &all), (None, &bounds)] {
            let (sql, params) = description.page_query(after, bounds, 100)?;
            let plan: Row =
                conn.exec_first(format!("EXPLAIN {sql}"), params).await?.context("no plan")?;
            let text = |name: &str| -> String {
                plan.get::<Option<String>, _>(name).flatten().unwrap_or_default()
            };
            let (kind, extra) = (text("type"), text("Extra"));
            let is_searched = kind == "range" && !extra.contains("filesort");
            ensure!(is_searched || !self.kind.is_searched, "{kind}, {extra}: {sql}");
            let key = description.key.as_ref().context("no key")?;
            ensure!(
                !key.is_ordered || !extra.contains("filesort"),
                "sorts: {kind}, {extra}: {sql}"
            );
        }
        Ok(())
    }
}

fn numbers(rows: &[ReadRow]) -> Result<Vec<u64>> {
    let mut seen = BTreeSet::new();
    let number = |row: &ReadRow| -> Result<u64> {
        let n = Columns::read(&row.data)?.get("n").context("no n")?.parse()?;
        ensure!(seen.insert(n), "row {n} twice");
        Ok(n)
    };
    rows.iter().map(number).collect()
}
