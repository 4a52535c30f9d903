//! `event-log agent`: follows files until SIGTERM or SIGINT.

use std::path::Path;

use event_log::{AgentConfig, Error, run_agent};
use service::{config, shutdown};
use tracing::info;

use super::{Failure, host};

/// Brings lines of files to the log until it is told to stop.
pub(crate) async fn run(path: &Path) -> Result<(), Failure> {
    let file = config::File::open(path)?;
    let config = AgentConfig::read(file.root(), &host());
    let config = file.finish(config)?;
    let stop = shutdown::on_signal().map_err(|error| Error::Unavailable(error.to_string()))?;
    run_agent(config, stop).await?;
    info!("stopped; what is not in the log yet is read from the files at the next start");
    Ok(())
}
