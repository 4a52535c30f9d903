//! What may happen to the source of changes, and that `dts` continues by itself.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::{REFUSED, seed, size},
    proxy::Proxy,
    running::{Running, Source},
    servers::execute,
    workload::{self, Workload},
};
use mysql_async::prelude::Queryable;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

const SCHEMA: &str = "shop";

/// Starts everything, with the workload's tables; `dts` reads over a proxy.
async fn start(test: &str) -> Result<(Running, Proxy)> {
    let source = Source::start(test).await?.capture(SCHEMA, &[]).await?;
    workload::create_tables(&mut source.mysql.connect().await?, SCHEMA).await?;
    let proxy = Proxy::start(source.mysql.address()).await?;
    source.site.configure_dts(&proxy.address(), SCHEMA)?;
    Ok((source.run()?, proxy))
}

/// Waits for every change, checks the rules, and cleans up.
async fn finish(running: Running) -> Result<()> {
    running.all_handled(SCHEMA).await?;
    println!("peak RSS of dts: {} KiB", running.dts.peak_resident_kib()?);
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_away_under_load_is_waited_for() -> Result<()> {
    let (mut running, _proxy) = start("mysql-away").await?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, 4_000, seed());
    load.allow(2_000);
    wait_until("half the load is there", PATIENCE, async || load.made() >= 1_000).await?;
    running.mysql.kill().await?;
    tokio::time::sleep(Duration::from_secs(size(5, 60))).await;
    running.mysql.restart().await?;
    load.finish().await?;
    finish(running).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_at_any_byte_loses_nothing() -> Result<()> {
    let (seed, cuts) = (seed(), size(12, 60));
    let mut random = SmallRng::seed_from_u64(seed);
    let (running, proxy) = start("cut").await?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, u64::MAX / 4, seed);
    for cut in 0..cuts {
        proxy.cut_after(random.random_range(0..40_000));
        wait_until("the connection is cut", PATIENCE, async || {
            load.allow(50);
            proxy.cuts() > cut
        })
        .await?;
    }
    load.stop().await?;
    finish(running).await
}

#[tokio::test(flavor = "multi_thread")]
async fn new_binlog_files_under_load_lose_nothing() -> Result<()> {
    let (running, _proxy) = start("flush").await?;
    let load = Workload::start(&running.mysql.url(), SCHEMA, 6_000, seed());
    let mut server = running.mysql.connect().await?;
    for _ in 0..30 {
        load.allow(200);
        server.query_drop("FLUSH BINARY LOGS").await?;
    }
    load.finish().await?;
    finish(running).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_transaction_passes_in_bounded_memory() -> Result<()> {
    const MAX_RESIDENT_KIB: u64 = 64 * 1024;
    let megabytes = size(128, 1024);
    let table = "CREATE TABLE huge.big (id INT AUTO_INCREMENT PRIMARY KEY, content VARCHAR(1100))";
    let source = Source::start("huge").await?;
    let source = source.capture("huge", &["CREATE DATABASE huge", table]).await?;
    source.site.record(&["--count"])?;
    let running = source.run()?;

    let rows = megabytes * 1024;
    let insert = format!(
        "INSERT INTO huge.big (content) WITH RECURSIVE n AS \
         (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         SELECT REPEAT(CHAR(65 + i % 26), 1000) FROM n"
    );
    running.execute(&["SET SESSION cte_max_recursion_depth = 10000000", &insert]).await?;
    let mut counted = 0;
    wait_until("every row is handled", PATIENCE * 10, async || {
        counted = running.site.recording().calls.iter().map(|call| call.count).sum();
        counted >= rows
    })
    .await?;
    let listener = e2e::programs::listener_pid(&running.worker).await?;
    let dts_kib = running.dts.peak_resident_kib()?;
    let listener_kib = e2e::processes::peak_resident_kib(listener)?;
    println!("{rows} rows; peak RSS: dts {dts_kib} KiB, listener {listener_kib} KiB");
    ensure!(counted == rows, "{rows} rows, but {counted} handled");
    ensure!(dts_kib < MAX_RESIDENT_KIB, "dts took {dts_kib} KiB");
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_damaged_is_read_again_and_the_same_place_once_more_ends_dts() -> Result<()> {
    let (mut running, proxy) = start("damaged").await?;
    let damage: (&[u8], &[u8]) = (b"flip this", b"flip that");
    let items = "CREATE TABLE shop.item (id INT PRIMARY KEY, v VARCHAR(60))";
    let mut conn = running.mysql.connect().await?;
    execute(&mut conn, &[items, "INSERT INTO shop.item VALUES (1, 'one')"]).await?;
    running.site.wait_for_published(1).await?;
    proxy.damage_times(damage, 1);
    let inserts = ["INSERT INTO shop.item VALUES (2, 'flip this one')"];
    execute(&mut conn, &inserts).await?;
    running.site.wait_for_published(2).await?;
    ensure!(running.dts.is_running()?, "{}", running.dts.output());
    ensure!(running.dts.output().contains("is damaged: its CRC32 is wrong"), "nothing is told");

    proxy.damage_times(damage, u64::MAX);
    execute(&mut conn, &["INSERT INTO shop.item VALUES (3, 'flip this too')"]).await?;
    let status = running.dts.ended().await?;
    let output = running.dts.output();
    ensure!(status.code() == Some(REFUSED), "{status}\n{output}");
    ensure!(
        output.contains("its CRC32 is wrong") && output.contains("two connections"),
        "{output}"
    );
    proxy.damage_times(damage, 0);
    running.dts = running.site.start_dts()?;
    running.site.wait_for_published(3).await?;
    finish(running).await
}
