//! `event-log agent`: follows files until SIGTERM or SIGINT.

use std::path::Path;

use event_log::{AgentConfig, Error, run_agent};
use service::{config, shutdown};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use super::{Failure, host};

/// Brings lines of files to the log until it is told to stop.
pub(crate) async fn run(path: &Path) -> Result<(), Failure> {
    let unavailable = |error: std::io::Error| Error::Unavailable(error.to_string());
    // From here on it does not kill.
    let mut hangup = signal(SignalKind::hangup()).map_err(unavailable)?;
    let file = config::File::open(path)?;
    let config = AgentConfig::read(file.root(), &host());
    let config = file.finish(config)?;
    let stop = shutdown::on_signal().map_err(unavailable)?;
    let told = async {
        while hangup.recv().await.is_some() {
            info!(
                "SIGHUP changes nothing: a token in a file is read again when the server refuses \
                 the one before; for all else of the config, start again"
            );
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = run_agent(config, stop) => ended?,
        () = told => {}
    }
    info!("stopped; what is not in the log yet is read from the files at the next start");
    Ok(())
}
