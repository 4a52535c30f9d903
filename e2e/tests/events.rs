//! However sessions log their changes, the tables rebuilt from the events are those of MySQL.

use anyhow::{Result, ensure};
use e2e::{
    processes::{PATIENCE, Process, wait_until},
    programs::{Site, recording_listener, seed, size},
    rebuilt::Rebuilt,
    servers::{Mysql, execute},
    sessions::{self, Style, TABLE},
};
use mysql_async::prelude::Queryable as _;

const SCHEMA: &str = "styles";

struct Running {
    site: Site,
    mysql: Mysql,
    dts: Process,
    worker: Process,
}

impl Running {
    async fn start(test: &str) -> Result<Self> {
        let site = Site::new(test)?;
        let mysql = site.start_mysql().await?;
        sessions::create_table(&mut mysql.connect().await?, SCHEMA).await?;
        site.configure_dts(&mysql.address(), SCHEMA)?;
        site.configure_worker(&recording_listener("all", &site.path("recorded"), &[])?)?;
        let (dts, worker) = (site.start_dts()?, site.start_worker()?);
        Ok(Self { site, mysql, dts, worker })
    }

    async fn kill_dts(&mut self) -> Result<()> {
        self.dts.kill().await?;
        self.dts = self.site.start_dts()?;
        Ok(())
    }

    /// Every change is handled, and the table is MySQL's.
    async fn check(&self) -> Result<usize> {
        let recorded = self.site.path("recorded");
        let recording = self.site.wait_for_all(&recorded, &self.mysql, SCHEMA).await?;
        recording.check_ids()?;
        recording.check_order()?;
        let rebuilt = Rebuilt::from_recording(&recording)?;
        rebuilt.check_table(&mut self.mysql.connect().await?, SCHEMA, TABLE).await
    }

    fn end(self) -> Result<()> {
        drop((self.worker, self.dts, self.mysql));
        self.site.remove()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_rebuilt_from_every_style_of_logging_while_dts_is_killed() -> Result<()> {
    let (seed, statements) = (seed(), size(600, 5_000));
    let mut running = Running::start("styles").await?;
    let url = format!("{}/{SCHEMA}", running.mysql.url());
    for (number, style) in (0_u64..).zip(Style::ALL) {
        for (half, checksum) in [(0, "CRC32"), (1, "NONE")] {
            let mut server = running.mysql.connect().await?;
            server.query_drop(format!("SET GLOBAL binlog_checksum = {checksum}")).await?;
            let load = sessions::run(&url, (style, statements / 2), seed + 10 * number + half);
            let (made, killed) = tokio::join!(load, running.kill_dts());
            made?;
            killed?;
        }
        let rows = running.check().await?;
        println!("{style:?}: {statements} statements, {rows} rows");
        ensure!(rows > 0, "{style:?}: the table is empty, which proves nothing");
    }
    running.end()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_xa_transaction_is_published_at_its_commit_with_the_ids_of_its_prepare() -> Result<()> {
    for gtid_mode in ["ON", "OFF_PERMISSIVE"] {
        let mut running = Running::start(&format!("xa-{gtid_mode}")).await?;
        let mut server = running.mysql.connect().await?;
        if gtid_mode != "ON" {
            for mode in ["ON_PERMISSIVE", "OFF_PERMISSIVE"] {
                server.query_drop(format!("SET GLOBAL gtid_mode = {mode}")).await?;
            }
        }
        execute(
            &mut server,
            &[
                "USE styles",
                "XA START 'held'",
                "INSERT INTO doc (id, number) VALUES (1, 1), (2, 2)",
                "XA END 'held'",
                "XA PREPARE 'held'",
                "XA START 'dropped'",
                "INSERT INTO doc (id, number) VALUES (3, 3)",
                "XA END 'dropped'",
                "XA PREPARE 'dropped'",
                "INSERT INTO doc (id, number) VALUES (4, 4)",
            ],
        )
        .await?;
        published(&running, 1).await?;
        running.kill_dts().await?;
        execute(&mut server, &["XA ROLLBACK 'dropped'", "XA COMMIT 'held'"]).await?;
        published(&running, 3).await?;
        running.kill_dts().await?;
        execute(&mut server, &["INSERT INTO doc (id, number) VALUES (5, 5)"]).await?;
        published(&running, 4).await?;
        ensure!(running.dts.is_running()?, "{}", running.dts.output());
        if gtid_mode == "ON" {
            ensure!(running.check().await? == 4);
        }
        running.end()?;
    }
    Ok(())
}

async fn published(running: &Running, records: u64) -> Result<()> {
    wait_until("so many records are published", PATIENCE, async || {
        let status = running.site.ask_dts("/api/v1/status").await.unwrap_or_default();
        let published = status.pointer("/accounting/published");
        published.and_then(serde_json::Value::as_u64) == Some(records)
    })
    .await
}
