//! A SELECT and the binlog give the same bytes for a row: the same record key, the same `PK`, the
//! same `Data`; for every type, with edges and random values.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use binlog::Decoder;
use change_event::{Action, ChangeEvent, Columns};
use dts::{
    capture::Capture,
    checkpoint::{Seq, Skip},
    publish::Publisher,
};
use e2e::{
    oracle::{Sample, Table, Writer, mariadb_samples, quoted, samples},
    programs::{seed, size},
    source::{self, Place},
};
use event_bus::{Batch, BusConfig, BusKind, LogConfig, OnOversize, TopicName};
use event_log::StorageConfig;
use mysql_async::prelude::Queryable as _;
use rand::{SeedableRng as _, rngs::StdRng};
use source_table::{Bounds, TableError, describe};

use super::{ReadRow, open, read_all, reader};

#[tokio::test]
async fn a_row_reads_as_the_binlog_has_it_on_mysql_97() -> Result<()> {
    compare_all(&e2e::servers::mysql_97_url()).await
}

#[tokio::test]
async fn a_row_reads_as_the_binlog_has_it_on_mysql_80() -> Result<()> {
    compare_all(&e2e::servers::mysql_80_url()).await
}

#[tokio::test]
async fn a_row_reads_as_the_binlog_has_it_on_mariadb_1011() -> Result<()> {
    compare_all(&e2e::servers::mariadb_1011_url()).await
}

#[tokio::test]
async fn a_row_reads_as_the_binlog_has_it_on_mariadb_118() -> Result<()> {
    compare_all(&e2e::servers::mariadb_118_url()).await
}

async fn compare_all(url: &str) -> Result<()> {
    let schema = format!("rows `{}`", std::process::id());
    let of = usize::try_from(size(10_000, 100_000))?;
    let mut conn = source::connect(url).await?;
    conn.query_drop(format!("CREATE DATABASE {}", quoted(&schema))).await?;
    let mut rng = StdRng::seed_from_u64(seed());
    let samples = match conn.server_version() {
        version if version >= (10, 0, 0) => mariadb_samples(&mut conn).await?,
        _ => samples(&mut conn).await?,
    };
    let mut rows = 0;
    for sample in samples {
        let count = sample.rows(of);
        let Sample { table, .. } = sample;
        let mut writer = Writer { conn: &mut conn, schema: &schema, rng: &mut rng };
        let compared = compare(url, &table, (&mut writer, count)).await;
        rows += compared.with_context(|| format!("table {}", table.name))?;
    }
    ensure!(rows > 5_000, "only {rows} rows");
    conn.query_drop(format!("DROP DATABASE {}", quoted(&schema))).await?;
    Ok(())
}

async fn compare(
    url: &str,
    table: &Table,
    (writer, count): (&mut Writer<'_>, usize),
) -> Result<usize> {
    let schema = writer.schema;
    writer.conn.query_drop(table.create(schema)).await?;
    let start = source::end(writer.conn).await?;
    writer.write(table, count).await?;
    let expected = logged_rows(url, (schema, &table.name), &start).await?;
    compare_rows(url, (schema, &table.name), &expected).await
}

/// Checks that reading the table gives these rows.
async fn compare_rows(
    url: &str,
    (schema, table): (&str, &str),
    expected: &BTreeMap<i64, Logged>,
) -> Result<usize> {
    const PAGE: u64 = 97;
    let (mut conn, description) = open(url, schema, table).await?;
    let page = if description.key.is_none() { u64::MAX } else { PAGE };
    let rows = read_all(&mut conn, &description, &Bounds::default(), (page, usize::MAX)).await?;
    let mut found = BTreeMap::new();
    for row in rows {
        let id = id_of(&row.data)?;
        let expected = expected.get(&id).with_context(|| format!("no row {id} in the binlog"))?;
        ensure!(expected.is(&row)?, "{}", difference(&row, &expected.row));
        ensure!(found.insert(id, ()).is_none(), "row {id} twice");
    }
    ensure!(found.len() == expected.len(), "{} rows of {}", found.len(), expected.len());
    description.check_unchanged(&mut conn).await?;
    Ok(found.len())
}

/// A row in its last version in the binlog.
struct Logged {
    row: ReadRow,
    /// The columns that its last change lacked.
    absent: Vec<String>,
}

impl Logged {
    /// Whether a read row is equal, as far as the binlog has the row.
    fn is(&self, read: &ReadRow) -> Result<bool> {
        if self.absent.is_empty() {
            return Ok(*read == self.row);
        }
        let (read_data, logged) = (Columns::read(&read.data)?, Columns::read(&self.row.data)?);
        let kept = read_data.iter().filter(|(name, _)| !self.absent.iter().any(|it| it == name));
        let is_same = kept.eq(logged.iter());
        Ok(is_same && (&read.key, &read.pk) == (&self.row.key, &self.row.pk))
    }
}

/// The table, by id, built from the records that `dts` would publish.
async fn logged_rows(
    url: &str,
    (schema, table): (&str, &str),
    start: &Place,
) -> Result<BTreeMap<i64, Logged>> {
    let (schema, name) = (schema.to_owned(), table.to_owned());
    let mut decoder = Decoder::new(move |s, t| s == schema && t == name);
    decoder.restart(&start.0, start.1);
    decoder.know_types(source::hidden_types(url).await?);
    let mut publisher = publisher();
    let mut rows = BTreeMap::new();
    let mut batch = Batch::default();
    source::read(url, start, |event| {
        decoder.decode(event, &mut |row| publisher.publish(row, &mut batch))?;
        for record in batch.records() {
            let event = ChangeEvent::read(record.value)?;
            let id = id_of(event.data)?;
            if event.action == Action::Delete {
                rows.remove(&id).with_context(|| format!("row {id} was not there"))?;
                continue;
            }
            let row = ReadRow {
                key: String::from_utf8(record.key.to_vec())?,
                pk: event.key.to_owned(),
                data: event.data.to_owned(),
            };
            let absent = event.absent.iter().map(ToString::to_string).collect();
            rows.insert(id, Logged { row, absent });
        }
        batch.clear();
        Ok(())
    })
    .await?;
    Ok(rows)
}

/// Tables that no oracle makes: special values, and columns that a server made by itself.
const ODD: &[&[&str]] = &[
    &[
        "CREATE TABLE t (id INT(5) ZEROFILL PRIMARY KEY, b BIGINT(20) ZEROFILL, \
         d DECIMAL(12,2) ZEROFILL, z DECIMAL(9,0) ZEROFILL, f FLOAT(9,3) ZEROFILL, y YEAR)",
        "INSERT INTO t VALUES (1, 2, 3.4, 5, 6.7, 1999), (2, 0, 0, 0, 0, 0), \
         (99999, 18446744073709551615, 9999999999.99, 999999999, 99999.999, 2155)",
    ],
    &[
        "CREATE TABLE t (id INT PRIMARY KEY, s TIMESTAMP(3) NULL, \
         e ENUM('b','a') CHARACTER SET binary, x SET('b','a') CHARACTER SET binary)",
        "INSERT INTO t VALUES (1, '1970-01-01 00:00:01.5', 'a', 'a,b'), (2, NULL, NULL, NULL), \
         (3, '0000-00-00', 0, 0)",
    ],
    // Keyless rows that are equal in all columns but one, and one row whose NULLs moved.
    &[
        "CREATE TABLE t (id INT, a VARCHAR(5), b VARCHAR(5), c DOUBLE)",
        "INSERT INTO t VALUES (1, 'a', NULL, 0e0), (2, NULL, 'a', -0e0), (3, 'ab', 'c', 1), \
         (4, 'a', 'bc', 1)",
        "UPDATE t SET c = 2 WHERE id = 3",
        "DELETE FROM t WHERE id = 1",
    ],
    &[
        "CREATE TABLE t (a CHAR(5) NOT NULL, id INT, h INT INVISIBLE, UNIQUE KEY (a, h), \
         PRIMARY KEY (a), g INT AS (id + 1) VIRTUAL INVISIBLE)",
        "INSERT INTO t (a, id, h) VALUES ('x', 1, 2), ('y', 3, NULL)",
    ],
];

const ODD_MYSQL: &[&[&str]] = &[
    &[
        "SET SESSION sql_generate_invisible_primary_key = ON",
        "CREATE TABLE t (id INT, v INT)",
        "INSERT INTO t VALUES (1, 2), (3, 4)",
    ],
    &[
        "CREATE TABLE t (id INT, v JSON, w VARCHAR(9), UNIQUE KEY ((id * 2)), \
         KEY ((CAST(v->'$.a' AS UNSIGNED ARRAY))), PRIMARY KEY (w), KEY ((UPPER(w)), id))",
        "INSERT INTO t VALUES (1, '{\"a\": [1, 2]}', 'x'), (3, NULL, 'y')",
    ],
    // Numbers that may be doubles or decimals, if a reader has only the text.
    &[
        "CREATE TABLE t (id INT PRIMARY KEY, j JSON)",
        "INSERT INTO t VALUES (1, JSON_ARRAY(1e-5, 1.5e-6, 1e15, 1e14, 1e-15, 1e-16, 0e0, -0e0, 1e22, \
         5e-324, 1.7976931348623157e308, 123456.789e0, 0.00000150, 1.0, 1e0, 100.0)), \
         (2, JSON_ARRAY(1125899906842624e0 + 0.25e0, 1125899906842624e0 + 0.75e0, \
         2199023255552e0 + 0.03125e0, 999999999999999e0 + 0.5e0, 9007199254740992e0)), \
         (3, CAST('{\"a\": 1.0e2, \"b\": [], \" c , \": {\"\": \" : \"}}' AS JSON))",
    ],
];

const ODD_MARIADB: &[&[&str]] = &[
    &[
        "CREATE TABLE t (id INT PRIMARY KEY, b BLOB COMPRESSED, c TEXT COMPRESSED, u UUID, \
         UNIQUE (u))",
        "INSERT INTO t VALUES (1, 'x', REPEAT('y', 300), UUID()), (2, REPEAT('z', 5000), NULL, NULL)",
    ],
    // Bytes that are not geometries, and a key of such values.
    &[
        "CREATE TABLE t (id INT, g POINT NOT NULL, c CHAR(5) CHARSET latin1, h GEOMETRY, \
         PRIMARY KEY (g))",
        "INSERT INTO t VALUES (1, POINT(1, 2), 'é', ST_GeomFromText('POINT(3 4)', 7)), \
         (2, POINT(2, 1), 'ü', X'00000000010100000000000000000000000000F87F0000000000000000'), \
         (3, POINT(-1, 0), NULL, X'00000000010100000000000000000000000000F03F0000000000000000FF')",
        "UPDATE t SET g = POINT(9, 9) WHERE id = 1",
    ],
];

async fn compare_odd(url: &str, more: &[&[&str]]) -> Result<()> {
    let schema = format!("odd rows {}", std::process::id());
    let mut conn = source::connect(url).await?;
    for statements in ODD.iter().chain(more) {
        let schema = quoted(&schema);
        conn.query_drop(format!("CREATE DATABASE {schema}")).await?;
        conn.query_drop(format!("USE {schema}")).await?;
        let start = source::end(&mut conn).await?;
        e2e::servers::execute(&mut conn, statements).await?;
        let names = (schema.trim_matches('`'), "t");
        let expected =
            logged_rows(url, names, &start).await.with_context(|| statements[0].to_owned())?;
        ensure!(expected.len() > 1, "{} rows of {statements:?}", expected.len());
        compare_rows(url, names, &expected).await.with_context(|| statements[0].to_owned())?;
        conn.query_drop(format!("DROP DATABASE {schema}")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn odd_rows_read_as_the_binlog_has_them_on_mysql() -> Result<()> {
    compare_odd(&e2e::servers::mysql_97_url(), ODD_MYSQL).await?;
    compare_odd(&e2e::servers::mysql_80_url(), ODD_MYSQL).await
}

#[tokio::test]
async fn odd_rows_read_as_the_binlog_has_them_on_mariadb() -> Result<()> {
    const VECTORS: &[&str] = &[
        "CREATE TABLE t (id INT, v VECTOR(3) NOT NULL PRIMARY KEY)",
        "INSERT INTO t VALUES (1, VEC_FromText('[1,2,-0.5]')), (2, VEC_FromText('[0,0,0]'))",
    ];
    compare_odd(&e2e::servers::mariadb_1011_url(), ODD_MARIADB).await?;
    compare_odd(&e2e::servers::mariadb_118_url(), &[ODD_MARIADB, &[VECTORS]].concat()).await
}

/// 11.8.9 logs generated columns in INSERT only, older servers always.
#[tokio::test]
async fn a_row_without_a_key_has_one_key_whether_or_not_generated_columns_are_logged() -> Result<()>
{
    const KEYLESS: &[&str] = &[
        "CREATE TABLE t (id INT, `a` INT, d INT AS (a * 2) VIRTUAL, t INT AS (a * 3) STORED)",
        "INSERT INTO t (id, a) VALUES (1, 1), (2, 2), (3, 3)",
        "UPDATE t SET a = 7 WHERE id = 2",
        "DELETE FROM t WHERE id = 3",
    ];
    // The server identifies these rows by a hidden column.
    const LONG: &[&str] = &[
        "CREATE TABLE t (id INT, a TEXT UNIQUE)",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        "UPDATE t SET id = 4 WHERE id = 2",
        "DELETE FROM t WHERE id = 3",
    ];
    for url in [e2e::servers::mariadb_1011_url(), e2e::servers::mariadb_118_url()] {
        for statements in [KEYLESS, LONG] {
            let (read, logged) = keys_of(&url, statements).await.context(statements[0])?;
            ensure!(
                logged.len() == 2 && (read.is_none() || read.as_ref() == Some(&logged)),
                "logged {logged:?}, read {read:?}"
            );
        }
    }
    Ok(())
}

/// The keys of the rows as a full sync reads them (if it does not refuse the table), and as records
/// of the binlog have them.
async fn keys_of(
    url: &str,
    statements: &[&str],
) -> Result<(Option<BTreeSet<String>>, BTreeSet<String>)> {
    let schema = format!("odd rows keys {}", std::process::id());
    let mut conn = source::connect(url).await?;
    let name = quoted(&schema);
    let begin = [&format!("CREATE DATABASE {name}"), &format!("USE {name}")];
    e2e::servers::execute(&mut conn, &begin.map(String::as_str)).await?;
    let start = source::end(&mut conn).await?;
    e2e::servers::execute(&mut conn, statements).await?;
    let mut logged = BTreeSet::new();
    for Published { key, action, absent, data, .. } in
        published(url, &schema, (&start, publisher())).await?
    {
        let lacks = |name: &str| !data.contains(&format!("\"{name}\":"));
        let lacking: Vec<&str> = ["d", "t"].into_iter().filter(|name| lacks(name)).collect();
        ensure!(!data.contains("DB_ROW_HASH"), "{data}");
        ensure!(absent == lacking || statements[0].contains("TEXT"), "{data} and {absent:?}");
        match action {
            Action::Delete => ensure!(logged.remove(&key), "no row has the key {key}"),
            _ => ensure!(logged.insert(key), "two rows have one key"),
        }
    }
    let description = describe(&mut reader(url).await?, &schema, "t").await;
    let read = match description {
        Err(TableError::Refused { .. }) => None,
        other => {
            let description = other?.context("no table")?;
            let all = (u64::MAX, usize::MAX);
            let mut conn = reader(url).await?;
            let rows = read_all(&mut conn, &description, &Bounds::default(), all).await?;
            Some(rows.into_iter().map(|row| row.key).collect())
        }
    };
    conn.query_drop(format!("DROP DATABASE {name}")).await?;
    Ok((read, logged))
}

#[tokio::test]
async fn a_row_without_a_key_has_one_key_also_when_it_is_too_large_to_be_published() -> Result<()> {
    let url = e2e::servers::mysql_97_url();
    let schema = format!("odd rows large {}", std::process::id());
    let mut conn = source::connect(&url).await?;
    let quoted = quoted(&schema);
    let statements = [&format!("CREATE DATABASE {quoted}"), &format!("USE {quoted}")];
    e2e::servers::execute(&mut conn, &statements.map(String::as_str)).await?;
    let start = source::end(&mut conn).await?;
    let statements = [
        "CREATE TABLE t (id INT, v TEXT)",
        "INSERT INTO t VALUES (1, 'small'), (2, REPEAT('large', 900)), (3, REPEAT('other', 900))",
        "UPDATE t SET id = 4 WHERE id = 2",
        "DELETE FROM t",
    ];
    e2e::servers::execute(&mut conn, &statements).await?;
    let whole = published(&url, &schema, (&start, publisher())).await?;
    let log = LogConfig {
        address: String::new(),
        embedded: false,
        storage: StorageConfig::new("unused"),
        token: None,
        tls: None,
        ca_file: None,
        identity: None,
    };
    let mut bus = BusConfig::new(BusKind::Log(Box::new(log)), "t");
    (bus.max_row_bytes, bus.on_oversize) = (1024, OnOversize::KeysOnly);
    let keys = published(&url, &schema, (&start, publisher().limited_by(&bus))).await?;
    ensure!(whole.len() == 8 && whole.iter().all(|record| !record.is_oversized), "{whole:?}");
    ensure!(keys.iter().filter(|record| record.is_oversized).count() == 6, "{keys:?}");
    let key = |record: &Published| record.key.clone();
    ensure!(whole.iter().map(key).eq(keys.iter().map(key)), "{keys:?}");
    ensure!(whole[0].key != whole[1].key && whole[1].key != whole[2].key, "{whole:?}");
    conn.query_drop(format!("DROP DATABASE {quoted}")).await?;
    Ok(())
}

fn publisher() -> Publisher {
    let (topics, capture) = (TopicName::new("t"), Arc::new(Capture::default()));
    let from = (Skip::default(), Seq::default());
    Publisher::new(topics, capture, "uuid".to_owned(), from)
}

/// A record of the binlog.
#[derive(Debug)]
struct Published {
    key: String,
    action: Action,
    absent: Vec<String>,
    data: String,
    is_oversized: bool,
}

/// The records since `start`.
async fn published(
    url: &str,
    schema: &str,
    (start, mut publisher): (&Place, Publisher),
) -> Result<Vec<Published>> {
    let schema = schema.to_owned();
    let mut decoder = Decoder::new(move |s, _| s == schema);
    decoder.restart(&start.0, start.1);
    decoder.know_types(source::hidden_types(url).await?);
    let (mut batch, mut records) = (Batch::default(), Vec::new());
    source::read(url, start, |event| {
        decoder.decode(event, &mut |row| publisher.publish(row, &mut batch))?;
        for record in batch.records() {
            let event = ChangeEvent::read(record.value)?;
            records.push(Published {
                key: String::from_utf8(record.key.to_vec())?,
                action: event.action,
                absent: event.absent.iter().map(ToString::to_string).collect(),
                data: event.data.to_owned(),
                is_oversized: event.oversized.is_some(),
            });
        }
        batch.clear();
        Ok(())
    })
    .await?;
    Ok(records)
}

fn id_of(data: &str) -> Result<i64> {
    Ok(Columns::read(data)?.get("id").context("no id")?.parse()?)
}

/// The first column that differs, and how.
fn difference(found: &ReadRow, expected: &ReadRow) -> String {
    let columns = |row: &ReadRow| -> Result<Vec<(String, String)>> {
        let columns = Columns::read(&row.data)?;
        Ok(columns.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    };
    match (columns(found), columns(expected)) {
        (Ok(found), Ok(expected)) if found != expected => {
            let pair = found.iter().zip(&expected).find(|(found, expected)| found != expected);
            format!("read {:.500?}, logged {:.500?}", pair.map(|p| p.0), pair.map(|p| p.1))
        }
        _ => format!("read {found:.500?}, logged {expected:.500?}"),
    }
}
