//! What happens to the source of changes, and how `dts` goes on by itself.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{
    processes::{PATIENCE, Process, wait_until},
    programs::{REFUSED, Site, recording_listener, seed, size},
    proxy::Proxy,
    servers::{Mysql, execute},
    workload::{self, Workload},
};
use mysql_async::prelude::Queryable;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

const SCHEMA: &str = "shop";

/// Everything started, with the workload's tables, and `dts` behind a proxy.
struct Running {
    site: Site,
    mysql: Mysql,
    proxy: Proxy,
    dts: Process,
    worker: Process,
}

impl Running {
    async fn start(test: &str) -> Result<Self> {
        let site = Site::new(test)?;
        let mysql = site.start_mysql().await?;
        let proxy = Proxy::start(mysql.address()).await?;
        workload::create_tables(&mut mysql.connect().await?, SCHEMA).await?;
        site.configure_dts(&proxy.address(), SCHEMA)?;
        site.configure_worker(&recording_listener("all", &site.path("recorded"), &[])?)?;
        let (dts, worker) = (site.start_dts()?, site.start_worker()?);
        Ok(Self { site, mysql, proxy, dts, worker })
    }

    /// Waits for every change, checks the rules, and cleans up.
    async fn finish(self) -> Result<()> {
        let recorded = self.site.path("recorded");
        let recording = self.site.wait_for_all(&recorded, &self.mysql, SCHEMA).await?;
        recording.check_ids()?;
        recording.check_order()?;
        println!("peak RSS of dts: {} KiB", self.dts.peak_resident_kib()?);
        drop((self.worker, self.dts, self.mysql));
        self.site.remove()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_away_under_load_is_waited_for() -> Result<()> {
    let mut running = Running::start("mysql-away").await?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, 4_000, seed());
    load.allow(2_000);
    wait_until("half the load is there", PATIENCE, async || load.made() >= 1_000).await?;
    running.mysql.kill().await?;
    tokio::time::sleep(Duration::from_secs(size(5, 60))).await;
    running.mysql.restart().await?;
    load.finish().await?;
    running.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_at_any_byte_loses_nothing() -> Result<()> {
    let (seed, cuts) = (seed(), size(12, 60));
    let mut random = SmallRng::seed_from_u64(seed);
    let running = Running::start("cut").await?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, u64::MAX / 4, seed);
    for cut in 0..cuts {
        running.proxy.cut_after(random.random_range(0..40_000));
        wait_until("the connection is cut", PATIENCE, async || {
            load.allow(50);
            running.proxy.cuts() > cut
        })
        .await?;
    }
    load.stop().await?;
    running.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn new_binlog_files_under_load_lose_nothing() -> Result<()> {
    let running = Running::start("flush").await?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, 6_000, seed());
    let mut server = running.mysql.connect().await?;
    for _ in 0..30 {
        load.allow(200);
        server.query_drop("FLUSH BINARY LOGS").await?;
    }
    load.finish().await?;
    running.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_transaction_passes_in_bounded_memory() -> Result<()> {
    const MAX_RESIDENT_KIB: u64 = 64 * 1024;
    let megabytes = size(128, 1024);
    let site = Site::new("huge")?;
    let mysql = site.start_mysql().await?;
    let mut server = mysql.connect().await?;
    execute(&mut server, &["CREATE DATABASE huge", "USE huge"]).await?;
    execute(
        &mut server,
        &[
            "CREATE TABLE big (id INT AUTO_INCREMENT PRIMARY KEY, content VARCHAR(1100))",
            "SET SESSION cte_max_recursion_depth = 10000000",
        ],
    )
    .await?;
    site.configure_dts(&mysql.address(), "huge")?;
    let counting = recording_listener("all", &site.path("counted"), &["--count"])?;
    site.configure_worker(&counting)?;
    let (dts, worker) = (site.start_dts()?, site.start_worker()?);

    let rows = megabytes * 1024;
    let insert = format!(
        "INSERT INTO big (content) WITH RECURSIVE n AS \
         (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         SELECT REPEAT(CHAR(65 + i % 26), 1000) FROM n"
    );
    execute(&mut server, &[&insert]).await?;
    let mut counted = 0;
    wait_until("every row is handled", PATIENCE * 10, async || {
        let recording = e2e::recording::Recording::read(&site.path("counted"));
        counted = recording.map_or(0, |r| r.calls.iter().map(|call| call.count).sum());
        counted >= rows
    })
    .await?;
    let listener = e2e::programs::listener_pid(&worker).await?;
    let dts_kib = dts.peak_resident_kib()?;
    let listener_kib = e2e::processes::peak_resident_kib(listener)?;
    println!("{rows} rows; peak RSS: dts {dts_kib} KiB, listener {listener_kib} KiB");
    ensure!(counted == rows, "{rows} rows, but {counted} handled");
    ensure!(dts_kib < MAX_RESIDENT_KIB, "dts took {dts_kib} KiB");
    drop((dts, worker, mysql));
    site.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_damaged_is_read_again_and_the_same_place_once_more_ends_dts() -> Result<()> {
    let mut running = Running::start("damaged").await?;
    let damage: (&[u8], &[u8]) = (b"flip this", b"flip that");
    let items = "CREATE TABLE shop.item (id INT PRIMARY KEY, v VARCHAR(60))";
    let mut conn = running.mysql.connect().await?;
    execute(&mut conn, &[items, "INSERT INTO shop.item VALUES (1, 'one')"]).await?;
    running.site.wait_for_published(1).await?;
    running.proxy.damage_times(damage, 1);
    let inserts = ["INSERT INTO shop.item VALUES (2, 'flip this one')"];
    execute(&mut conn, &inserts).await?;
    running.site.wait_for_published(2).await?;
    ensure!(running.dts.is_running()?, "{}", running.dts.output());
    ensure!(running.dts.output().contains("is damaged: its CRC32 is wrong"), "nothing is told");

    running.proxy.damage_times(damage, u64::MAX);
    execute(&mut conn, &["INSERT INTO shop.item VALUES (3, 'flip this too')"]).await?;
    let status = running.dts.ended().await?;
    let output = running.dts.output();
    ensure!(status.code() == Some(REFUSED), "{status}\n{output}");
    ensure!(
        output.contains("its CRC32 is wrong") && output.contains("two connections"),
        "{output}"
    );
    running.proxy.damage_times(damage, 0);
    running.dts = running.site.start_dts()?;
    running.site.wait_for_published(3).await?;
    running.finish().await
}
