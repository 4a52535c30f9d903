//! `Seq` is a version number: it grows over everything that may happen to `dts` and its bus.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::Site,
    running::{Source, Victim},
};

/// The number of each event that the handler was given, in this order. One that was given again,
/// since its commit was lost in a kill, counts once.
fn numbers(site: &Site) -> Vec<u64> {
    let recording = site.recording();
    let mut seen = BTreeSet::new();
    let numbers = recording.done().filter_map(|event| event.seq);
    numbers.filter(|seq| seen.insert(*seq)).collect()
}

async fn wait_for(site: &Site, events: usize) -> Result<()> {
    wait_until("the listener gets them", PATIENCE, async || numbers(site).len() >= events).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_grows_over_a_restart_a_forgotten_position_a_full_sync_and_the_loss_of_the_log()
-> Result<()> {
    let statements = [
        "CREATE DATABASE shop",
        "CREATE TABLE shop.item (id INT PRIMARY KEY, v INT)",
        "INSERT INTO shop.item VALUES (1, 0)",
        "UPDATE shop.item SET v = 1",
    ];
    let source = Source::start("versions").await?.capture("shop", &statements).await?;
    let mut running = source.run()?;
    wait_for(&running.site, 2).await?;

    running.kill(Victim::Dts).await?;
    running.execute(&["UPDATE shop.item SET v = 2"]).await?;
    wait_for(&running.site, 3).await?;

    running.dts.kill().await?;
    let (code, output) = running.site.run_dts(&["position", "reset"]).await?;
    ensure!(code == Some(0), "{output}");
    running.dts = running.site.start_dts()?;
    // From the oldest binlog on, all come again.
    wait_for(&running.site, 6).await?;
    let (status, answer) = running.site.call_worker("GET", "/?table=item&listenerid=all").await?;
    ensure!(status == 202, "{answer}");
    wait_for(&running.site, 7).await?;

    running.dts.kill().await?;
    running.worker.kill().await?;
    std::fs::remove_dir_all(running.site.path("data/event-log"))?;
    running.dts = running.site.start_dts()?;
    running.worker = running.site.start_worker()?;
    wait_for(&running.site, 10).await?;

    let numbers = numbers(&running.site);
    ensure!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    ensure!(numbers.iter().all(|seq| *seq < 1 << 53), "{numbers:?}");
    let shown = running.site.ask_dts("/api/v1/status").await?;
    ensure!(shown["position"]["seq"].as_u64() >= numbers.last().copied(), "{shown}");
    running.end().await
}
