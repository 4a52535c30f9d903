//! Whatever is killed with -9 during a full sync: the listener's picture equals the table, and no
//! row goes back to an older version.

use std::time::Duration;

use anyhow::Result;
use e2e::{
    programs::{seed, size},
    running::Victim,
    workload::shuffled,
    writers::Writers,
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{Kind, TABLE, start, wait_for_stream};

/// Changes a second: inserts, updates, deletes, and updates of keys.
const RATE: u64 = 2000;

/// Sends a table, with so many kills on the way, evenly among the victims.
async fn survive(test: &str, kind: Kind, (rows, kills): (u64, u64)) -> Result<()> {
    let seed = seed();
    let mut random = SmallRng::seed_from_u64(seed);
    // It lasts as long as the kills take.
    let rate = rows / (2 * kills).max(1);
    let mut running = start(test, (kind, rows), &format!("maxRate = {rate}")).await?;
    let writers = Writers::start(&running.mysql.url(), (TABLE, rows), RATE, seed);
    let id = running.sync("search", "").await?;
    let mut victims = vec![Victim::Dts, Victim::Dts, Victim::Listener, Victim::Supervisor];
    victims.push(if kind == Kind::Kafka { Victim::Kafka } else { Victim::Mysql });
    let rounds = kills.div_ceil(victims.len() as u64);
    for victim in shuffled(&victims, rounds, &mut random) {
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1500))).await;
        let task = running.task(&id).await.unwrap_or_default();
        println!("killing {victim:?} at {} rows ({})", task["rows"], task["state"]);
        running.kill(victim).await?;
        if victim == Victim::Dts {
            wait_for_stream(&running.site).await?;
        }
    }
    let task = running.done(&id).await?;
    let made = writers.stop().await?;
    let picture = running.complete("search").await?;
    println!(
        "{kind:?}: {} rows synced, {} changes received of {made} made, {} repeated; {task}",
        picture.synced, picture.live, picture.repeated
    );
    running.end().await
}

fn sizes() -> (u64, u64) {
    (size(12_000, 100_000), size(3, 10))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_sync_over_the_log_survives_kills() -> Result<()> {
    survive("full-sync-log", Kind::Log, (size(20_000, 1_000_000), size(5, 10))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_sync_over_kafka_survives_kills() -> Result<()> {
    survive("full-sync-kafka", Kind::Kafka, (size(12_000, 1_000_000), size(3, 10))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_sync_without_gtids_survives_kills() -> Result<()> {
    survive("full-sync-no-gtids", Kind::LogWithoutGtids, sizes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_sync_of_mariadb_survives_kills() -> Result<()> {
    survive("full-sync-mariadb", Kind::LogOfMariadb, sizes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_sync_by_the_lock_of_its_table_survives_kills() -> Result<()> {
    survive("full-sync-locks", Kind::LogWithLocks, sizes()).await
}
