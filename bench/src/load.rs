//! The loads. Each has a MySQL of its own, whose binlog holds nothing else.

use std::ops::Range;

use anyhow::{Context, Result};
use e2e::{
    programs::Site,
    servers::{Mysql, execute},
};
use mysql_async::{Conn, prelude::Queryable};
use tokio::task::JoinSet;

/// The schema that is captured.
pub(crate) const SCHEMA: &str = "bench";

/// What the binlog holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// So many rows in transactions of 1,000.
    Bulk(u64),
    /// So many transactions of one row.
    Single(u64),
    /// A table of 101 columns, with as many bytes as so many rows of [`Load::Bulk`].
    Wide(u64),
    /// The rows of [`Load::Bulk`], compressed.
    Compressed(u64),
}

impl Load {
    pub(crate) fn rows(self) -> u64 {
        match self {
            Self::Bulk(rows) | Self::Single(rows) | Self::Compressed(rows) => rows,
            Self::Wide(rows) => (rows / u64::from(WIDTH) / BULK).max(1) * BULK,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bulk(_) => "a: 1,000-row transactions",
            Self::Single(_) => "b: one-row transactions",
            Self::Wide(_) => "c: as a, of 101 columns",
            Self::Compressed(_) => "d: as a, compressed",
        }
    }

    /// Whether this is one of the two loads for all measurements.
    pub(crate) fn is_plain(self) -> bool {
        matches!(self, Self::Bulk(_) | Self::Single(_))
    }

    /// Rows at the end of what one connection has loaded.
    pub(crate) const TAIL: u64 = BULK;

    /// The last ids of each connection that has loaded: who has copied all of these, in their
    /// order, has copied all.
    pub(crate) fn last_ids(self) -> [Range<u64>; 2] {
        let transactions = self.rows() / self.transaction_rows();
        let ends = [transactions / 2, transactions].map(|end| end * self.transaction_rows());
        ends.map(|end| end.saturating_sub(Self::TAIL)..end)
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Bulk(_) => "bench-bulk",
            Self::Single(_) => "bench-single",
            Self::Wide(_) => "bench-wide",
            Self::Compressed(_) => "bench-compressed",
        }
    }

    /// How many rows a transaction has.
    fn transaction_rows(self) -> u64 {
        if matches!(self, Self::Single(_)) { 1 } else { BULK }
    }

    /// How often each column of the narrow table is repeated.
    fn width(self) -> u32 {
        if matches!(self, Self::Wide(_)) { WIDTH } else { 1 }
    }
}

/// Rows of a large transaction.
const BULK: u64 = 1000;

/// A row of 101 columns is so many times as long as a row of 7, without the key.
const WIDTH: u32 = 17;

/// The most columns of a table, without the key.
const MAX_COLUMNS: usize = 100;

/// A server with a loaded binlog.
pub(crate) struct Loaded {
    pub(crate) load: Load,
    pub(crate) mysql: Mysql,
    pub(crate) version: String,
    /// All of its binlog files.
    pub(crate) binlog_bytes: u64,
}

/// Starts a new server and fills its binlog.
pub(crate) async fn prepare(load: Load) -> Result<Loaded> {
    let mysql = Site::new(load.folder())?.start_mysql().await?;
    let mut server = mysql.connect().await?;
    // The load is not measured, and need not survive a power cut.
    let quick = ["SET GLOBAL sync_binlog = 0", "SET GLOBAL innodb_flush_log_at_trx_commit = 0"];
    execute(&mut server, &quick).await?;
    if matches!(load, Load::Compressed(_)) {
        execute(&mut server, &["SET GLOBAL binlog_transaction_compression = ON"]).await?;
    }
    create(&mut server, load.width()).await?;
    fill(&mysql, load.rows() / load.transaction_rows(), load.transaction_rows()).await?;
    let durable = ["SET GLOBAL sync_binlog = 1", "SET GLOBAL innodb_flush_log_at_trx_commit = 1"];
    execute(&mut server, &durable).await?;
    let version: Option<String> = server.query_first("SELECT VERSION()").await?;
    let files: Vec<mysql_async::Row> = server.query("SHOW BINARY LOGS").await?;
    let binlog_bytes = files.iter().filter_map(|file| file.get::<u64, _>(1)).sum();
    Ok(Loaded { load, mysql, version: version.context("no version")?, binlog_bytes })
}

/// The table of the benchmark, and a procedure that fills it.
pub(crate) async fn create_table(server: &mut Conn) -> Result<()> {
    create(server, 1).await
}

/// The columns of the table without the key, each with its value.
const COLUMNS: [(&str, &str, &str); 6] = [
    ("a", "INT", "id % 100000"),
    ("b", "VARCHAR(64)", "CONCAT('customer number ', id)"),
    ("c", "DATETIME(3)", "TIMESTAMPADD(MICROSECOND, id * 1000, '2026-01-02 03:04:05')"),
    ("d", "DECIMAL(12,2)", "id / 100"),
    ("e", "JSON", "JSON_OBJECT('kind', 'order', 'items', id % 7, 'tags', JSON_ARRAY('a', 'b'))"),
    ("f", "DOUBLE", "id * 1.1e0"),
];

/// The same columns repeated so many times, 100 at most.
async fn create(server: &mut Conn, width: u32) -> Result<()> {
    let of =
        |turn: u32, name: &str| if turn == 0 { name.to_owned() } else { format!("{name}{turn}") };
    let columns = (0..width).flat_map(|turn| COLUMNS.map(|column| (turn, column)));
    let (mut declared, mut values) = (String::new(), String::new());
    for (turn, (name, declaration, value)) in columns.take(MAX_COLUMNS) {
        declared += &format!(", {} {declaration}", of(turn, name));
        values += &format!(", {value}");
    }
    let table = format!("CREATE TABLE t (id BIGINT PRIMARY KEY{declared})");
    let procedure = format!(
        "CREATE PROCEDURE fill(start BIGINT, transactions BIGINT, size BIGINT) BEGIN \
         DECLARE n BIGINT DEFAULT 0; \
         WHILE n < transactions DO \
           INSERT INTO t WITH RECURSIVE i AS \
             (SELECT start + n * size AS id UNION ALL \
              SELECT id + 1 FROM i WHERE id + 1 < start + (n + 1) * size) \
             SELECT id{values} FROM i; \
           SET n = n + 1; \
         END WHILE; END"
    );
    execute(server, &["CREATE DATABASE bench", "USE bench", &table, &procedure]).await
}

/// Runs the procedure in two connections at once.
async fn fill(mysql: &Mysql, transactions: u64, size: u64) -> Result<()> {
    const WRITERS: u64 = 2;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let first = transactions * writer / WRITERS;
        let count = transactions * (writer + 1) / WRITERS - first;
        let mut server = mysql.connect().await?;
        let start = first * size;
        let call = format!("CALL bench.fill({start}, {count}, {size})");
        writers.spawn(async move { execute(&mut server, &[&call]).await });
    }
    while let Some(outcome) = writers.join_next().await {
        outcome??;
    }
    Ok(())
}
