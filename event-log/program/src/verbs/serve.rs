//! `event-log serve`: a log over the network, until SIGTERM or SIGINT.

use std::path::{Path, PathBuf};

use event_log::{Error, HttpServer, Log, Server, ServerTokens};
use service::shutdown;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{
    Failure,
    connect::{Config, read},
};

/// Serves the log until it is told to stop.
pub(crate) async fn run(path: &Path) -> Result<(), Failure> {
    let config = read(path)?;
    let stop = shutdown::on_signal().map_err(no_signals)?;
    let log = Log::open(config.storage.clone())?;
    serve(log, config, path, stop).await
}

/// Serves a log as the config says until `stop`, and stops all when that fails.
pub(crate) async fn serve(
    log: Log,
    config: Config,
    path: &Path,
    stop: CancellationToken,
) -> Result<(), Failure> {
    // Also when it cannot begin: a mirror must not copy on and serve nobody.
    let _stopped = stop.clone().drop_guard();
    let hangup = signal(SignalKind::hangup()).map_err(no_signals)?;
    let http = HttpServer::bind(&config.http, log.clone()).await?;
    let server = Server::bind(log, config.listen).await?;
    let tokens = server.tokens();
    let http = http.serve(stop.clone());
    let serve = async {
        let served = server.serve(stop.clone()).await;
        stop.cancel();
        served
    };
    tokio::select! {
        (served, ()) = async { tokio::join!(serve, http) } => served?,
        () = reload(tokens, hangup, path) => {}
    }
    info!("stopped");
    Ok(())
}

pub(crate) fn no_signals(source: std::io::Error) -> Error {
    let path = PathBuf::from("this process");
    Error::Io { action: "cannot register for signals of", path, source }
}

/// Takes the tokens and rights of the config anew at each SIGHUP, without end.
async fn reload(tokens: ServerTokens, mut hangup: Signal, path: &Path) {
    while hangup.recv().await.is_some() {
        match read(path) {
            Ok(config) => {
                tokens.replace(&config.listen);
                info!("the tokens and rights of the config count now; the rest needs a restart");
            }
            Err(mistakes) => error!("the config is as before: {mistakes}"),
        }
    }
    // The signal is gone, and the server goes on.
    std::future::pending::<()>().await;
}
