//! Runs a listener in this process, without a supervisor.

use std::path::Path;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    config::Config,
    error::Error,
    handler::Handler,
    listener::{Listener, ListenerControl},
    supervised,
};

/// Runs the listener `id` of a config file with the handlers that the caller makes, one for each
/// lane, until `stop`. In the file the handler is `"program"`, so that no supervisor runs this
/// listener too. Other members of the same group share the work, or wait to take over.
///
/// Returns when all running calls have ended, but after 45 s at the latest, and when what is done
/// is committed.
///
/// # Errors
///
/// What only a human can fix. When the bus is away, the listener waits for it.
pub async fn run<F>(
    file: &Path,
    id: &str,
    make_handler: F,
    stop: CancellationToken,
) -> Result<(), Error>
where
    F: Fn(usize) -> Box<dyn Handler> + Send + Sync,
{
    open(file, id)?.run(make_handler, stop).await
}

/// Runs the listener `id` of a config file with the handler that the file names, until `stop`. Runs
/// also when the listener was paused over the supervisor's API.
///
/// # Errors
///
/// As [`run`].
pub async fn run_alone(file: &Path, id: &str, stop: CancellationToken) -> Result<(), Error> {
    let ((_unpaused, paused), (_, topics)) = (watch::channel(false), watch::channel(0));
    let config = Config::open(file)?;
    config.warn_of_old_names();
    config.listener(id)?;
    if let Some(directory) = supervised::runs_in(&config.directory, id) {
        warn!(
            directory = %directory.display(),
            "an event-worker runs this listener already: this process is one more member of the \
             group, and gets the partitions that the other one does not have"
        );
    }
    Listener::new(&config, id, event_bus::open(&config.bus)?)?
        .run_configured(ListenerControl { stop, paused, topics })
        .await
}

fn open(file: &Path, id: &str) -> Result<Listener, Error> {
    let config = Config::open(file)?;
    Listener::new(&config, id, event_bus::open(&config.bus)?)
}
