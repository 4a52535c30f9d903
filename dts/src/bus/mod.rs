//! The bus that a config names: a log that we host ourselves, or one elsewhere.

mod last;

use std::sync::Arc;

use event_bus::{Bus, BusConfig, Checkpoint, EmbeddedLog};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info};

pub use self::last::LastBus;
use crate::error::Result;

/// Opens the bus. An embedded log is served to others until `stop`; that task ends in `tasks`.
///
/// # Errors
///
/// Refused, when the log's directory or port belongs to another process, or the directory cannot be
/// used; internal, when the log's files are damaged.
pub async fn host(
    config: &BusConfig,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<Arc<dyn Bus>> {
    let Some(hosted) = config.embedded_log() else { return Ok(event_bus::open(config)?) };
    let log = EmbeddedLog::open(hosted, &config.topic_prefix).await?;
    let directory = hosted.storage.directory.display();
    info!(address = %log.address(), %directory, "hosting the event log");
    let bus = log.bus();
    let stop = stop.clone();
    tasks.spawn(async move {
        if let Err(failure) = log.serve(stop).await {
            error!(error = %failure, "the event log's server failed");
        }
    });
    Ok(bus)
}

/// Whether a bus of this kind answers at the address in the config.
pub(crate) async fn answers(config: &BusConfig, name: &str) -> bool {
    match event_bus::open(config) {
        Ok(bus) => bus.checkpoint(name).await.is_ok(),
        Err(_) => false,
    }
}

/// Reads a checkpoint without disturbing its writer: from the running log; or from the log's
/// directory, if the log is ours and does not run.
///
/// # Errors
///
/// As [`host`]; transient, when the log is elsewhere and does not answer.
pub async fn read_checkpoint(config: &BusConfig, name: &str) -> Result<Checkpoint> {
    match (event_bus::open(config)?.checkpoint(name).await, config.embedded_log()) {
        (Err(error), Some(hosted)) if error.is_transient() => {
            if !hosted.storage.directory.exists() {
                return Ok(Checkpoint::default());
            }
            let log = EmbeddedLog::open(hosted, &config.topic_prefix).await?;
            Ok(log.bus().checkpoint(name).await?)
        }
        (other, _) => Ok(other?),
    }
}
