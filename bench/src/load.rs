//! The two loads: a MySQL each, whose binlog holds nothing else.

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
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// So many rows, in transactions of 1,000.
    Bulk(u64),
    /// So many transactions of one row.
    Single(u64),
}

impl Load {
    pub(crate) fn rows(self) -> u64 {
        let (Self::Bulk(rows) | Self::Single(rows)) = self;
        rows
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bulk(_) => "a: 1,000-row transactions",
            Self::Single(_) => "b: one-row transactions",
        }
    }
}

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
    let site =
        Site::new(if matches!(load, Load::Bulk(_)) { "bench-bulk" } else { "bench-single" })?;
    let mysql = site.start_mysql().await?;
    let mut server = mysql.connect().await?;
    // Loading is not measured, and need not survive a power cut.
    let quick = ["SET GLOBAL sync_binlog = 0", "SET GLOBAL innodb_flush_log_at_trx_commit = 0"];
    execute(&mut server, &quick).await?;
    create_table(&mut server).await?;
    match load {
        Load::Bulk(rows) => fill(&mysql, rows / 1000, 1000).await?,
        Load::Single(rows) => fill(&mysql, rows, 1).await?,
    }
    let durable = ["SET GLOBAL sync_binlog = 1", "SET GLOBAL innodb_flush_log_at_trx_commit = 1"];
    execute(&mut server, &durable).await?;
    let version: Option<String> = server.query_first("SELECT VERSION()").await?;
    let files: Vec<mysql_async::Row> = server.query("SHOW BINARY LOGS").await?;
    let binlog_bytes = files.iter().filter_map(|file| file.get::<u64, _>(1)).sum();
    Ok(Loaded { load, mysql, version: version.context("no version")?, binlog_bytes })
}

/// The table of the benchmark, and a procedure that fills it.
pub(crate) async fn create_table(server: &mut Conn) -> Result<()> {
    execute(
        server,
        &[
            "CREATE DATABASE bench",
            "USE bench",
            "CREATE TABLE t (id BIGINT PRIMARY KEY, a INT, b VARCHAR(64), c DATETIME(3), \
             d DECIMAL(12,2), e JSON, f DOUBLE)",
            "CREATE PROCEDURE fill(start BIGINT, transactions BIGINT, size BIGINT) BEGIN \
             DECLARE n BIGINT DEFAULT 0; \
             WHILE n < transactions DO \
               INSERT INTO t WITH RECURSIVE i AS \
                 (SELECT start + n * size AS id UNION ALL \
                  SELECT id + 1 FROM i WHERE id + 1 < start + (n + 1) * size) \
                 SELECT id, id % 100000, CONCAT('customer number ', id), \
                   TIMESTAMPADD(MICROSECOND, id * 1000, '2026-01-02 03:04:05'), id / 100, \
                   JSON_OBJECT('kind', 'order', 'items', id % 7, 'tags', JSON_ARRAY('a', 'b')), \
                   id * 1.1e0 FROM i; \
               SET n = n + 1; \
             END WHILE; END",
        ],
    )
    .await
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
