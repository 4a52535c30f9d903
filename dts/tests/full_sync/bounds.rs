//! Keys that users give, tables that cannot be read, and tables that change while they are read.

use anyhow::{Context as _, Result, ensure};
use e2e::{oracle::quoted, servers::execute, source};
use mysql_async::{Conn, Row, prelude::Queryable as _};
use source_table::{Bounds, Cursor, RowWriter, TableError, describe, tables};

use super::{open, read_all, reader};

/// A schema that is dropped with the test.
struct Schema {
    url: String,
    conn: Conn,
    name: String,
}

impl Schema {
    async fn new(url: String, name: &str) -> Result<Self> {
        let name = format!("{name} {}", std::process::id());
        let mut conn = source::connect(&url).await?;
        let statements =
            [format!("CREATE DATABASE {}", quoted(&name)), format!("USE {}", quoted(&name))];
        execute(&mut conn, &statements.each_ref().map(String::as_str)).await?;
        Ok(Self { url, conn, name })
    }

    async fn execute(&mut self, statements: &[&str]) -> Result<()> {
        execute(&mut self.conn, statements).await
    }

    async fn drop(mut self) -> Result<()> {
        let statement = format!("DROP DATABASE {}", quoted(&self.name));
        Ok(self.conn.query_drop(statement).await?)
    }
}

/// Table, its statements, a text, and how many rows follow from there on; `None` if the text is
/// refused.
type Case = (&'static str, &'static str, &'static str, &'static [(&'static str, Option<usize>)]);

const CASES: &[Case] = &[
    (
        "ints",
        "k BIGINT",
        "(-5),(0),(7),(9223372036854775807)",
        &[
            ("-5", Some(4)),
            ("-4", Some(3)),
            ("7", Some(2)),
            ("8", Some(1)),
            ("18446744073709551615", Some(0)),
            ("abc", None),
            ("7abc", None),
            ("", None),
            (" 7", None),
            ("7.5", None),
            ("1e3", None),
            ("18446744073709551616", None),
            ("0 OR 1=1", None),
        ],
    ),
    (
        "unsigned",
        "k BIGINT UNSIGNED",
        "(0),(9223372036854775808),(18446744073709551615)",
        &[("9223372036854775808", Some(2)), ("-1", Some(3)), ("18446744073709551615", Some(1))],
    ),
    (
        "decimals",
        "k DECIMAL(20,3)",
        "(-1.5),(0),(12345678901234567.123),(12345678901234567.124)",
        &[
            ("12345678901234567.124", Some(1)),
            ("12345678901234567.123", Some(2)),
            ("-1.500", Some(4)),
            ("1.2345", None),
            ("123456789012345678", None),
            ("x", None),
        ],
    ),
    (
        "floats",
        "k FLOAT",
        "(0.1),(0.2),(0.3)",
        &[("0.1", Some(3)), ("0.2", Some(2)), ("inf", None), ("1e99", None)],
    ),
    (
        "dates",
        "k DATE",
        "('0000-00-00'),('2024-02-29'),('2024-03-01')",
        &[
            ("0000-00-00", Some(3)),
            ("2024-02-29", Some(2)),
            ("2024-03-01", Some(1)),
            ("2024-02-29 12:00:00", None),
            ("2024-13-01", None),
            ("yesterday", None),
            ("2024-02-29x", None),
        ],
    ),
    (
        "datetimes",
        "k DATETIME(3)",
        "('2024-02-29 01:02:03.004'),('2024-02-29 01:02:03.005')",
        &[
            ("2024-02-29 01:02:03.005", Some(1)),
            ("2024-02-29", Some(2)),
            ("2024-02-29 01:02:03.0041", None),
            ("noon", None),
        ],
    ),
    (
        "timestamps",
        "k TIMESTAMP(3)",
        "('2024-02-29 01:02:03.004'),('2024-02-29 01:02:03.005')",
        &[
            ("2024-02-29T01:02:03.005Z", Some(1)),
            ("2024-02-29 01:02:03.004", Some(2)),
            ("2024-02-29T01:02:03.0045Z", None),
        ],
    ),
    (
        "times",
        "k TIME",
        "('-838:59:59'),('00:00:00'),('12:00:00')",
        &[
            ("-838:59:59", Some(3)),
            ("12:00:00", Some(1)),
            ("11:11:11.000000", Some(1)),
            ("12:00:00.5", None),
            ("soon", None),
        ],
    ),
    (
        "precise times",
        "k TIME(6)",
        "('-838:59:59'),('-838:59:58.5'),('-838:58:59.999999'),('-100:00:00'),('838:59:57.9'),\
         ('838:59:58.5'),('838:59:58.999999'),('838:59:59')",
        &[
            ("-838:59:58.500000", Some(7)),
            ("-838:58:59.999999", Some(6)),
            ("838:59:57.9", Some(4)),
            ("838:59:58.999999", Some(2)),
            ("838:59:59", Some(1)),
        ],
    ),
    (
        "texts",
        "k VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci",
        "('a'),('É'),('z')",
        &[("E", Some(2)), ("é", Some(2)), ("", Some(3)), ("' OR ''='", Some(3)), ("中", None)],
    ),
    (
        "bytes",
        "k VARBINARY(9)",
        "(X'00'),(X'FF00')",
        &[("/wA=", Some(1)), ("AA==", Some(2)), ("/wA", None)],
    ),
    (
        "members",
        "k ENUM('z','it''s','a')",
        "('z'),('it''s'),('a')",
        &[("it's", Some(2)), ("a", Some(1)), ("z", Some(3)), ("b", None), ("2", None)],
    ),
    ("years", "k YEAR", "(0),(1999),(2024)", &[("2024", Some(1)), ("0", Some(3)), ("x", None)]),
];

async fn bounds_of_text(url: String) -> Result<()> {
    let mut schema = Schema::new(url, "bounds").await?;
    for (table, declared, values, texts) in CASES {
        let create = format!("CREATE TABLE `{table}` ({declared} NOT NULL PRIMARY KEY)");
        let insert = format!("INSERT INTO `{table}` VALUES {values}");
        schema.execute(&[&create, &insert]).await?;
        let (mut conn, description) = open(&schema.url, &schema.name, table).await?;
        let all = read_all(&mut conn, &description, &Bounds::default(), (9, 9)).await?.len();
        let one_by_one = read_all(&mut conn, &description, &Bounds::default(), (1, 99)).await?;
        ensure!(one_by_one.len() == all, "{table}: {} rows of {all}", one_by_one.len());
        for (text, expected) in *texts {
            let bound = match (description.bound(&mut conn, text).await, expected) {
                (Ok(bound), Some(_)) => bound,
                (Err(TableError::Bound(said)), None) => {
                    let is_clear = said.contains(&format!("{text:?}")) && said.contains("column k");
                    ensure!(is_clear, "{table} {text:?}: {said}");
                    continue;
                }
                (found, _) => anyhow::bail!("{table} {text:?}: {found:?}"),
            };
            let first = Bounds { first: Some(bound.clone()), last: None };
            let last = Bounds { first: None, last: Some(bound.clone()) };
            let both = Bounds { first: Some(bound.clone()), last: Some(bound) };
            let mut count = [0; 3];
            for (count, bounds) in count.iter_mut().zip([first, last, both]) {
                *count = read_all(&mut conn, &description, &bounds, (9, 9)).await?.len();
            }
            let [from, to, same] = count;
            ensure!(Some(from) == *expected, "{table} {text:?}: {from} rows from there on");
            ensure!(from + to == all + same && same <= 1, "{table} {text:?}: {count:?} of {all}");
        }
    }
    schema
        .execute(&[
            "CREATE TABLE two (a INT, b INT, PRIMARY KEY (a, b))",
            "CREATE TABLE none (a INT)",
        ])
        .await?;
    for table in ["two", "none"] {
        let (mut conn, description) = open(&schema.url, &schema.name, table).await?;
        let refused = description.bound(&mut conn, "1").await;
        ensure!(matches!(refused, Err(TableError::Bound(_))), "{table}: {refused:?}");
    }
    schema.drop().await
}

#[tokio::test]
async fn a_bound_is_a_value_of_the_key_or_refused_on_mysql_97() -> Result<()> {
    bounds_of_text(e2e::servers::mysql_97_url()).await
}

#[tokio::test]
async fn a_bound_is_a_value_of_the_key_or_refused_on_mysql_80() -> Result<()> {
    bounds_of_text(e2e::servers::mysql_80_url()).await
}

#[tokio::test]
async fn a_bound_is_a_value_of_the_key_or_refused_on_mariadb() -> Result<()> {
    bounds_of_text(e2e::servers::mariadb_118_url()).await
}

async fn changes_are_recognised(url: String) -> Result<()> {
    let mut schema = Schema::new(url, "altered").await?;
    schema
        .execute(&[
            "CREATE TABLE t (id INT PRIMARY KEY, v INT)",
            "INSERT INTO t VALUES (1, 1), (2, 2)",
        ])
        .await?;
    let (mut conn, before) = open(&schema.url, &schema.name, "t").await?;
    let page = super::read_page(&mut conn, &before, (None, &Bounds::default()), 1).await?;
    let cursor = page.last.context("no cursor")?;
    for alteration in [
        "ALTER TABLE t ADD COLUMN w INT",
        "ALTER TABLE t DROP COLUMN w, MODIFY v BIGINT",
        "ALTER TABLE t MODIFY v INT UNSIGNED",
        "ALTER TABLE t RENAME COLUMN v TO w",
        "ALTER TABLE t MODIFY w VARCHAR(20) CHARACTER SET latin1",
        "ALTER TABLE t MODIFY w VARCHAR(20) CHARACTER SET utf8mb4",
        "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id DESC)",
        "ALTER TABLE t DROP PRIMARY KEY, MODIFY w VARCHAR(20) NOT NULL, ADD PRIMARY KEY (w)",
    ] {
        let described = describe(&mut conn, &schema.name, "t").await?.context("no table")?;
        described.check_unchanged(&mut conn).await?;
        schema.execute(&[alteration]).await?;
        let found = described.check_unchanged(&mut conn).await;
        ensure!(matches!(found, Err(TableError::Altered(_))), "{alteration}: {found:?}");
    }
    // Read with the earlier description, and continued with the earlier cursor.
    let found = read_all(&mut conn, &before, &Bounds::default(), (9, 9)).await;
    let error = found.err().context("it was read")?;
    ensure!(error.chain().any(|e| e.to_string().contains("'v'")), "{error:?}");
    let now = describe(&mut conn, &schema.name, "t").await?.context("no table")?;
    let found = now.page_query(Some(&cursor), &Bounds::default(), 1);
    ensure!(matches!(found, Err(TableError::Altered(_))), "{found:?}");
    // A result that does not fit the description.
    let other = format!("SELECT w, id FROM {}.t LIMIT 1", quoted(&schema.name));
    let other: Row = conn.query_first(other).await?.context("no row")?;
    let found = RowWriter::new(&other.columns(), &now, None);
    ensure!(matches!(found, Err(TableError::Altered(_))), "{found:?}");
    schema.execute(&["RENAME TABLE t TO u"]).await?;
    let found = now.check_unchanged(&mut conn).await;
    ensure!(matches!(found, Err(TableError::Gone(_))), "{found:?}");
    let (sql, params) = now.page_query(None, &Bounds::default(), 1)?;
    let found: TableError = conn.exec_drop(sql, params).await.err().context("it is there")?.into();
    ensure!(matches!(found, TableError::Gone(_)), "{found:?}");
    schema.drop().await
}

#[tokio::test]
async fn a_changed_table_is_recognised_on_mysql() -> Result<()> {
    changes_are_recognised(e2e::servers::mysql_80_url()).await?;
    changes_are_recognised(e2e::servers::mysql_97_url()).await
}

#[tokio::test]
async fn a_changed_table_is_recognised_on_mariadb() -> Result<()> {
    changes_are_recognised(e2e::servers::mariadb_118_url()).await
}

#[tokio::test]
async fn a_place_is_refused_after_the_order_of_values_changed() -> Result<()> {
    let mut schema = Schema::new(e2e::servers::mysql_97_url(), "order").await?;
    let mut conn = reader(&schema.url).await?;
    for (table, before, text, after) in [
        ("members", "ENUM('a','b','c')", "b", "ENUM('c','a','b')"),
        ("zone", "TIMESTAMP", "2020-01-01 00:00:00", "DATETIME"),
        ("same", "VARCHAR(9)", "b", "VARCHAR(10)"),
    ] {
        schema.execute(&[&format!("CREATE TABLE {table} (k {before} PRIMARY KEY)")]).await?;
        let described = describe(&mut conn, &schema.name, table).await?.context("no table")?;
        let place = described.bound(&mut conn, text).await?;
        let alter = format!("ALTER TABLE {table} MODIFY k {after} NOT NULL");
        schema.execute(&[&alter]).await?;
        let now = describe(&mut conn, &schema.name, table).await?.context("no table")?;
        let found = now.page_query(Some(&place), &Bounds::default(), 1);
        let is_altered = matches!(found, Err(TableError::Altered(_)));
        ensure!(is_altered == (table != "same"), "{table}: {found:?}");
    }
    schema.drop().await
}

#[tokio::test]
async fn a_table_that_cannot_be_read_is_refused_by_name() -> Result<()> {
    let mut schema = Schema::new(e2e::servers::mysql_97_url(), "refused").await?;
    schema
        .execute(&[
            "CREATE TABLE t (id INT PRIMARY KEY)",
            "CREATE VIEW v AS SELECT * FROM t",
            "CREATE TABLE s (id INT PRIMARY KEY, s SET('', 'a'))",
            "CREATE TABLE p (k VARCHAR(9) CHARACTER SET utf8mb4 PRIMARY KEY)",
            "INSERT INTO p VALUES ('a')",
        ])
        .await?;
    let mut conn = reader(&schema.url).await?;
    for (table, parts) in
        [("v", &["is a view"][..]), ("s", &["column s of", "SET with an empty member"])]
    {
        let refused = describe(&mut conn, &schema.name, table).await;
        let Err(TableError::Refused { problem, .. }) = refused else {
            anyhow::bail!("{table}: {refused:?}")
        };
        ensure!(parts.iter().all(|part| problem.contains(part)), "{problem}");
    }
    ensure!(describe(&mut conn, &schema.name, "T").await?.is_none(), "another case");
    ensure!(describe(&mut conn, &schema.name, "no such").await?.is_none(), "no such table");
    let listed = tables(&mut conn).await?;
    let ours: Vec<&str> =
        listed.iter().filter(|(s, _)| *s == schema.name).map(|(_, t)| &**t).collect();
    ensure!(ours == ["p", "s", "t"], "{ours:?}");
    // A cursor whose bytes are not text: the server reads another value, and the check says so.
    let (_, description) = open(&schema.url, &schema.name, "p").await?;
    let page = super::read_page(&mut conn, &description, (None, &Bounds::default()), 1).await?;
    let cursor = serde_json::to_string(&page.last.context("no cursor")?)?;
    let broken: Cursor = serde_json::from_str(&cursor.replace("\"61\"", "\"FF\""))?;
    let refused = description.check(&mut conn, &broken).await;
    ensure!(matches!(refused, Err(TableError::Refused { .. })), "{refused:?}");
    schema.drop().await
}

#[tokio::test]
async fn a_table_that_cannot_be_read_is_refused_by_name_on_mariadb() -> Result<()> {
    let mut schema = Schema::new(e2e::servers::mariadb_118_url(), "refused").await?;
    schema
        .execute(&[
            "CREATE TABLE versioned (id INT PRIMARY KEY) WITH SYSTEM VERSIONING",
            "CREATE SEQUENCE s",
            "CREATE TABLE hashed (id INT, b BLOB, UNIQUE `long one` (b))",
            "CREATE TABLE right_one (id INT PRIMARY KEY, b BLOB, UNIQUE (b))",
        ])
        .await?;
    let mut conn = reader(&schema.url).await?;
    for (table, part) in [
        ("versioned", "keeps its history"),
        ("s", "is a sequence"),
        ("hashed", "the unique key long one over a long text"),
    ] {
        let refused = describe(&mut conn, &schema.name, table).await;
        let Err(TableError::Refused { problem, .. }) = refused else {
            anyhow::bail!("{table}: {refused:?}")
        };
        ensure!(problem.contains(part), "{problem}");
    }
    ensure!(describe(&mut conn, &schema.name, "right_one").await?.is_some(), "has a primary key");
    schema.drop().await
}

#[tokio::test]
async fn nothing_can_be_written_over_the_connection() -> Result<()> {
    for url in [e2e::servers::mysql_97_url(), e2e::servers::mariadb_118_url()] {
        let mut schema = Schema::new(url, "read only").await?;
        schema.execute(&["CREATE TABLE t (id INT PRIMARY KEY)"]).await?;
        let mut conn = reader(&schema.url).await?;
        let insert = format!("INSERT INTO {}.t VALUES (1)", quoted(&schema.name));
        let error = conn.query_drop(insert).await.err().context("it was written")?;
        ensure!(error.to_string().contains("READ ONLY"), "{error}");
        schema.drop().await?;
    }
    Ok(())
}
