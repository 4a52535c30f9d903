//! `event-log relay`: gives every record of a stream to a handler, in order, at least once.

mod command;
mod config;
mod handler;

use std::path::Path;

use event_log::Error;
use relay::Relay;
use service::{config::File, shutdown};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span};

pub(crate) use self::command::RelayArguments;
use self::config::NamedRelay;
use super::Failure;

/// Runs the relay of the command line, or those of the config, until it is told to stop.
pub(crate) async fn run(arguments: RelayArguments, path: &Path) -> Result<(), Failure> {
    // The provider of the whole process; somebody else may have set it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stop = shutdown::on_signal().map_err(|error| Error::Unavailable(error.to_string()))?;
    let relays = if arguments.has_handler() {
        vec![arguments.relay()?]
    } else {
        let only = arguments.only()?;
        let file = File::open(path)?;
        let relays = config::read(&file, only.as_deref());
        file.finish(relays)?
    };
    let mut prepared = Vec::new();
    for NamedRelay { config, handler } in relays {
        let callback = handler.callback(&config)?;
        prepared.push((config.name.clone(), Relay::new(config)?, callback));
    }
    let mut running = JoinSet::new();
    for (name, relay, callback) in prepared {
        let stop = stop.clone();
        let span = info_span!("relay", name);
        let run = async move {
            let ended = relay.run(callback, &stop).await;
            if ended.is_ok() {
                info!("stopped; its place is saved");
            }
            ended
        };
        running.spawn(run.instrument(span));
    }
    all(running, &stop).await
}

/// Waits for all relays. The first that fails stops the others, and is told.
async fn all(
    mut running: JoinSet<Result<(), relay::Error>>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let mut first = Ok(());
    while let Some(ended) = running.join_next().await {
        let ended = ended.unwrap_or_else(|error| Err(Error::Failed(error.to_string()).into()));
        let Err(problem) = ended else { continue };
        stop.cancel();
        match first {
            Ok(()) => first = Err(problem.into()),
            Err(_) => error!("{problem}"),
        }
    }
    first
}
