//! XA transactions of MySQL without their XA PREPARE, or without room to keep them.

use anyhow::{Context as _, Result, ensure};
use e2e::{
    processes::{PATIENCE, Process, wait_until},
    programs::{REFUSED, program},
    running::Source,
    servers::Mysql,
};
use mysql_async::{Row, prelude::Queryable as _};

const SCHEMA: &str = "xa";

async fn start(test: &str, options: &[&str]) -> Result<Source> {
    let table = "CREATE TABLE xa.t (id INT PRIMARY KEY, text LONGTEXT)";
    let source = Source::start_on(test, ("9.7", options)).await?;
    source.capture(SCHEMA, &["CREATE DATABASE xa", table]).await
}

async fn prepare(source: &Source, name: &str, change: &str) -> Result<()> {
    let [start, end, prepare] =
        ["START", "END", "PREPARE"].map(|verb| format!("XA {verb} '{name}'"));
    source.execute(&[&start, change, &end, &prepare]).await
}

/// Only the newest binlog file is left.
async fn purge(server: &Mysql) -> Result<()> {
    let mut conn = server.connect().await?;
    conn.query_drop("FLUSH BINARY LOGS").await?;
    let files: Vec<Row> = conn.query("SHOW BINARY LOGS").await?;
    let last: String = files.last().and_then(|row| row.get(0)).context("no binlog")?;
    Ok(conn.query_drop(format!("PURGE BINARY LOGS TO '{last}'")).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commit_of_a_transaction_that_was_prepared_before_the_start_is_reported_once()
-> Result<()> {
    let source = start("xa-purged", &[]).await?;
    prepare(&source, "gone", "INSERT INTO xa.t VALUES (1, 'one'), (2, 'two')").await?;
    prepare(&source, "dropped", "INSERT INTO xa.t VALUES (3, 'three')").await?;
    purge(&source.mysql).await?;
    let dts = source.site.start_dts()?;
    source.execute(&["INSERT INTO xa.t VALUES (4, 'four')"]).await?;
    source.site.wait_for_exactly(1).await?;
    // Of a transaction that was rolled back, nothing is lost.
    source.execute(&["XA ROLLBACK 'dropped'", "INSERT INTO xa.t VALUES (5, 'five')"]).await?;
    source.site.wait_for_exactly(2).await?;
    source.execute(&["XA COMMIT 'gone'", "INSERT INTO xa.t VALUES (6, 'six')"]).await?;
    source.site.wait_for_exactly(3).await?;
    let told = dts.output();
    ensure!(told.matches("dts began to read after its XA PREPARE").count() == 1, "{told}");
    ensure!(told.contains("X'676f6e65',X'',1"), "{told}");
    drop(dts);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_prepared_transaction_that_are_not_captured_are_not_held() -> Result<()> {
    let source = start("xa-elsewhere", &[]).await?;
    let table = "CREATE TABLE elsewhere.t (id INT PRIMARY KEY, text LONGTEXT)";
    source.execute(&["CREATE DATABASE elsewhere", table]).await?;
    source.site.amend("dts.toml", "[bus]", "[xa]\nmaxBytes = \"64KiB\"\n[bus]")?;
    let dts = source.site.start_dts()?;
    let many = "INSERT INTO elsewhere.t VALUES (1, REPEAT('x', 100000)), (2, 'two')";
    let (one, two) = ("INSERT INTO xa.t VALUES (1, 'one')", "INSERT INTO xa.t VALUES (2, 'two')");
    let [start, end, prepare] = ["START", "END", "PREPARE"].map(|verb| format!("XA {verb} 'x'"));
    source.execute(&[&start, one, many, two, &end, &prepare, "XA COMMIT 'x'"]).await?;
    source.site.wait_for_exactly(2).await?;
    let accounting = source.site.status().await["accounting"].take();
    ensure!(accounting["read"] == 4 && accounting["filtered"] == 2, "{accounting}");
    drop(dts);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_transaction_before_the_saved_place_is_read_over_for_what_is_prepared()
-> Result<()> {
    // By file, all that comes after the XA PREPARE is read again.
    let by_file = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    let source = start("xa-compressed", &by_file).await?;
    let mut dts = source.site.start_dts()?;
    prepare(&source, "open", "INSERT INTO xa.t VALUES (1, 'one')").await?;
    let several =
        ["BEGIN", "INSERT INTO xa.t VALUES (2, 'two')", "INSERT INTO xa.t VALUES (3, '')"];
    let compressed = [&["SET binlog_transaction_compression = ON"], &several[..], &["COMMIT"]];
    source.execute(&compressed.concat()).await?;
    source.site.wait_for_exactly(2).await?;
    dts.kill().await?;
    let dts = source.site.start_dts()?;
    wait_until("dts reads on", PATIENCE, async || {
        source.site.status().await["state"] == "streaming"
    })
    .await?;
    source.execute(&["XA COMMIT 'open'"]).await?;
    source.site.wait_for_exactly(3).await?;
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
    let source = start("xa-full", &[]).await?;
    let folder = source.site.path("xa").display().to_string();
    source.site.amend("dts.toml", "[bus]", &format!("[xa]\ndirectory = {folder:?}\n[bus]"))?;
    let dts = start_on_small_disk(&source)?;
    source.execute(&["INSERT INTO xa.t VALUES (0, 'before')"]).await?;
    source.site.wait_for_exactly(1).await?;
    let change = format!(
        "INSERT INTO xa.t WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n \
         WHERE i < {ROWS}) SELECT i, REPEAT(CHAR(65 + i % 26), 200000) FROM n"
    );
    prepare(&source, "large", &change).await?;
    let (status, output) = dts.told().await?;
    println!("{}", output.lines().last().unwrap_or_default());
    ensure!(status.code() == Some(REFUSED), "{status}\n{output}");
    for part in [&*format!("cannot be kept in {folder}: No space left"), "xa.directory"] {
        ensure!(output.contains(part), "{part:?} is not in\n{output}");
    }
    let dts = source.site.start_dts()?;
    source.execute(&["XA COMMIT 'large'"]).await?;
    source.site.wait_for_exactly(1 + ROWS).await?;
    drop(dts);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_countdown_is_of_the_oldest_file_that_a_prepared_transaction_needs() -> Result<()> {
    let source = start("xa-countdown", &[]).await?;
    source.execute(&["SET GLOBAL binlog_expire_logs_seconds = 7200"]).await?;
    let dts = source.site.start_dts()?;
    prepare(&source, "held", "INSERT INTO xa.t VALUES (1, 'one')").await?;
    let change = ["FLUSH BINARY LOGS", "INSERT INTO xa.t VALUES (2, 'two')"];
    source.execute(&change).await?;
    source.site.wait_for_exactly(1).await?;
    let binlog = async || source.site.status().await["binlog"].clone();
    wait_until("the older file counts", PATIENCE, async || {
        let binlog = binlog().await;
        binlog["oldestFileNeeded"] == "binlog.000001" && binlog["bytesBehind"] == 0
    })
    .await?;
    println!("{}", binlog().await);
    ensure!(binlog().await["purgeInSeconds"].as_u64() <= Some(7200), "{}", binlog().await);
    source.execute(&["XA COMMIT 'held'"]).await?;
    source.site.wait_for_exactly(2).await?;
    wait_until("the newer file counts", PATIENCE, async || {
        binlog().await["oldestFileNeeded"] == "binlog.000002"
    })
    .await?;
    drop(dts);
    source.remove()
}
