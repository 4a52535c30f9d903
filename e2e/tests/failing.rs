//! A listener whose handler fails hurts nobody but itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::{Site, recording_listener, seed, size},
    recording::Recording,
    workload::{self, Workload},
};

const SCHEMA: &str = "failing";

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_listener_leaves_the_lag_of_others_alone_and_goes_on_when_fixed() -> Result<()> {
    let site = Site::new("failing")?;
    let mysql = site.start_mysql().await?;
    workload::create_tables(&mut mysql.connect().await?, SCHEMA).await?;
    site.configure_dts(&mysql.address(), SCHEMA)?;
    let switch = site.path("switch");
    let option = format!("--fail-while={}", switch.display());
    let good = recording_listener("good", &site.path("good"), &[])?;
    let bad = recording_listener("bad", &site.path("bad"), &[&option])?;
    site.configure_worker(&format!("{good}{bad}"))?;
    let (_dts, _worker) = (site.start_dts()?, site.start_worker()?);

    let load = Workload::start(&mysql.url(), SCHEMA, u64::MAX / 4, seed());
    let changes = size(3_000, 30_000);
    steadily(&load, changes / 10).await;
    site.wait_for_all(&site.path("good"), &mysql, SCHEMA).await?;
    let calm = lags_of(&site, &mysql, &load, changes).await?;
    std::fs::write(&switch, "")?;
    let beside = lags_of(&site, &mysql, &load, changes).await?;
    says_why(&site).await?;

    std::fs::remove_file(&switch)?;
    let recording = site.wait_for_all(&site.path("bad"), &mysql, SCHEMA).await?;
    recording.check_ids()?;
    recording.check_order()?;
    compare(&calm, &beside)?;
    load.stop().await?;
    site.remove()
}

/// Some ten changes each 10 ms: far below what the machine can do, so that lag is not queueing.
async fn steadily(load: &Workload, changes: u64) {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let end = load.made() + changes;
    while load.made() < end {
        ticks.tick().await;
        load.allow(10);
    }
}

/// The lags of the good listener, in milliseconds, sorted, while some changes are made.
async fn lags_of(
    site: &Site,
    mysql: &e2e::servers::Mysql,
    load: &Workload,
    changes: u64,
) -> Result<Vec<u64>> {
    let before = Recording::read(&site.path("good"))?.calls.len();
    steadily(load, changes).await;
    let mut recording = site.wait_for_all(&site.path("good"), mysql, SCHEMA).await?;
    recording.calls.drain(..before);
    Ok(recording.lags())
}

/// The state of the listener shows the failure.
async fn says_why(site: &Site) -> Result<()> {
    let began = Instant::now();
    let mut state = String::new();
    wait_until("the state tells of the failure", PATIENCE, async || {
        let answer = site.ask_worker("/api/v1/listeners/bad").await;
        state = answer.map_or_else(|error| error.to_string(), |json| json.to_string());
        state.contains("false")
    })
    .await
    .with_context(|| state.clone())?;
    println!("after {} ms: {state}", began.elapsed().as_millis());
    Ok(())
}

fn compare(calm: &[u64], beside: &[u64]) -> Result<()> {
    for (name, percent) in [("p50", 50), ("p99", 99)] {
        let at = |lags: &[u64]| lags.get(lags.len() * percent / 100).copied().context("no lags");
        let (calm, beside) = (at(calm)?, at(beside)?);
        println!("lag {name}: {calm} ms, beside a failing listener {beside} ms");
        // Milliseconds are the scheduler's; waiting for the other listener would take seconds.
        ensure!(beside <= 2 * calm + 50, "the lag went from {calm} ms to {beside} ms ({name})");
    }
    Ok(())
}
