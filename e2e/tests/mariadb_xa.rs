//! XA transactions of MariaDB, whose positions have no gaps for those that are prepared and open.

use anyhow::{Context as _, Result, ensure};
use e2e::{
    processes::{PATIENCE, Process, wait_until},
    programs::{Site, recording_listener},
    rebuilt::Rebuilt,
    servers::{Mysql, execute},
};
use mysql_async::{Row, prelude::Queryable as _};
use serde_json::Value;

const SCHEMA: &str = "xa";

struct Running {
    site: Site,
    server: Mysql,
    dts: Process,
    worker: Process,
}

impl Running {
    async fn start(test: &str, flavor: &str) -> Result<Self> {
        let site = Site::new(&format!("{test}-{flavor}"))?;
        let server = Mysql::start(flavor, &site.path("mysql")).await?;
        let statements = [
            "CREATE DATABASE xa",
            "CREATE TABLE xa.doc (id INT PRIMARY KEY, body TEXT)",
            // Its rows are held as they came, compressed.
            "SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10",
        ];
        execute(&mut server.connect().await?, &statements).await?;
        site.configure_dts(&server.address(), SCHEMA)?;
        site.configure_worker(&recording_listener("all", &site.path("recorded"), &[])?)?;
        let (dts, worker) = (site.start_dts()?, site.start_worker()?);
        Ok(Self { site, server, dts, worker })
    }

    async fn execute(&self, statements: &[&str]) -> Result<()> {
        let conn = &mut self.server.connect().await?;
        execute(conn, &["USE xa"]).await?;
        execute(conn, statements).await
    }

    /// Prepares one in a domain, and lets go of it.
    async fn prepare(&self, (name, domain): (&str, u32), change: &str) -> Result<()> {
        let domain = format!("SET SESSION gtid_domain_id = {domain}");
        let [start, end, prepare] =
            ["START", "END", "PREPARE"].map(|verb| format!("XA {verb} '{name}'"));
        self.execute(&[&domain, &start, change, &end, &prepare]).await
    }

    /// Ends one, once the session that prepared it is gone.
    async fn settle(&self, verb: &str, name: &str) -> Result<()> {
        let statement = format!("XA {verb} '{name}'");
        wait_until("the transaction is let go of", PATIENCE, async || {
            self.execute(&[&statement]).await.is_ok()
        })
        .await
    }

    async fn status(&self) -> Value {
        self.site.ask_dts("/api/v1/status").await.unwrap_or_default()
    }

    async fn published(&self, records: u64) -> Result<()> {
        wait_until("so many records are published", PATIENCE, async || {
            self.status().await["accounting"]["published"].as_u64() == Some(records)
        })
        .await
    }

    /// The saved position is behind everything that the server has.
    async fn is_at_the_end(&self) -> Result<()> {
        let query = "SELECT @@gtid_binlog_pos";
        let end: Option<String> = self.server.connect().await?.query_first(query).await?;
        let end = sorted(&end.context("no GTIDs")?);
        wait_until("the position is that of the server", PATIENCE, async || {
            let status = self.status().await;
            sorted(status["position"]["gtidSet"].as_str().unwrap_or_default()) == end
        })
        .await
    }

    async fn kill_dts(&mut self) -> Result<()> {
        self.dts.kill().await?;
        self.dts = self.site.start_dts()?;
        Ok(())
    }

    fn end(self) -> Result<()> {
        drop((self.worker, self.dts, self.server));
        self.site.remove()
    }
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
        let mut running = Running::start("xa", flavor).await?;
        let rows = "INSERT INTO doc VALUES (1, REPEAT('one ', 50)), (2, REPEAT('two ', 50))";
        running.prepare(("held", 0), rows).await?;
        running.prepare(("dropped", 3), "INSERT INTO doc VALUES (3, 'dropped')").await?;
        running.execute(&["FLUSH BINARY LOGS", "INSERT INTO doc VALUES (4, 'four')"]).await?;
        running.published(1).await?;
        wait_until("the oldest file that is needed is told", PATIENCE, async || {
            running.status().await["binlog"]["oldestFileNeeded"] == "binlog.000001"
        })
        .await?;
        running.kill_dts().await?;
        running.settle("ROLLBACK", "dropped").await?;
        running.execute(&["INSERT INTO doc VALUES (5, 'five')"]).await?;
        running.published(2).await?;
        running.kill_dts().await?;
        running.settle("COMMIT", "held").await?;
        running.published(4).await?;
        running.kill_dts().await?;
        let at_once = ["XA START 'once'", "INSERT INTO doc VALUES (6, 'six')", "XA END 'once'"];
        running.execute(&[&at_once[..], &["XA COMMIT 'once' ONE PHASE"]].concat()).await?;
        running.published(5).await?;
        running.is_at_the_end().await?;
        ensure!(running.dts.is_running()?, "{}", running.dts.output());
        let (site, server) = (&running.site, &running.server);
        let recording = site.wait_for_all(&site.path("recorded"), server, SCHEMA).await?;
        recording.check_ids()?;
        let rebuilt = Rebuilt::from_recording(&recording)?;
        let rows = rebuilt.check_table(&mut server.connect().await?, SCHEMA, "doc").await?;
        ensure!(rows == 5, "{rows} rows");
        println!("{flavor}: {:?}", recording.done_ids());
        running.end()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_of_mariadb_whose_file_is_purged_is_refused() -> Result<()> {
    let mut running = Running::start("xa-purged", "mariadb-11.8").await?;
    running.prepare(("held", 0), "INSERT INTO doc VALUES (1, 'one')").await?;
    running.execute(&["FLUSH BINARY LOGS", "INSERT INTO doc VALUES (2, 'two')"]).await?;
    running.published(1).await?;
    running.dts.kill().await?;
    // A file stays until the server has noted that it does not need it after a crash.
    wait_until("the older file is purged", PATIENCE, async || {
        let purged = running.execute(&["PURGE BINARY LOGS TO 'binlog.000002'"]).await;
        let files = "SHOW BINARY LOGS";
        let Ok(mut conn) = running.server.connect().await else { return false };
        let files: Vec<Row> = conn.query(files).await.unwrap_or_default();
        purged.is_ok() && files.len() == 1
    })
    .await?;
    let part = "has purged our binlog file binlog.000001";
    running.site.expect_refusal("purged", &[part, "dts position set"]).await?;
    // The operator decides to go on without it; should it be committed, that is told.
    let (code, output) = running.site.run_dts(&["position", "set", "latest"]).await?;
    ensure!(code == Some(0), "{code:?} {output}");
    running.dts = running.site.start_dts()?;
    running.settle("COMMIT", "held").await?;
    running.execute(&["INSERT INTO doc VALUES (3, 'three')"]).await?;
    running.published(1).await?;
    let output = running.dts.output();
    ensure!(output.contains("stands before the place that dts was started at"), "{output}");
    running.end()
}
