//! Runs every listener in a process of its own, and restarts those that end.

mod claims;
mod fleet;
mod instance;
mod keeper;
mod lag;
mod pauses;
mod process_health;
mod progress;
mod reach;
mod shared;
mod socket;
mod strays;
mod why;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use self::{claims::Claims, fleet::Fleet, instance::Instance, shared::Reload};
pub(crate) use self::{
    fleet::Reloaded,
    lag::records_behind,
    process_health::{Unit, UnitView},
    shared::Supervisor,
    why::{LOOK_AT_HANDLER, START_BUS, why},
};
use crate::{
    api, background,
    config::GroupChoice,
    environment::Node,
    error::Error,
    full_sync::{self, FullSyncs},
    replay::{self, ReplayCalls},
};

/// How long all listeners together may take to stop. After that they are killed.
const STOP_DEADLINE: Duration = Duration::from_secs(55);

/// Reloads that wait for their turn.
const MAX_WAITING_RELOADS: usize = 8;

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The config file.
    pub file: PathBuf,
    /// Only the listeners of these groups.
    pub groups: GroupChoice,
    /// In the background: the file for the pid.
    pub pid_file: Option<PathBuf>,
}

/// Runs the listeners of a config file until `stop`. Then lets them finish their calls for at most
/// 55 s, and kills those that do not.
///
/// # Errors
///
/// When the config is wrong, the address is taken, or the directory cannot be used.
pub async fn supervise(run: Run, stop: CancellationToken) -> Result<(), Error> {
    let Claims { accepted, apis, pid_file: _pid_file, lock: _lock } = Claims::make(&run).await?;
    let config = accepted.config.clone();
    let address = Vec::from_iter(config.listens().iter().map(|it| it.address.to_string()));
    let socket = socket::listen(&config.directory)?;
    let (reloads, asked) = mpsc::channel(MAX_WAITING_RELOADS);
    let bus = event_bus::open(&config.bus)?;
    let instance = Instance::here(&config.directory)?;
    let node = Node::new(&instance.node(), &config, &bus);
    let nodes = node.standing();
    let supervisor = Arc::new(Supervisor {
        file: run.file,
        fleet: Fleet::new(accepted, &socket.path, (instance, node.seats()))?,
        full_syncs: FullSyncs::new(Arc::clone(&bus)),
        replays: ReplayCalls::new(Arc::clone(&bus)),
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
    tasks.spawn(async move {
        tokio::join!(full_sync::sweep(&*bus, swept.clone()), replay::sweep(&*bus, swept))
    });
    for api in apis {
        tasks.spawn(api::serve(api, Arc::clone(&supervisor), stop.clone()));
    }
    let (address, listeners) = (address.join(", "), supervisor.fleet.units().len());
    info!(address, listeners, "running{}; the API is up", config.groups.flags());
    // From now on a SIGHUP does not end the program.
    let hangup = signal(SignalKind::hangup()).map_err(Error::io("cannot register for SIGHUP"))?;
    if run.pid_file.is_some() {
        background::is_up();
    }
    reload_when_asked(&supervisor, (hangup, asked), &stop).await;
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
    (mut hangup, mut asked): (Signal, mpsc::Receiver<Reload>),
    stop: &CancellationToken,
) {
    loop {
        let answer_to = tokio::select! {
            () = stop.cancelled() => return,
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
