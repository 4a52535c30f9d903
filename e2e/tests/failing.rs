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
    let calm = median_lag(&site, &mysql, &load, changes).await?;
    std::fs::write(&switch, "")?;
    let beside = median_lag(&site, &mysql, &load, changes).await?;
    println!("half of the changes came within {calm} ms, beside a failing listener {beside} ms");
    // Half of all are no matter of one slow moment of the machine. Who waits for the other
    // listener waits for seconds.
    ensure!(beside <= 2 * calm + 500, "the lag went from {calm} ms to {beside} ms");
    says_why(&site).await?;

    std::fs::remove_file(&switch)?;
    let recording = site.wait_for_all(&site.path("bad"), &mysql, SCHEMA).await?;
    recording.check_ids()?;
    recording.check_order()?;
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

/// The lag of the good listener, in milliseconds, while some changes are made: that of half of them
/// is shorter.
async fn median_lag(
    site: &Site,
    mysql: &e2e::servers::Mysql,
    load: &Workload,
    changes: u64,
) -> Result<u64> {
    let before = Recording::read(&site.path("good"))?.calls.len();
    steadily(load, changes).await;
    let mut recording = site.wait_for_all(&site.path("good"), mysql, SCHEMA).await?;
    recording.calls.drain(..before);
    let lags = recording.lags();
    lags.get(lags.len() / 2).copied().context("no lags")
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
