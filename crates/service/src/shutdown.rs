//! From a signal to a clean stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// A token that is cancelled by the first SIGTERM or SIGINT. Whoever holds it stops taking in,
/// finishes what is begun and leaves. The second SIGINT kills as usual.
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
        info!(signal = name, "stopping: work begun is finished first");
        cancel.cancel();
        int.recv().await;
        info!("second SIGINT, leaving at once");
        std::process::exit(130);
    });
    Ok(stop)
}
