//! Another host takes over: two real servers that replicate, and what happens to the stream.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    pair::{ACCEPT, Pair, SCHEMA},
    processes::{PATIENCE, wait_until},
    programs::{REFUSED, seed, size},
    replication::{follow, gtids, promote, received, wait_for},
    running::Source,
    servers::execute,
    workload::Workload,
};
use mysql_async::{Conn, prelude::Queryable};

/// Run on the source, so that a commit returns only when the replica has received it.
pub(crate) const SEMI_SYNCHRONOUS_SOURCE: [&str; 4] = [
    "SET sql_log_bin = 0",
    "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
    "SET GLOBAL rpl_semi_sync_source_enabled = 1",
    "SET GLOBAL rpl_semi_sync_source_timeout = 600000",
];

/// Run on its replica.
pub(crate) const SEMI_SYNCHRONOUS_REPLICA: [&str; 5] = [
    "SET sql_log_bin = 0",
    "INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'",
    "SET GLOBAL rpl_semi_sync_replica_enabled = 1",
    "STOP REPLICA IO_THREAD",
    "START REPLICA IO_THREAD",
];

async fn rows(conn: &mut Conn, query: &str) -> Result<u64> {
    Ok(conn.query_first::<u64, _>(query).await?.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_of_a_semi_synchronous_source_nothing_is_missing() -> Result<()> {
    // dts may have read what no replica has acknowledged. No application was answered that this
    // is committed, so nothing is lost that anybody had.
    let mut pair = Pair::start("failover-semi", "9.7", ACCEPT).await?;
    pair.first.execute(&SEMI_SYNCHRONOUS_SOURCE).await?;
    pair.second.execute(&SEMI_SYNCHRONOUS_REPLICA).await?;
    let seed = seed();
    let load = Workload::start(&pair.first.url(), SCHEMA, u64::MAX / 4, seed);
    load.allow(size(3_000, 30_000));
    wait_until("the load is under way", PATIENCE, async || load.made() > 1_500).await?;
    let mut status = pair.first.connect().await?;
    let semi: Option<(String, u64)> =
        status.query_first("SHOW STATUS LIKE 'Rpl_semi_sync_source_yes_tx'").await?;
    drop(status);
    pair.first.kill().await?;
    let acknowledged = load.made();
    // A writer that was cut off in its transaction may complain.
    let _ = load.stop().await;
    promote(&pair.second).await?;
    Workload::start(&pair.second.url(), SCHEMA, 500, seed + 1).finish().await?;

    let (recording, beyond) = pair.wait_for_second().await?;
    let (done, loss) = (recording.done().count(), &pair.status().await["lostTransactions"]);
    println!(
        "{acknowledged} rows acknowledged, {semi:?}, {done} events, unacknowledged {beyond:?}"
    );
    ensure!(
        semi.is_some_and(|(_, waited)| waited > 100),
        "the replication was not semi-synchronous"
    );
    ensure!(beyond.is_empty() == loss.is_null(), "{beyond:?} {loss}");
    if beyond.is_empty() {
        pair.check_tables(&recording).await?;
    }
    ensure!(pair.dts.is_running()?, "dts ended: {}", pair.dts.output());
    ensure!(pair.dts.output().contains("another host takes over"), "{}", pair.dts.output());
    pair.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_transactions_are_named_with_their_tables_and_refused_or_accepted() -> Result<()> {
    let mut pair = Pair::start("failover-lost", "9.7", "").await?;
    let seed = seed();
    Workload::start(&pair.first.url(), SCHEMA, 500, seed).finish().await?;
    pair.wait_for_replica().await?;
    pair.second.execute(&["STOP REPLICA IO_THREAD"]).await?;
    let before = pair.status().await["accounting"]["published"].as_u64().unwrap_or_default();
    let mut source = pair.first.connect().await?;
    execute(
        &mut source,
        &[
            "USE shop",
            "INSERT INTO account VALUES (9001, 1.5, NOW(3), 'lost')",
            "BEGIN",
            "INSERT INTO setting VALUES ('lost', 'lost', 1)",
            "INSERT INTO account VALUES (9002, 1.5, NOW(3), 'lost')",
            "COMMIT",
        ],
    )
    .await?;
    pair.site.wait_for_published(before + 3).await?;
    let lost = gtids(&pair.first).await?;
    let (uuid, numbers) = lost.split_once(':').context("no GTIDs")?;
    let last: u64 = numbers.rsplit_once('-').context("no interval")?.1.parse()?;
    drop(source);
    pair.first.kill().await?;
    promote(&pair.second).await?;

    let named = format!("{uuid}:{}-{last}", last - 1);
    let beyond = pair.accept_two_lost(&named, seed + 1).await?;
    let mut expected =
        [format!("{uuid}:{}#0", last - 1), format!("{uuid}:{last}#0"), format!("{uuid}:{last}#1")];
    expected.sort();
    ensure!(beyond == expected, "only the lost ones are beyond: {beyond:?}");
    pair.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_switch_under_load_loses_and_repeats_nothing() -> Result<()> {
    let mut pair = Pair::start("failover-switch", "9.7", "").await?;
    let seed = seed();
    let load = Workload::start(&pair.first.url(), SCHEMA, u64::MAX / 4, seed);
    load.allow(size(3_000, 30_000));
    wait_until("the load is under way", PATIENCE, async || load.made() > 1_500).await?;
    pair.first.execute(&["SET GLOBAL super_read_only = ON"]).await?;
    let _ = load.stop().await;
    pair.wait_for_replica().await?;
    promote(&pair.second).await?;
    // An errant transaction: only the new source has it, under its own uuid.
    let errant = "INSERT INTO shop.account VALUES (9001, 1.5, NOW(3), 'errant')";
    pair.second.execute(&[errant]).await?;
    let load = Workload::start(&pair.second.url(), SCHEMA, u64::MAX / 4, seed + 1);
    load.allow(2_000);
    follow(&pair.first, &pair.second, "").await?;
    wait_until("the new source is written to", PATIENCE, async || load.made() > 1_000).await?;
    pair.first.kill().await?;
    wait_until("all is written", PATIENCE, async || load.made() >= 2_000).await?;
    load.stop().await?;

    let (recording, beyond) = pair.wait_for_second().await?;
    ensure!(beyond.is_empty(), "invented: {beyond:?}");
    let ids = recording.done_ids().len();
    pair.check_tables(&recording).await?;
    let status = pair.status().await;
    ensure!(status["source"]["address"] == pair.second.address(), "{status}");
    ensure!(status["lostTransactions"].is_null(), "{status}");
    println!("{ids} events over the switch");

    // And back: the old source comes again as a replica, and the new one goes.
    pair.first.restart().await?;
    let mut old = pair.first.connect().await?;
    wait_for(&pair.first, &pair.second).await?;
    ensure!(rows(&mut old, "SELECT COUNT(*) FROM shop.account WHERE id = 9001").await? == 1);
    pair.second.kill().await?;
    execute(&mut old, &["STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL read_only = OFF"]).await?;
    execute(&mut old, &["INSERT INTO shop.account VALUES (9002, 1.5, NOW(3), 'back')"]).await?;
    wait_until("the first host is read again", PATIENCE, async || {
        pair.site.recording().done_ids().len() == ids + 1
    })
    .await?;
    ensure!(pair.dts.is_running()?, "dts ended: {}", pair.dts.output());
    pair.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_behind_is_waited_for() -> Result<()> {
    let mut pair = Pair::start("failover-behind", "9.7", "").await?;
    pair.wait_for_replica().await?;
    pair.second.execute(&["STOP REPLICA"]).await?;
    follow(&pair.second, &pair.first, ", SOURCE_DELAY = 12").await?;
    let insert = "INSERT INTO shop.account VALUES (1, 1.5, NOW(3), 'late')";
    pair.first.execute(&[insert]).await?;
    pair.site.wait_for_published(1).await?;
    let mut replica = pair.second.connect().await?;
    wait_until("the replica has received it", PATIENCE, async || {
        received(&pair.second).await.is_ok_and(|set| !set.is_empty())
    })
    .await?;
    pair.first.kill().await?;
    wait_until("dts waits", PATIENCE, async || {
        pair.dts.output().contains("behind what we have read")
    })
    .await?;
    wait_until("the replica takes over", PATIENCE, async || {
        let status = pair.status().await;
        status["source"]["address"] == pair.second.address()
    })
    .await?;
    promote(&pair.second).await?;
    let insert = "INSERT INTO shop.account VALUES (2, 1.5, NOW(3), 'after')";
    execute(&mut replica, &[insert]).await?;
    let (recording, beyond) = pair.wait_for_second().await?;
    ensure!(beyond.is_empty() && recording.done_ids().len() == 2, "{beyond:?}");
    ensure!(pair.dts.is_running()?, "dts ended: {}", pair.dts.output());
    pair.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_goes_on_inside_a_transaction() -> Result<()> {
    const ROWS: usize = 60_000;
    let mut pair = Pair::start("failover-inside", "9.7", "").await?;
    pair.dts.kill().await?;
    let mut source = pair.first.connect().await?;
    execute(
        &mut source,
        &[
            "CREATE TABLE shop.big (id INT PRIMARY KEY, content VARCHAR(1100))",
            "SET SESSION cte_max_recursion_depth = 10000000",
        ],
    )
    .await?;
    let insert = format!(
        "INSERT INTO shop.big WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n \
         WHERE i < {ROWS}) SELECT i, REPEAT(CHAR(65 + i % 26), 1000) FROM n"
    );
    execute(&mut source, &[&insert]).await?;
    pair.wait_for_replica().await?;
    pair.dts = pair.site.start_dts()?;
    let mut skip = 0;
    wait_until("dts is inside the transaction", PATIENCE, async || {
        let status = pair.status().await;
        skip = status["position"]["skip"].as_u64().unwrap_or_default();
        skip > 0
    })
    .await?;
    pair.dts.kill().await?;
    pair.first.kill().await?;
    promote(&pair.second).await?;
    pair.dts = pair.site.start_dts()?;
    let (recording, beyond) = pair.wait_for_second().await?;
    let done = recording.done_ids().len();
    println!("{done} events, taken over behind {skip} or more");
    ensure!(beyond.is_empty() && done == ROWS, "{done} {beyond:?}");
    pair.remove()
}

/// Copies a folder with all that is in it.
fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_older_backup_is_noticed() -> Result<()> {
    for (name, options, parts) in [
        ("gtid", vec![], ["is a restored backup. They changed shop.t", "onLostTransactions"]),
        ("file", vec!["--gtid-mode=OFF"], ["restored from a backup", "dts position set earliest"]),
    ] {
        let tables = ["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)"];
        let source = Source::start_on(&format!("restored-{name}"), ("9.7", &options)).await?;
        let Source { site, mut mysql, .. } = source.capture("shop", &tables).await?;
        mysql.kill().await?;
        let (data, backup) = (mysql.data(), site.path("backup"));
        copy(&data, &backup)?;
        mysql.restart().await?;
        mysql.execute(&["INSERT INTO shop.t VALUES (1)", "FLUSH BINARY LOGS"]).await?;
        mysql.execute(&["FLUSH BINARY LOGS", "INSERT INTO shop.t VALUES (2)"]).await?;
        let mut dts = site.start_dts()?;
        site.wait_for_exactly(2).await?;
        mysql.kill().await?;
        std::fs::remove_dir_all(&data)?;
        copy(&backup, &data)?;
        mysql.restart().await?;
        // It is the running dts that notices.
        let status = tokio::time::timeout(Duration::from_secs(60), dts.ended()).await??;
        let output = dts.output();
        ensure!(status.code() == Some(REFUSED), "{name}: {status}\n{output}");
        for part in parts {
            ensure!(output.contains(part), "{name}: {part:?} is not in\n{output}");
        }
        println!("{}", output.lines().last().unwrap_or_default());
        drop((dts, mysql));
        site.remove()?;
    }
    Ok(())
}
