//! Measures the time, CPU and memory of processes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::processes::{Process, children, cpu_ticks, peak_resident_kib};
use serde::{Deserialize, Serialize};

/// What one run of a step took.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cost {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_rss_kib: u64,
}

/// What each run of one thing took, from the fastest to the slowest.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Runs(Vec<Cost>);

impl Runs {
    pub(crate) fn new(mut costs: Vec<Cost>) -> Self {
        costs.sort_by(|left, right| left.seconds.total_cmp(&right.seconds));
        Self(costs)
    }

    pub(crate) fn median(&self) -> Option<&Cost> {
        self.0.get(self.0.len() / 2)
    }

    pub(crate) fn fastest(&self) -> Option<&Cost> {
        self.0.first()
    }

    pub(crate) fn slowest(&self) -> Option<&Cost> {
        self.0.last()
    }

    /// The most memory of any of them.
    pub(crate) fn peak_rss_kib(&self) -> u64 {
        self.0.iter().map(|cost| cost.peak_rss_kib).max().unwrap_or_default()
    }
}

const PATIENCE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(2);

/// Waits until the process ends. The last figures before its end are its cost.
pub(crate) async fn until_ended(mut process: Process) -> Result<Cost> {
    let began = Instant::now();
    let pid = process.pid().context("the process has ended")?;
    let mut last = (0, 0);
    while process.is_running()? {
        // The process may end between the two calls. Then the earlier figures stay.
        if let (Ok(ticks), Ok(peak)) = (cpu_ticks(pid), peak_resident_kib(pid)) {
            last = (ticks, peak);
        }
        tokio::time::sleep(POLL).await;
        ensure!(began.elapsed() < PATIENCE, "it does not end: {}", process.output());
    }
    let seconds = began.elapsed().as_secs_f64();
    let status = process.ended().await?;
    ensure!(status.success(), "it failed with {status}: {}", process.output());
    Ok(Cost { seconds, cpu_seconds: seconds_of(last.0), peak_rss_kib: last.1 })
}

/// Waits until `reached` says so, and adds up what the processes and all they started have used.
pub(crate) async fn until(
    began: Instant,
    processes: &[&Process],
    mut reached: impl AsyncFnMut() -> Result<bool>,
) -> Result<Cost> {
    while !reached().await? {
        if began.elapsed() > PATIENCE {
            bail!("not there after {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(POLL * 5).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let (mut ticks, mut peak) = (0, 0);
    let mut pids: Vec<u32> = processes.iter().filter_map(|process| process.pid()).collect();
    while let Some(pid) = pids.pop() {
        ticks += cpu_ticks(pid)?;
        peak += peak_resident_kib(pid)?;
        pids.extend(children(pid)?);
    }
    Ok(Cost { seconds, cpu_seconds: seconds_of(ticks), peak_rss_kib: peak })
}

fn seconds_of(ticks: u64) -> f64 {
    ticks as f64 / 100.0
}
