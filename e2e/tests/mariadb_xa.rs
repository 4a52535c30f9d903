//! XA transactions of MariaDB, whose positions have no gaps for those that are prepared and open.

use anyhow::{Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    rebuilt::Rebuilt,
    running::{Running, Source, Victim},
};
use mysql_async::{Row, prelude::Queryable as _};

const SCHEMA: &str = "xa";

async fn start(test: &str, flavor: &str) -> Result<Running> {
    let statements = [
        "CREATE DATABASE xa",
        "CREATE TABLE xa.doc (id INT PRIMARY KEY, body TEXT)",
        // Its rows are held as they came, compressed.
        "SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10",
    ];
    let source = Source::start_on(&format!("{test}-{flavor}"), (flavor, &[])).await?;
    source.capture(SCHEMA, &statements).await?.run()
}

/// Prepares a transaction in a domain, and ends the session.
async fn prepare(running: &Running, (name, domain): (&str, u32), change: &str) -> Result<()> {
    let domain = format!("SET SESSION gtid_domain_id = {domain}");
    let [start, end, prepare] =
        ["START", "END", "PREPARE"].map(|verb| format!("XA {verb} '{name}'"));
    running.execute(&[&domain, &start, change, &end, &prepare]).await
}

/// Commits or rolls back a transaction, once the session that prepared it is gone.
async fn settle(running: &Running, verb: &str, name: &str) -> Result<()> {
    let statement = format!("XA {verb} '{name}'");
    wait_until("the transaction is let go of", PATIENCE, async || {
        running.execute(&[&statement]).await.is_ok()
    })
    .await
}

/// Waits until the position is after everything that the server has.
async fn is_at_the_end(running: &Running) -> Result<()> {
    let end = sorted(&running.mysql.ask("SELECT @@gtid_binlog_pos").await?);
    wait_until("the position is that of the server", PATIENCE, async || {
        let status = running.site.status().await;
        sorted(status["position"]["gtidSet"].as_str().unwrap_or_default()) == end
    })
    .await
}

/// The GTIDs of a position.
fn sorted(position: &str) -> Vec<String> {
    let mut gtids: Vec<String> = position.split(',').map(str::to_owned).collect();
    gtids.sort_unstable();
    gtids
}

#[tokio::test(flavor = "multi_thread")]
async fn an_xa_transaction_of_mariadb_is_published_at_its_commit_over_kills() -> Result<()> {
    for flavor in ["mariadb-10.11", "mariadb-11.8"] {
        let mut running = start("xa", flavor).await?;
        let rows = "INSERT INTO xa.doc VALUES (1, REPEAT('one ', 50)), (2, REPEAT('two ', 50))";
        prepare(&running, ("held", 0), rows).await?;
        prepare(&running, ("dropped", 3), "INSERT INTO xa.doc VALUES (3, 'dropped')").await?;
        running.execute(&["FLUSH BINARY LOGS", "INSERT INTO xa.doc VALUES (4, 'four')"]).await?;
        running.site.wait_for_exactly(1).await?;
        wait_until("the oldest file that is needed is told", PATIENCE, async || {
            running.site.status().await["binlog"]["oldestFileNeeded"] == "binlog.000001"
        })
        .await?;
        running.kill(Victim::Dts).await?;
        settle(&running, "ROLLBACK", "dropped").await?;
        running.execute(&["INSERT INTO xa.doc VALUES (5, 'five')"]).await?;
        running.site.wait_for_exactly(2).await?;
        running.kill(Victim::Dts).await?;
        settle(&running, "COMMIT", "held").await?;
        running.site.wait_for_exactly(4).await?;
        running.kill(Victim::Dts).await?;
        let at_once = ["XA START 'once'", "INSERT INTO xa.doc VALUES (6, 'six')", "XA END 'once'"];
        running.execute(&[&at_once[..], &["XA COMMIT 'once' ONE PHASE"]].concat()).await?;
        running.site.wait_for_exactly(5).await?;
        is_at_the_end(&running).await?;
        ensure!(running.dts.is_running()?, "{}", running.dts.output());
        let recorded = running.site.recorded();
        let recording = running.site.wait_for_all(&recorded, &running.mysql, SCHEMA).await?;
        recording.check_ids()?;
        let mut conn = running.mysql.connect().await?;
        let rebuilt = Rebuilt::from_recording(&recording)?;
        let rows = rebuilt.check_table(&mut conn, SCHEMA, "doc").await?;
        ensure!(rows == 5, "{rows} rows");
        println!("{flavor}: {:?}", recording.done_ids());
        running.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_of_mariadb_whose_file_is_purged_is_refused() -> Result<()> {
    let mut running = start("xa-purged", "mariadb-11.8").await?;
    prepare(&running, ("held", 0), "INSERT INTO xa.doc VALUES (1, 'one')").await?;
    running.execute(&["FLUSH BINARY LOGS", "INSERT INTO xa.doc VALUES (2, 'two')"]).await?;
    running.site.wait_for_exactly(1).await?;
    running.dts.kill().await?;
    // A file stays until the server has noted that it does not need it after a crash.
    wait_until("the older file is purged", PATIENCE, async || {
        let purged = running.execute(&["PURGE BINARY LOGS TO 'binlog.000002'"]).await;
        let files = "SHOW BINARY LOGS";
        let Ok(mut conn) = running.mysql.connect().await else { return false };
        let files: Vec<Row> = conn.query(files).await.unwrap_or_default();
        purged.is_ok() && files.len() == 1
    })
    .await?;
    let part = "has purged our binlog file binlog.000001";
    running.site.expect_refusal("purged", &[part, "dts position set"]).await?;
    // The operator decides to continue without the transaction; its commit is then reported.
    let (code, output) = running.site.run_dts(&["position", "set", "latest"]).await?;
    ensure!(code == Some(0), "{code:?} {output}");
    running.dts = running.site.start_dts()?;
    settle(&running, "COMMIT", "held").await?;
    running.execute(&["INSERT INTO xa.doc VALUES (3, 'three')"]).await?;
    running.site.wait_for_exactly(1).await?;
    let output = running.dts.output();
    ensure!(output.contains("dts began to read after its XA PREPARE"), "{output}");
    running.end().await
}
