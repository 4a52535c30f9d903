//! All listeners of the config, and what happens to them when the config changes.

mod reset;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use event_bus::Subscription;
use service::{
    Address,
    config::{File, Mistake, Mistakes},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    instance::Instance,
    keeper::{Ending, Keeper},
    pauses::Pauses,
    process_health::Unit,
};
use crate::{
    config::{Config, GroupChoice, HandlerConfig, ListenerConfig},
    environment::Seats,
    error::Error,
    full_sync::Target,
    groups::listener_of,
    link::ListenerStart,
    reach::Catalogs,
    supervised::lock,
};

/// The config that is in force, and its text.
pub(super) struct Accepted {
    pub(super) config: Config,
    text: String,
}

impl Accepted {
    pub(super) fn open(file: &Path, groups: &GroupChoice) -> Result<Self, Error> {
        let file = File::open(file)?;
        let text = file.text().to_owned();
        Ok(Self { config: Config::read(file)?.only(groups)?, text })
    }
}

/// What a reload did.
#[derive(Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reloaded {
    pub(crate) started: Vec<String>,
    pub(crate) restarted: Vec<String>,
    pub(crate) stopped: Vec<String>,
    /// The sections whose changes need a restart of the whole program.
    pub(crate) needs_restart: Vec<&'static str>,
}

/// The listeners and their processes.
pub(crate) struct Fleet {
    socket: PathBuf,
    seats: Arc<Seats>,
    inner: Mutex<Inner>,
}

struct Inner {
    seats: Arc<Seats>,
    accepted: Accepted,
    instance: Instance,
    pauses: Pauses,
    kept: BTreeMap<String, KeptListener>,
    /// Listeners that are no longer in the config, until they have ended.
    leaving: Vec<KeptListener>,
}

/// A listener and the task that keeps its process.
struct KeptListener {
    unit: Arc<Unit>,
    ending: Ending,
    task: JoinHandle<()>,
}

impl Fleet {
    /// Starts the processes of all listeners.
    pub(super) fn new(
        accepted: Accepted,
        socket: &Path,
        (instance, seats): (Instance, Arc<Seats>),
    ) -> Result<Self, Error> {
        let pauses = Pauses::open(&accepted.config.directory)?;
        let (kept, leaving) = (BTreeMap::new(), Vec::new());
        let seats_of_all = Arc::clone(&seats);
        let inner = Inner { seats, accepted, instance, pauses, kept, leaving };
        let socket_path = socket.to_owned();
        let fleet = Self { socket: socket_path, seats: seats_of_all, inner: Mutex::new(inner) };
        let ids: Vec<String> =
            fleet.lock().accepted.config.chosen().map(|(id, _)| id.clone()).collect();
        for id in ids {
            fleet.lock().launch(&id, socket);
        }
        Ok(fleet)
    }

    pub(crate) fn unit(&self, id: &str) -> Option<Arc<Unit>> {
        Some(Arc::clone(&self.lock().kept.get(id)?.unit))
    }

    /// The group of a listener that another process runs, and where that process is called.
    pub(crate) fn elsewhere(&self, id: &str) -> Option<(String, Address)> {
        let config = &self.lock().accepted.config;
        let group = &config.listeners.get(id)?.group;
        let address = config.group_addresses.get(group).unwrap_or(&config.listen.address);
        (!config.groups.has(group)).then(|| (group.clone(), address.clone()))
    }

    /// The listener of this id as a target of full syncs, whoever runs the listener.
    pub(crate) fn target(&self, id: &str) -> Option<Target> {
        let config = &self.lock().accepted.config;
        let listener = config.listeners.get(id)?;
        Some(Target {
            id: id.to_owned(),
            group: listener.subscription(id, &config.bus).group,
            subscribe: listener.subscribe.clone(),
            takes_full_syncs: listener.full_sync,
        })
    }

    /// The subscription of the listener of this id, whoever runs the listener.
    pub(crate) fn subscription(&self, id: &str) -> Option<Subscription> {
        let config = &self.lock().accepted.config;
        Some(config.listeners.get(id)?.subscription(id, &config.bus))
    }

    /// Whether a group belongs to a listener that is not in the config.
    pub(super) fn is_stray(&self, group: &str) -> bool {
        let config = &self.lock().accepted.config;
        listener_of(&config.bus, group).is_some_and(|id| !config.listeners.contains_key(id))
    }

    pub(crate) fn units(&self) -> Vec<Arc<Unit>> {
        self.lock().kept.values().map(|kept| Arc::clone(&kept.unit)).collect()
    }

    /// Compares the config of each listener with the captured tables; `true` if each listener gets
    /// all that it names.
    pub(super) fn reach(&self, catalogs: &Catalogs) -> bool {
        let inner = self.lock();
        let config = &inner.accepted.config;
        let mut all_fit = true;
        for (id, kept) in &inner.kept {
            let Some(listener) = config.listeners.get(id) else { continue };
            let reach = catalogs.reach(listener, &config.bus.topic_prefix);
            all_fit &= reach.reasons.is_empty();
            kept.unit.take_reach(reach);
        }
        all_fit
    }

    /// Pauses a listener, or lets it go on; `None` if there is none of this id. When this returns,
    /// the change survives a restart. The listener itself follows within moments.
    ///
    /// # Errors
    ///
    /// When the change cannot be written to disk. Then nothing has changed.
    pub(crate) fn set_paused(&self, id: &str, paused: bool) -> Result<Option<Arc<Unit>>, Error> {
        let mut inner = self.lock();
        let Some(unit) = inner.kept.get(id).map(|kept| Arc::clone(&kept.unit)) else {
            return Ok(None);
        };
        inner.pauses.set(id, paused)?;
        unit.set_paused(paused);
        Ok(Some(unit))
    }

    /// Lets a listener's process finish its calls and end, and starts a new one; `None` if there is
    /// none of this id. Does not wait for that.
    pub(crate) fn restart(&self, id: &str) -> Option<Arc<Unit>> {
        let mut inner = self.lock();
        if !inner.kept.contains_key(id) {
            return None;
        }
        info!(listener = id, "the listener is restarted, as asked");
        inner.launch(id, &self.socket);
        Some(Arc::clone(&inner.kept.get(id)?.unit))
    }

    /// Reads the file again. Only the listeners that changed are stopped and started; this does not
    /// wait for them.
    ///
    /// # Errors
    ///
    /// All mistakes of the file. Then nothing has changed.
    pub(super) fn reload(&self, file: &Path) -> Result<Reloaded, Error> {
        let groups = self.lock().accepted.config.groups.clone();
        let accepted = Accepted::open(file, &groups)?;
        let mut inner = self.lock();
        refuse_other_bus(&inner.accepted.config, &accepted.config)?;
        let reloaded = compare(&inner.accepted.config, &accepted.config);
        inner.accepted = accepted;
        for id in reloaded.started.iter().chain(&reloaded.restarted) {
            inner.launch(id, &self.socket);
        }
        for id in &reloaded.stopped {
            inner.retire(id);
        }
        Ok(reloaded)
    }

    /// Stops all listeners, and kills those that have not ended by the deadline.
    pub(super) async fn stop_all(&self, deadline: Duration) {
        let kept = {
            let mut inner = self.lock();
            let mut kept = std::mem::take(&mut inner.leaving);
            kept.extend(std::mem::take(&mut inner.kept).into_values());
            kept
        };
        self.seats.withdraw_all();
        kept.iter().for_each(|kept| kept.ending.stop.cancel());
        let kills: Vec<CancellationToken> =
            kept.iter().map(|kept| kept.ending.kill.clone()).collect();
        let kill_late = async {
            tokio::time::sleep(deadline).await;
            kills.iter().for_each(CancellationToken::cancel);
            std::future::pending::<()>().await;
        };
        let all_ended = async {
            for kept in kept {
                // A keeper ends when its process has ended. It panics only by a bug of ours.
                let _ = kept.task.await;
            }
        };
        tokio::select! {
            () = all_ended => {}
            () = kill_late => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Starts to keep a listener's process. An old process ends first.
    fn launch(&mut self, id: &str, socket: &Path) {
        self.launch_after(id, socket, |_| std::future::ready(()));
    }

    /// Like `launch`. Runs `interlude` between the end of the old process and the start of the new
    /// one, unless the listener is stopped by then.
    fn launch_after<Interlude: Future<Output = ()> + Send + 'static>(
        &mut self,
        id: &str,
        socket: &Path,
        interlude: impl FnOnce(Arc<Unit>) -> Interlude + Send + 'static,
    ) {
        let config = &self.accepted.config;
        let Some(listener) = config.listeners.get(id) else { return };
        if !is_ours(listener) {
            info!(listener = id, "its handler is \"program\": your program runs this listener");
            return;
        }
        let start = ListenerStart {
            file: config.path.clone(),
            text: self.accepted.text.clone(),
            paused: self.pauses.contains(id),
            instance: self.instance.name(id),
            lease: None,
        };
        let before = self.kept.remove(id);
        let seat = self.seats.offer(id, listener.version);
        let directory = config.directory.clone();
        // A process that an earlier supervisor left behind still finishes its calls.
        let is_left_behind = before.is_none() && lock::is_taken(&directory, id);
        let held_by_it = is_left_behind.then(|| seat.occupy());
        let subscription = listener.subscription(id, &config.bus);
        let unit = Arc::new(Unit::new(id, subscription, (start, seat)));
        if let Some(before) = &before {
            // The lag is known already.
            let lag = before.unit.view().lag;
            unit.update_lag(|of_new, _| *of_new = lag);
        }
        let ending = before.as_ref().map_or_else(Ending::default, |before| {
            before.ending.stop.cancel();
            Ending { stop: CancellationToken::new(), kill: before.ending.kill.clone() }
        });
        let keeper = Keeper {
            unit: Arc::clone(&unit),
            socket: socket.to_owned(),
            config: config.path.clone(),
            ending: ending.clone(),
        };
        let (stop, listener) = (ending.stop.clone(), id.to_owned());
        let task = tokio::spawn(async move {
            if let Some(seat) = held_by_it {
                lock::wait_until_free(&directory, &listener).await;
                drop(seat);
            }
            if let Some(before) = before {
                // It has been told to stop. It panics only by a bug of ours.
                let _ = before.task.await;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = interlude(Arc::clone(&keeper.unit)) => {}
            }
            keeper.run().await;
        });
        self.kept.insert(id.to_owned(), KeptListener { unit, ending, task });
    }

    /// Lets a listener end.
    fn retire(&mut self, id: &str) {
        self.leaving.retain(|kept| !kept.task.is_finished());
        if let Some(kept) = self.kept.remove(id) {
            self.seats.withdraw(id);
            kept.ending.stop.cancel();
            self.leaving.push(kept);
        }
    }
}

/// What changes from one config to another.
fn compare(old: &Config, new: &Config) -> Reloaded {
    // A listener that comes to another group of this process goes on as it is.
    let ours = |config: &Config, id: &str| {
        let listener = config.listeners.get(id).filter(|listener| is_ours(listener))?;
        let is_chosen = config.groups.has(&listener.group);
        is_chosen.then(|| ListenerConfig { group: String::new(), ..listener.clone() })
    };
    let mut reloaded = Reloaded::default();
    for id in new.listeners.keys() {
        match (ours(old, id), ours(new, id)) {
            (_, None) => {}
            (None, Some(_)) => reloaded.started.push(id.clone()),
            (Some(old), Some(new)) if old == new => {}
            (Some(_), Some(_)) => reloaded.restarted.push(id.clone()),
        }
    }
    let gone = |id: &&String| ours(old, id).is_some() && ours(new, id).is_none();
    reloaded.stopped = old.listeners.keys().filter(gone).cloned().collect();
    let supervisor = |config: &Config| {
        let Config { directory, pid_file, log_file, user, .. } = config.clone();
        (directory, pid_file, log_file, user)
    };
    let changes = [
        ("[listen]", old.listen != new.listen),
        ("[groups]", old.listen == new.listen && old.listens() != new.listens()),
        ("[supervisor]", supervisor(old) != supervisor(new)),
    ];
    let changed = changes.into_iter().filter(|(_, changed)| *changed);
    reloaded.needs_restart = changed.map(|(name, _)| name).collect();
    reloaded
}

/// Another bus has other places, other full syncs and another `dts`: running full syncs would never
/// end.
fn refuse_other_bus(old: &Config, new: &Config) -> Result<(), Mistakes> {
    if old.has_same_bus(new) {
        return Ok(());
    }
    let problem = "has changed, which needs a restart; nothing of this file takes effect";
    let remedy = "restart event-worker, or undo this change and reload";
    let (key, problem, remedy) = ("bus".to_owned(), problem.to_owned(), remedy.to_owned());
    Err(Mistakes::one(&new.path, Mistake { key, problem, remedy }))
}

/// Whether the supervisor runs the listener, and not a program of the user's.
fn is_ours(listener: &ListenerConfig) -> bool {
    listener.handler != HandlerConfig::Program
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(Path::new("l.toml"), text).unwrap()
    }

    #[test]
    fn only_what_changed_is_started_restarted_or_stopped() {
        let old = config(
            "[listeners.same]\nhandler='print'\n[listeners.changed]\nhandler='print'\n\
             [listeners.gone]\nhandler='print'\n[listeners.mine]\nhandler='program'\n",
        );
        let new = config(
            "[listen]\naddress='localhost:1'\n[listeners.same]\nhandler = 'print'\n\
             [listeners.fresh]\nhandler='print'\n\
             [listeners.changed]\nhandler='print'\nworkers=2\n[listeners.mine]\nhandler='print'\n",
        );
        let Reloaded { started, restarted, stopped, needs_restart } = compare(&old, &new);
        assert_eq!(started, ["fresh", "mine"]);
        assert_eq!((restarted, stopped), (vec!["changed".into()], vec!["gone".into()]));
        assert_eq!(needs_restart, ["[listen]"]);
    }

    #[test]
    fn a_listener_that_comes_to_another_group_is_started_stopped_or_left_alone() {
        let grouped = |group: &str, choice: &[&str]| {
            let text = format!(
                "[listeners.a]\nhandler='print'\ngroup='one'\n\
                 [listeners.b]\nhandler='print'\ngroup='two'\n\
                 [listeners.moves]\nhandler='print'\ngroup='{group}'\n"
            );
            let choice = GroupChoice::new(choice.iter().map(|name| (*name).to_owned()));
            config(&text).only(&choice).unwrap()
        };
        let moved = |choice: &[&str]| {
            let Reloaded { started, restarted, stopped, needs_restart } =
                compare(&grouped("one", choice), &grouped("two", choice));
            assert_eq!((restarted, needs_restart), (vec![], vec![]));
            (started.join(""), stopped.join(""))
        };
        let moves = || "moves".to_owned();
        assert_eq!(moved(&["one"]), (String::new(), moves()));
        assert_eq!(moved(&["two"]), (moves(), String::new()));
        assert_eq!(moved(&["one", "two"]), (String::new(), String::new()));
        assert_eq!(moved(&[]), (String::new(), String::new()));
    }

    #[test]
    fn another_bus_is_not_taken_in() {
        let old = config("[listeners.a]\nhandler='print'\n");
        let new = config("[bus]\naddress='127.0.0.1:1'\n[listeners.a]\nhandler='print'\n");
        let refused = refuse_other_bus(&old, &new).unwrap_err().to_string();
        assert!(refused.contains("bus: has changed") && refused.contains("restart"), "{refused}");
        refuse_other_bus(&old, &old.clone()).unwrap();
    }
}
