//! How late a full sync makes the changes of another listener.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::{Site, recording_listener},
    recording::Recording,
};

use crate::{
    counting,
    full_sync::{LISTENER, ask, is_done, start},
    load::Loaded,
    report::Latency,
    steps::write_steadily,
};

/// The start is not measured.
const WARM_UP: Duration = Duration::from_secs(3);

/// At 1,000 one-row transactions a second: first for `seconds` without a full sync, then until all
/// rows are sent.
pub(crate) async fn measure(server: &Loaded, seconds: u64) -> Result<Vec<Latency>> {
    let site = Site::new("bench-run")?;
    let recorded = site.path("recorded");
    let other = recording_listener("other", &recorded, &[])?.replace("earliest", "latest");
    let listeners = counting::listener(LISTENER, &site.path("counted"))? + &other;
    let (dts, worker) = start(&site, &server.mysql, &listeners).await?;
    let (mysql, first) = (&server.mysql, server.load.rows());
    let (written, full_sync) = tokio::join!(
        write_steadily(mysql, (first, WARM_UP + Duration::from_secs(2 * seconds))),
        full_sync_after(&site, WARM_UP + Duration::from_secs(seconds)),
    );
    let (transactions, (asked, done)) = (written?, full_sync?);
    let mut recording = Recording { calls: vec![], torn: 0 };
    wait_until("all is handled", PATIENCE, async || {
        recording = Recording::read(&recorded).unwrap_or(Recording { calls: vec![], torn: 0 });
        recording.done().count() as u64 >= transactions
    })
    .await?;
    drop((dts, worker));
    site.wait_until_empty().await?;
    site.remove()?;
    let began = asked - seconds * 1000;
    let lags = |to: &str, from: u64, until: u64| {
        let lags = recording.lags_between(from..until);
        let rate = lags.len() as f64 * 1000.0 / (until - from) as f64;
        Latency::new(to, rate, &lags)
    };
    Ok(vec![
        lags("the handler of another listener, without a full sync", began, asked),
        lags("the handler of another listener, beside a full sync", asked, done),
    ])
}

/// Waits, then sends the table. Gives the times of the request and of its end, in milliseconds
/// since 1970.
async fn full_sync_after(site: &Site, wait: Duration) -> Result<(u64, u64)> {
    tokio::time::sleep(wait).await;
    let asked = now_ms()?;
    let task = ask(site, &format!("/?table=t&listenerid={LISTENER}")).await?;
    wait_until("the full sync is done", PATIENCE * 4, async || {
        is_done(site, &task).await.unwrap_or(false)
    })
    .await?;
    Ok((asked, now_ms()?))
}

fn now_ms() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}
