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

/// A bus that is looked at without disturbing its writer: the running log; or the log's directory,
/// if the log is ours and does not run.
pub(crate) struct BusView {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) checkpoint: Checkpoint,
    /// The log, if it does not run.
    _log: Option<EmbeddedLog>,
}

impl BusView {
    /// Opens the bus, and reads the checkpoint of a `dts`.
    ///
    /// # Errors
    ///
    /// As [`host`]; transient, when the log is elsewhere and does not answer.
    pub(crate) async fn open(config: &BusConfig, name: &str) -> Result<Self> {
        let bus = event_bus::open(config)?;
        match (bus.checkpoint(name).await, config.embedded_log()) {
            (Err(error), Some(hosted)) if error.is_transient() => {
                if !hosted.storage.directory.exists() {
                    return Ok(Self { bus, checkpoint: Checkpoint::default(), _log: None });
                }
                let log = EmbeddedLog::open(hosted, &config.topic_prefix).await?;
                let bus = log.bus();
                Ok(Self { checkpoint: bus.checkpoint(name).await?, bus, _log: Some(log) })
            }
            (read, _) => Ok(Self { checkpoint: read?, bus, _log: None }),
        }
    }
}

/// Reads a checkpoint, as [`BusView::open`].
///
/// # Errors
///
/// As [`BusView::open`].
pub async fn read_checkpoint(config: &BusConfig, name: &str) -> Result<Checkpoint> {
    Ok(BusView::open(config, name).await?.checkpoint)
}
