//! Runs every listener in a process of its own, and restarts those that end.

mod fleet;
mod instance;
mod keeper;
mod lag;
mod pauses;
mod progress;
mod reach;
mod shared;
mod socket;
mod strays;
mod unit;

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use self::{fleet::Fleet, instance::Instance, shared::Reload};
pub(crate) use self::{
    fleet::Reloaded,
    lag::records_behind,
    shared::Supervisor,
    unit::{Unit, UnitView},
};
use crate::{
    api,
    environment::Node,
    error::Error,
    full_sync::{self, FullSyncs},
};

/// How long all listeners together may take to stop. After that they are killed.
const STOP_DEADLINE: Duration = Duration::from_secs(55);

/// Reloads that wait for their turn.
const MAX_WAITING_RELOADS: usize = 8;

/// Runs the listeners of a config file until `stop`. Then lets them finish their calls for at most
/// 55 s, and kills those that do not.
///
/// # Errors
///
/// When the config is wrong, the address is taken, or the directory cannot be used.
pub async fn supervise(file: &Path, stop: CancellationToken) -> Result<(), Error> {
    let text = fleet::Accepted::open(file)?;
    let config = text.config.clone();
    let _lock = socket::lock(&config.directory)?;
    config.warn_of_old_names();
    let address = &config.listen.address;
    let cannot = format!("cannot listen on {address} ([listen] in {})", file.display());
    let api = config.listen.bind().await.map_err(Error::io(cannot))?;
    let socket = socket::listen(&config.directory)?;
    let (reloads, asked) = mpsc::channel(MAX_WAITING_RELOADS);
    let bus = event_bus::open(&config.bus)?;
    let instance = Instance::here(&config.directory)?;
    let node = Node::new(&instance.node(), &config, &bus);
    let nodes = node.standing();
    let supervisor = Arc::new(Supervisor {
        file: file.to_owned(),
        fleet: Fleet::new(text, &socket.path, (instance, node.seats()))?,
        full_syncs: FullSyncs::new(Arc::clone(&bus)),
        bus: Arc::clone(&bus),
        nodes,
        reloads,
        reloaded: Notify::new(),
    });
    let tasks = TaskTracker::new();
    // It goes on until the listeners have ended.
    let last = CancellationToken::new();
    tasks.spawn(node.run(last.clone()));
    tasks.spawn(socket::serve(socket, Arc::clone(&supervisor), stop.clone()));
    tasks.spawn(progress::watch(Arc::clone(&supervisor), stop.clone()));
    tasks.spawn(strays::watch(Arc::clone(&supervisor), stop.clone()));
    tasks.spawn(reach::watch(Arc::clone(&supervisor), stop.clone()));
    let swept = stop.clone();
    tasks.spawn(async move { full_sync::sweep(&*bus, swept).await });
    tasks.spawn(api::serve(api, Arc::clone(&supervisor), stop.clone()));
    info!(%address, listeners = supervisor.fleet.units().len(), "running; the API is up");
    reload_when_asked(&supervisor, asked, &stop).await?;
    supervisor.fleet.stop_all(STOP_DEADLINE).await;
    last.cancel();
    tasks.close();
    tasks.wait().await;
    supervisor.full_syncs.end().await;
    info!("stopped");
    Ok(())
}

/// Reloads at SIGHUP or when the API asks, until `stop`.
async fn reload_when_asked(
    supervisor: &Supervisor,
    mut asked: mpsc::Receiver<Reload>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let mut hangup =
        signal(SignalKind::hangup()).map_err(Error::io("cannot register for SIGHUP"))?;
    loop {
        let answer_to = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = hangup.recv() => None,
            Some(answer_to) = asked.recv() => Some(answer_to),
        };
        let reloaded = supervisor.fleet.reload(&supervisor.file);
        match &reloaded {
            Ok(reloaded) => {
                tell(reloaded);
                supervisor.reloaded.notify_one();
            }
            Err(error) => error!("the config is not reloaded, the old one stays in force: {error}"),
        }
        if let Some(answer_to) = answer_to {
            // The caller may be gone.
            let _ = answer_to.send(reloaded);
        }
    }
}

fn tell(reloaded: &Reloaded) {
    let Reloaded { started, restarted, stopped, needs_restart } = reloaded;
    info!(?started, ?restarted, ?stopped, "the config is reloaded");
    if !needs_restart.is_empty() {
        warn!("changes of {} take effect at the next start", needs_restart.join(", "));
    }
}
