//! Runs a listener in this process, without a supervisor.

use std::{path::Path, sync::Arc};

use event_bus::Bus;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::warn;

use crate::{
    config::Config,
    environment::{Node, Seat},
    error::Error,
    handler::Handler,
    listener::{Listener, ListenerControl},
    supervised,
};

/// Runs the listener `id` of a config file with the handlers that the caller makes, one for each
/// lane, until `stop`. In the file the handler is `"program"`, so that no supervisor runs this
/// listener too. Other members of the same group share the work, or wait to take over. While
/// another environment runs the listener, it waits.
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
    let config = read(file, id)?;
    let run =
        async |listener: Listener, control| listener.run_controlled(&make_handler, control).await;
    run_seated((&config, id), stop, run).await
}

/// Runs the listener `id` of a config file with the handler that the file names, until `stop`. Runs
/// also when the listener was paused over the supervisor's API.
///
/// # Errors
///
/// As [`run`].
pub async fn run_alone(file: &Path, id: &str, stop: CancellationToken) -> Result<(), Error> {
    let config = read(file, id)?;
    config.warn_of_old_names();
    config.listener(id)?;
    if let Some(directory) = supervised::runs_in(&config, id) {
        warn!(
            directory = %directory.display(),
            "an event-worker runs this listener already: this process is one more member of the \
             group, and gets the partitions that the other one does not have"
        );
    }
    let run = async |listener: Listener, control| listener.run_configured(control).await;
    run_seated((&config, id), stop, run).await
}

/// Reads the config, without the secrets of other listeners.
fn read(file: &Path, id: &str) -> Result<Config, Error> {
    Ok(Config::open_with_secrets_of(file, &["bus", &format!("listeners.{id}")])?)
}

/// Runs a listener as a node of its own: whenever its environment is to run it.
async fn run_seated(
    (config, id): (&Config, &str),
    stop: CancellationToken,
    run: impl AsyncFn(Listener, ListenerControl) -> Result<(), Error>,
) -> Result<(), Error> {
    let bus: Arc<dyn Bus> = event_bus::open(&config.bus)?;
    let version = config.listener(id)?.version;
    let node = Node::new(&node_id(), config, &bus);
    let (seat, gone) = (node.seats().offer(id, version), CancellationToken::new());
    let mut refused = node.refused();
    let node = AbortOnDropHandle::new(tokio::spawn(node.run(gone.clone())));
    let ended = loop {
        let taken = tokio::select! {
            () = stop.cancelled() => break Ok(()),
            taken = seat.take() => taken,
            refused = refusal(&mut refused) => break Err(refused),
        };
        let listener = Listener::new(config, id, Arc::clone(&bus))?;
        let ended = run_until_withdrawn(listener, (&seat, &stop), &run).await;
        drop(taken);
        if ended.is_err() || seat.why_not().is_none() {
            break ended;
        }
    };
    gone.cancel();
    // It panics only by a bug of ours.
    let _ = node.await;
    ended
}

/// Waits until the bus refuses this node, so that nothing can begin.
async fn refusal(refused: &mut watch::Receiver<Option<event_bus::Error>>) -> Error {
    loop {
        let seen = refused.borrow_and_update().clone();
        if let Some(error) = seen {
            return error.into();
        }
        if refused.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn run_until_withdrawn(
    listener: Listener,
    (seat, stop): (&Arc<Seat>, &CancellationToken),
    run: &impl AsyncFn(Listener, ListenerControl) -> Result<(), Error>,
) -> Result<(), Error> {
    let stop = stop.child_token();
    let control = ListenerControl {
        lease: seat.lease(),
        wishes: seat.wishes(),
        ..ListenerControl::until(stop.clone())
    };
    let leaves = Arc::clone(&control.leaves);
    let run = run(listener, control);
    tokio::pin!(run);
    tokio::select! {
        ended = &mut run => ended,
        () = seat.withdrawn() => {
            leaves.store(true, std::sync::atomic::Ordering::Relaxed);
            stop.cancel();
            run.await
        }
    }
}

/// A name that no other node has. Somebody may start one listener twice by hand.
fn node_id() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}.{}.{:08x}", std::process::id(), rand::random::<u32>())
}
