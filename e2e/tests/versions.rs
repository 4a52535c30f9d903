//! `Seq` is a version number: it grows over everything that may happen to `dts` and its bus.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::{Site, recording_listener},
    recording::Recording,
};
use mysql_async::prelude::Queryable as _;

/// The number of each event that the handler was given, in this order. One that was given again,
/// since its commit was lost in a kill, counts once.
fn numbers(site: &Site) -> Vec<u64> {
    let Ok(recording) = Recording::read(&site.path("recorded")) else { return Vec::new() };
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
    let site = Site::new("versions")?;
    let mysql = site.start_mysql().await?;
    let mut server = mysql.connect().await?;
    for statement in [
        "CREATE DATABASE shop",
        "CREATE TABLE shop.item (id INT PRIMARY KEY, v INT)",
        "INSERT INTO shop.item VALUES (1, 0)",
        "UPDATE shop.item SET v = 1",
    ] {
        server.query_drop(statement).await?;
    }
    site.configure_dts(&mysql.address(), "shop")?;
    site.configure_worker(&recording_listener("all", &site.path("recorded"), &[])?)?;
    let (mut dts, mut worker) = (site.start_dts()?, site.start_worker()?);
    wait_for(&site, 2).await?;

    dts.kill().await?;
    dts = site.start_dts()?;
    server.query_drop("UPDATE shop.item SET v = 2").await?;
    wait_for(&site, 3).await?;

    dts.kill().await?;
    let (code, output) = site.run_dts(&["position", "reset"]).await?;
    ensure!(code == Some(0), "{output}");
    dts = site.start_dts()?;
    // From the oldest binlog on, all come again.
    wait_for(&site, 6).await?;
    let (status, answer) = site.call_worker("GET", "/?table=item&listenerid=all").await?;
    ensure!(status == 202, "{answer}");
    wait_for(&site, 7).await?;

    dts.kill().await?;
    worker.kill().await?;
    std::fs::remove_dir_all(site.path("data/event-log"))?;
    (dts, worker) = (site.start_dts()?, site.start_worker()?);
    wait_for(&site, 10).await?;

    let numbers = numbers(&site);
    ensure!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    ensure!(numbers.iter().all(|seq| *seq < 1 << 53), "{numbers:?}");
    let shown = site.ask_dts("/api/v1/status").await?;
    ensure!(shown["position"]["seq"].as_u64() >= numbers.last().copied(), "{shown}");
    drop((dts, worker, mysql));
    site.wait_until_empty().await?;
    site.remove()
}
