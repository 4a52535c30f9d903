//! The source stops during a full sync, and another host takes over: the full sync continues there.

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::{Site, seed, size},
    replication::{follow, promote, start_server, wait_for},
    servers::Mysql,
    writers::Writers,
};
use mysql_async::prelude::Queryable;

use super::{
    Running, SCHEMA, Source, TABLE, begin, fill,
    loss::{is_right, loss, make_right},
};
use crate::failover::{SEMI_SYNCHRONOUS_REPLICA, SEMI_SYNCHRONOUS_SOURCE};

/// Changes a second.
const RATE: u64 = 400;

/// Added to `[source]`.
pub(super) const ACCEPT: &str = "onLostTransactions = \"accept\"\n";

/// A source with its replica, and the programs around both.
pub(super) struct Replicated {
    pub(super) running: Running,
    pub(super) replica: Mysql,
}

/// How many rows the table has, and what is in `[fullSync]` so that it takes half a minute.
pub(super) fn slow() -> (u64, String) {
    let rows = size(20_000, 100_000);
    (rows, format!("maxRate = {}\nchunkBytes = \"64KiB\"", rows / 20))
}

impl Replicated {
    /// `flavor` is that of both servers; `source` is added to `[source]`, after its hosts, and
    /// `more` to `[fullSync]`.
    pub(super) async fn start(
        (test, flavor): (&str, &str),
        source: &str,
        (rows, more): (u64, &str),
    ) -> Result<Self> {
        let site = Site::new(test)?;
        let first = start_server(&site, flavor, "first").await?;
        let replica = start_server(&site, flavor, "second").await?;
        fill(&first, rows).await?;
        follow(&replica, &first, "").await?;
        wait_for(&replica, &first).await?;
        site.configure_hosts(&[&first.address(), &replica.address()], SCHEMA, source)?;
        let running = begin(Source { site, mysql: first, kafka: None }, more, &["search"]).await?;
        Ok(Self { running, replica })
    }

    /// Waits until `dts` reads from what was the replica, which is the source of the test then.
    pub(super) async fn taken_over(&mut self) -> Result<()> {
        let running = &mut self.running;
        let replica = self.replica.address();
        let outcome = wait_until("the other host takes over", PATIENCE * 2, async || {
            let status = running.site.status().await;
            status["source"]["address"] == replica && status["state"] == "streaming"
        });
        outcome.await.with_context(|| running.dts.output())?;
        std::mem::swap(&mut running.mysql, &mut self.replica);
        Ok(())
    }

    /// How many rows the full sync has sent: it is still at work.
    async fn sent(&self, id: &str) -> Result<u64> {
        let task = self.running.task(id).await?;
        ensure!(task["state"] == "running", "{task}");
        task["rows"].as_u64().with_context(|| task.to_string())
    }

    pub(super) async fn stop(self) -> Result<()> {
        drop(self.replica);
        self.running.end().await
    }
}

/// The sessions that write a table are let go, and none of them has a change under way.
async fn quiet(source: &Mysql, writers: &Writers) -> Result<()> {
    const OTHERS: &str = "SELECT COUNT(*) FROM information_schema.processlist \
         WHERE user = 'root' AND id <> CONNECTION_ID()";
    writers.hold();
    let mut server = source.connect().await?;
    wait_until("no writer is connected", PATIENCE, async || {
        server.query_first::<u64, _>(OTHERS).await.is_ok_and(|others| others == Some(0))
    })
    .await
}

async fn survive_switch(test: &str, flavor: &str) -> Result<()> {
    let (rows, more) = slow();
    let mut servers = Replicated::start((test, flavor), "", (rows, &more)).await?;
    let writers = Writers::start(&servers.running.mysql.url(), (TABLE, rows), RATE, seed());
    let id = servers.running.sync("search", "").await?;
    servers.running.under_way(&id).await?;
    let Replicated { running, replica } = &mut servers;
    quiet(&running.mysql, &writers).await?;
    running.mysql.execute(&["SET GLOBAL read_only = ON"]).await?;
    wait_for(replica, &running.mysql).await?;
    promote(replica).await?;
    let old = running.task(&id).await?["rows"].as_u64().unwrap_or_default();
    if running.mysql.is_mariadb() {
        let as_replica = "SET GLOBAL gtid_slave_pos = @@gtid_binlog_pos";
        running.mysql.execute(&[as_replica]).await?;
    }
    follow(&running.mysql, replica, "").await?;
    writers.go_to(&replica.url());
    let made = writers.made();
    // The full sync still reads the old source, which is a replica now.
    wait_until("the new source is written to, the old one is read", PATIENCE, async || {
        let task = running.task(&id).await.unwrap_or_default();
        writers.made() > made + RATE && task["rows"].as_u64() > Some(old)
    })
    .await?;
    running.mysql.kill().await?;
    servers.taken_over().await?;
    let at = servers.sent(&id).await?;
    let running = &servers.running;
    let task = running.done(&id).await?;
    let made = writers.stop().await?;
    let picture = running.complete("search").await?;
    let status = running.site.ask_dts("/api/v1/status").await?;
    ensure!(status["lostTransactions"].is_null(), "{status}");
    println!(
        "{flavor}: switched at {old} rows, taken over at {at} of {}; {} rows synced, {} changes \
         received of {made} made, {} repeated",
        task["rows"], picture.synced, picture.live, picture.repeated
    );
    servers.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_sync_goes_on_over_a_planned_switch() -> Result<()> {
    survive_switch("full-sync-switch", "9.7").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "as on MySQL: scripts/test.sh --all"]
async fn a_full_sync_of_mariadb_goes_on_over_a_planned_switch() -> Result<()> {
    survive_switch("full-sync-switch-mariadb", "mariadb-11.8").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_sync_goes_on_after_a_crash_of_a_semi_synchronous_source() -> Result<()> {
    let (rows, more) = slow();
    let mut servers = Replicated::start(("full-sync-crash", "9.7"), ACCEPT, (rows, &more)).await?;
    let Replicated { running, replica } = &mut servers;
    let source = &mut running.mysql;
    source.execute(&SEMI_SYNCHRONOUS_SOURCE).await?;
    replica.execute(&SEMI_SYNCHRONOUS_REPLICA).await?;
    let writers = Writers::start(&running.mysql.url(), (TABLE, rows), RATE, seed());
    let id = running.sync("search", "").await?;
    running.under_way(&id).await?;
    running.mysql.kill().await?;
    promote(replica).await?;
    writers.go_to(&replica.url());
    servers.taken_over().await?;
    let at = servers.sent(&id).await?;
    let running = &servers.running;
    let task = running.done(&id).await?;
    let loss = loss(running).await?;
    let made = writers.made();
    let picture = if loss.is_null() {
        writers.stop().await?;
        running.complete("search").await?
    } else {
        // It was sent to us and no replica acknowledged it, so no application knows of the commit.
        let since = make_right(running, &loss).await?;
        writers.stop().await?;
        is_right(running, since).await?.0
    };
    println!(
        "taken over at {at} of {} rows; {} rows synced, {} changes received of {made} made, \
         lost {loss}",
        task["rows"], picture.synced, picture.live
    );
    servers.stop().await
}
