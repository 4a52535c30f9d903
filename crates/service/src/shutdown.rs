//! Signals that ask a program to stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// A token that the first SIGTERM or SIGINT cancels. Its holders then take nothing new, finish what
/// they began, and end. The second SIGINT kills as usual.
///
/// # Errors
///
/// When the process cannot register for signals.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        };
        info!(signal = name, "stopping: work that has begun is finished first");
        cancel.cancel();
        int.recv().await;
        info!("second SIGINT, leaving at once");
        std::process::exit(130);
    });
    Ok(stop)
}
