//! Starts `dts`.

use anyhow::Result;
use e2e::{
    processes::{PATIENCE, Process, wait_until},
    programs::Site,
};

/// Starts `dts`, and waits until it streams.
pub(crate) async fn start(site: &Site) -> Result<Process> {
    let dts = site.start_dts()?;
    wait_until("dts streams", PATIENCE, async || {
        let status = site.ask_dts("/api/v1/status").await.unwrap_or_default();
        status["state"] == "streaming"
    })
    .await?;
    Ok(dts)
}
