//! XA transactions of MySQL where something is missing: their XA PREPARE, or room to keep them.

use anyhow::{Context as _, Result, ensure};
use e2e::{
    processes::{PATIENCE, Process, wait_until},
    programs::{REFUSED, Site, program},
    servers::{Mysql, execute},
};
use mysql_async::{Row, prelude::Queryable as _};
use serde_json::Value;

const SCHEMA: &str = "xa";

struct Source {
    site: Site,
    mysql: Mysql,
}

impl Source {
    async fn start(test: &str) -> Result<Self> {
        Self::start_with(test, &[]).await
    }

    async fn start_with(test: &str, options: &[&str]) -> Result<Self> {
        let site = Site::new(test)?;
        let mysql = Mysql::start_with("9.7", &site.path("mysql"), options).await?;
        let source = Self { site, mysql };
        let table = "CREATE TABLE xa.t (id INT PRIMARY KEY, text LONGTEXT)";
        source.execute(&["CREATE DATABASE xa", table]).await?;
        source.site.configure_dts(&source.mysql.address(), SCHEMA)?;
        Ok(source)
    }

    async fn execute(&self, statements: &[&str]) -> Result<()> {
        execute(&mut self.mysql.connect().await?, statements).await
    }

    async fn prepare(&self, name: &str, change: &str) -> Result<()> {
        let [start, end, prepare] =
            ["START", "END", "PREPARE"].map(|verb| format!("XA {verb} '{name}'"));
        self.execute(&[&start, change, &end, &prepare]).await
    }

    /// Only the newest binlog file is left.
    async fn purge(&self) -> Result<()> {
        let mut conn = self.mysql.connect().await?;
        conn.query_drop("FLUSH BINARY LOGS").await?;
        let files: Vec<Row> = conn.query("SHOW BINARY LOGS").await?;
        let last: String = files.last().and_then(|row| row.get(0)).context("no binlog")?;
        Ok(conn.query_drop(format!("PURGE BINARY LOGS TO '{last}'")).await?)
    }

    async fn status(&self) -> Value {
        self.site.ask_dts("/api/v1/status").await.unwrap_or_default()
    }

    async fn wait_for_published(&self, records: u64) -> Result<()> {
        wait_until("dts publishes", PATIENCE, async || {
            self.status().await["accounting"]["published"].as_u64() == Some(records)
        })
        .await
    }

    fn remove(self) -> Result<()> {
        drop(self.mysql);
        self.site.remove()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commit_of_a_transaction_that_was_prepared_before_the_start_is_told_once() -> Result<()>
{
    let source = Source::start("xa-purged").await?;
    source.prepare("gone", "INSERT INTO xa.t VALUES (1, 'one'), (2, 'two')").await?;
    source.prepare("dropped", "INSERT INTO xa.t VALUES (3, 'three')").await?;
    source.purge().await?;
    let dts = source.site.start_dts()?;
    source.execute(&["INSERT INTO xa.t VALUES (4, 'four')"]).await?;
    source.wait_for_published(1).await?;
    // Of one that never was, nothing is lost.
    source.execute(&["XA ROLLBACK 'dropped'", "INSERT INTO xa.t VALUES (5, 'five')"]).await?;
    source.wait_for_published(2).await?;
    source.execute(&["XA COMMIT 'gone'", "INSERT INTO xa.t VALUES (6, 'six')"]).await?;
    source.wait_for_published(3).await?;
    let told = dts.output();
    ensure!(told.matches("stands before the place that dts was started at").count() == 1, "{told}");
    ensure!(told.contains("X'676f6e65',X'',1"), "{told}");
    drop(dts);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_prepared_transaction_that_are_not_captured_are_not_held() -> Result<()> {
    let source = Source::start("xa-elsewhere").await?;
    let table = "CREATE TABLE elsewhere.t (id INT PRIMARY KEY, text LONGTEXT)";
    source.execute(&["CREATE DATABASE elsewhere", table]).await?;
    let path = source.site.path("dts.toml");
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(&path, format!("{text}[xa]\nmaxBytes = \"64KiB\"\n"))?;
    let dts = source.site.start_dts()?;
    let many = "INSERT INTO elsewhere.t VALUES (1, REPEAT('x', 100000)), (2, 'two')";
    let (one, two) = ("INSERT INTO xa.t VALUES (1, 'one')", "INSERT INTO xa.t VALUES (2, 'two')");
    let [start, end, prepare] = ["START", "END", "PREPARE"].map(|verb| format!("XA {verb} 'x'"));
    source.execute(&[&start, one, many, two, &end, &prepare, "XA COMMIT 'x'"]).await?;
    source.wait_for_published(2).await?;
    let accounting = source.status().await["accounting"].take();
    ensure!(accounting["read"] == 4 && accounting["filtered"] == 2, "{accounting}");
    drop(dts);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_transaction_before_the_saved_place_is_read_over_for_what_is_prepared()
-> Result<()> {
    // By file, all that lies behind the XA PREPARE comes again.
    let by_file = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    let source = Source::start_with("xa-compressed", &by_file).await?;
    let dts = source.site.start_dts()?;
    source.prepare("open", "INSERT INTO xa.t VALUES (1, 'one')").await?;
    let several =
        ["BEGIN", "INSERT INTO xa.t VALUES (2, 'two')", "INSERT INTO xa.t VALUES (3, '')"];
    let compressed = [&["SET binlog_transaction_compression = ON"], &several[..], &["COMMIT"]];
    source.execute(&compressed.concat()).await?;
    source.wait_for_published(2).await?;
    drop(dts);
    let dts = source.site.start_dts()?;
    wait_until("dts reads on", PATIENCE, async || source.status().await["state"] == "streaming")
        .await?;
    source.execute(&["XA COMMIT 'open'"]).await?;
    source.wait_for_published(3).await?;
    drop(dts);
    source.remove()
}

/// A `dts` whose directory for XA transactions is a disk of one mebibyte, in a mount namespace of
/// its own.
fn start_on_small_disk(source: &Source) -> Result<Process> {
    let folder = source.site.path("xa");
    std::fs::create_dir_all(&folder)?;
    let (folder, program) = (folder.display().to_string(), program("dts")?.display().to_string());
    let mount = "mount -t tmpfs -o size=1m tmpfs \"$0\" && exec \"$@\"";
    let command = ["unshare", "--mount", "--map-root-user", "sh", "-c", mount, &folder, &program];
    source.site.run("dts", &[&command[..], &["run", "--config", "dts.toml"]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_prepared_transactions_stops_dts_and_nothing_is_lost() -> Result<()> {
    const ROWS: u64 = 40;
    let source = Source::start("xa-full").await?;
    let path = source.site.path("dts.toml");
    let text = std::fs::read_to_string(&path)?;
    let folder = source.site.path("xa").display().to_string();
    std::fs::write(&path, format!("{text}[xa]\ndirectory = {folder:?}\n"))?;
    let dts = start_on_small_disk(&source)?;
    source.execute(&["INSERT INTO xa.t VALUES (0, 'before')"]).await?;
    source.wait_for_published(1).await?;
    let change = format!(
        "INSERT INTO xa.t WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n \
         WHERE i < {ROWS}) SELECT i, REPEAT(CHAR(65 + i % 26), 200000) FROM n"
    );
    source.prepare("large", &change).await?;
    let (status, output) = dts.told().await?;
    println!("{}", output.lines().last().unwrap_or_default());
    ensure!(status.code() == Some(REFUSED), "{status}\n{output}");
    for part in [&*format!("cannot be kept in {folder}: No space left"), "xa.directory"] {
        ensure!(output.contains(part), "{part:?} is not in\n{output}");
    }
    let dts = source.site.start_dts()?;
    source.execute(&["XA COMMIT 'large'"]).await?;
    source.wait_for_published(1 + ROWS).await?;
    drop(dts);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_countdown_is_of_the_oldest_file_that_a_prepared_transaction_needs() -> Result<()> {
    let source = Source::start("xa-countdown").await?;
    source.execute(&["SET GLOBAL binlog_expire_logs_seconds = 7200"]).await?;
    let dts = source.site.start_dts()?;
    source.prepare("held", "INSERT INTO xa.t VALUES (1, 'one')").await?;
    let change = ["FLUSH BINARY LOGS", "INSERT INTO xa.t VALUES (2, 'two')"];
    source.execute(&change).await?;
    source.wait_for_published(1).await?;
    let binlog = async || source.status().await["binlog"].clone();
    wait_until("the older file counts", PATIENCE, async || {
        let binlog = binlog().await;
        binlog["oldestFileNeeded"] == "binlog.000001" && binlog["bytesBehind"] == 0
    })
    .await?;
    println!("{}", binlog().await);
    ensure!(binlog().await["purgeInSeconds"].as_u64() <= Some(7200), "{}", binlog().await);
    source.execute(&["XA COMMIT 'held'"]).await?;
    source.wait_for_published(2).await?;
    wait_until("the newer file counts", PATIENCE, async || {
        binlog().await["oldestFileNeeded"] == "binlog.000002"
    })
    .await?;
    drop(dts);
    source.remove()
}
