//! What `db_event_listener.toml` says: where to listen, which bus, which listeners.

mod environment;
mod group;
mod handler;
mod listener;
mod park;
mod sizes;
mod user;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use event_bus::{BusConfig, BusKind};
use serde_json::Value;
use service::{
    Address, Listen,
    config::{File, Mistake, Mistakes, OldName, Section},
};
use sinks::SinkConfig;
use tracing::warn;

pub use environment::EnvironmentConfig;
pub use group::GroupChoice;
pub use handler::HandlerConfig;
pub use handlers::{ExecConfig, HttpConfig, Proxy};
pub(crate) use listener::parked_table;
pub use listener::{Actions, BigInt, ListenerConfig};
pub use park::{ParkAfter, ParkConfig};
pub use user::UserConfig;

use crate::error::Error;

const DEFAULT_PORT: u16 = 12359;

/// A whole config file.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// Where the HTTP API listens.
    pub listen: Listen,
    /// Where the changes come from.
    pub bus: BusConfig,
    /// To which environment this node belongs.
    pub environment: EnvironmentConfig,
    /// Where the supervisor keeps what must survive a restart.
    pub directory: PathBuf,
    /// Where a program in the background writes its pid, and its log.
    pub(crate) pid_file: PathBuf,
    pub(crate) log_file: PathBuf,
    /// As whom the supervisor and its listeners run, if not as the one who starts them.
    pub user: Option<UserConfig>,
    /// The listeners by id, those of all groups.
    pub listeners: BTreeMap<String, ListenerConfig>,
    /// The groups of listeners that this process runs.
    pub(crate) groups: GroupChoice,
    /// The groups that have an address of their own for the API.
    pub(crate) group_addresses: BTreeMap<String, Address>,
    /// The environment variables that hold the secrets of this config.
    pub(crate) secret_variables: BTreeSet<String>,
    /// The old names that the file uses, and what to write instead.
    pub(crate) old_names: Vec<OldName>,
    /// The `[bus]` section as written, to see whether a reload changes it.
    bus_as_written: Option<Value>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn open(path: &Path) -> Result<Self, Mistakes> {
        Self::read(File::open(path)?)
    }

    /// Reads a file that need not have a listener, for commands that need only the bus. Only the
    /// secrets of `[bus]` are read.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub(crate) fn open_for_bus(path: &Path) -> Result<Self, Mistakes> {
        let file = File::open(path)?.with_secrets_of(&["bus"]);
        let config = Self::take(&file);
        file.finish(config)
    }

    /// Reads a file, but only the secrets of these tables.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub(crate) fn open_with_secrets_of(path: &Path, tables: &[&str]) -> Result<Self, Mistakes> {
        Self::read(File::open(path)?.with_secrets_of(tables))
    }

    /// Reads a file, and gives the secrets of listeners that are missing.
    ///
    /// # Errors
    ///
    /// All else that is wrong with it.
    pub(crate) fn open_to_check(path: &Path) -> Result<(Self, Vec<Mistake>), Mistakes> {
        let file = File::open(path)?.with_missing_secrets_except_of(&["bus", "listen"]);
        Self::read_with(file, File::missing_secrets)
    }

    /// Reads a file in order to call the running program, which may have an earlier version of the
    /// file: the program that runs these groups; without a name the one that runs the listener. Its
    /// address is then that of [`Config::listen`]. Only `[listen]` and this address must be right,
    /// and only the secrets of `[listen]` are read.
    ///
    /// # Errors
    ///
    /// All that is wrong there; [`Error::UnknownListenerGroup`].
    pub(crate) fn open_to_call(
        path: &Path,
        groups: &GroupChoice,
        listener: Option<&str>,
    ) -> Result<Self, Error> {
        let file = File::open(path)?.with_secrets_of(&["listen"]);
        let config = Self::take(&file);
        let group = config.group_to_call(groups, listener).unwrap_or_default();
        let address_key = format!("groups.{group}.address");
        file.finish_of(&["listen", &address_key], config)?.for_call(groups, listener)
    }

    /// The same config with the address of the program as in [`Config::open_to_call`].
    ///
    /// # Errors
    ///
    /// [`Error::UnknownListenerGroup`].
    pub(crate) fn for_call(
        self,
        groups: &GroupChoice,
        listener: Option<&str>,
    ) -> Result<Self, Error> {
        let mut config = self.only(groups)?;
        let group = config.group_to_call(groups, listener).unwrap_or_default();
        if let Some(address) = config.group_addresses.get(group) {
            config.listen.address = address.clone();
        }
        Ok(config)
    }

    fn group_to_call<'a>(
        &'a self,
        groups: &'a GroupChoice,
        listener: Option<&str>,
    ) -> Option<&'a str> {
        let of_listener = || Some(&*self.listeners.get(listener?)?.group);
        groups.names().next().or_else(of_listener)
    }

    /// Reads a text; `path` is only for messages.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Mistakes> {
        Self::read(File::parse(path, text)?)
    }

    /// Reads a file that is open.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub(crate) fn read(file: File) -> Result<Self, Mistakes> {
        Ok(Self::read_with(file, |_| ())?.0)
    }

    /// The same, with what the file has noted.
    fn read_with<T>(file: File, noted: impl Fn(&File) -> T) -> Result<(Self, T), Mistakes> {
        let config = Self::take(&file);
        if config.listeners.is_empty() {
            let remedy = "add a table [listeners.NAME] with a handler; to look at changes \
                          without a listener: event-worker tail";
            file.root().note("listeners", "is missing", remedy);
        }
        let noted = noted(&file);
        file.finish((config, noted))
    }

    fn take(file: &File) -> Self {
        let root = file.root();
        let supervisor = root.section("supervisor");
        let path_or = |key: &str, default: &str| supervisor.or(key, PathBuf::from(default));
        let (listen, listeners) = (read_listen(&root.section("listen")), read_listeners(root));
        let known = groups_of(&listeners);
        let config = Self {
            path: file.path().to_owned(),
            bus: BusConfig::read(&root.section("bus")),
            environment: EnvironmentConfig::read(&root.section("environment")),
            directory: path_or("directory", "data/event-worker"),
            pid_file: path_or("pidFile", "data/run/event-worker.pid"),
            log_file: path_or("logFile", "data/run/event-worker.log"),
            user: UserConfig::read(&supervisor),
            groups: GroupChoice::default(),
            group_addresses: group::read_addresses(&root.section("groups"), &listen, &known),
            listen,
            listeners,
            secret_variables: BTreeSet::new(),
            old_names: Vec::new(),
            bus_as_written: root.raw("bus").cloned(),
        };
        config.check_parks(root);
        config.check_loops(root);
        config.check_names(root);
        let (secret_variables, old_names) = (file.secret_variables(), file.old_names());
        Self { secret_variables, old_names, ..config }
    }

    /// An event log keeps less than Kafka does.
    fn check_parks(&self, root: &Section) {
        let limit = park::MAX_BYTES_ON_LOG;
        let is_log = matches!(self.bus.kind, BusKind::Log(_));
        let parks = self.listeners.iter().filter_map(|(id, listener)| Some((id, listener.park?)));
        let too_large = |park: &ParkConfig| park.max_bytes as u64 > limit.as_u64();
        for (id, _) in parks.filter(|(_, park)| is_log && too_large(park)) {
            let key = format!("listeners.{id}.park.maxBytes");
            root.note(&key, "is more than an event log keeps", &format!("write {limit} or less"));
        }
    }

    /// What a listener writes to a topic that it reads would come again, for ever.
    fn check_loops(&self, root: &Section) {
        let BusKind::Kafka(kafka) = &self.bus.kind else { return };
        for (id, listener) in &self.listeners {
            let HandlerConfig::Sink(sink) = &listener.handler else { continue };
            let is_read = listener.subscription(id, &self.bus).topics.matcher();
            let tables = listener.tables();
            if let Some(topic) = sink.loop_through(&kafka.address, &tables, is_read) {
                let key = format!("listeners.{id}.handler.kafka.topic");
                let problem = format!("is {topic}, which the listener itself reads");
                root.note(&key, &problem, "write to a topic with another name");
            }
        }
    }

    /// Two sinks with one name at the same brokers stop each other.
    fn check_names(&self, root: &Section) {
        let sinks: Vec<(&str, &SinkConfig)> = self
            .listeners
            .iter()
            .filter_map(|(id, listener)| match &listener.handler {
                HandlerConfig::Sink(sink) => Some((&**id, sink)),
                _ => None,
            })
            .collect();
        for (at, (id, sink)) in sinks.iter().enumerate() {
            for (other, earlier) in &sinks[..at] {
                if let Some(name) = sink.name_shared_with(id, (earlier, other)) {
                    let key = format!("listeners.{id}.handler.kafka.name");
                    let problem = format!(
                        "is {name:?}, as that of the listener {other} at the same brokers: they \
                         would stop each other all the time"
                    );
                    root.note(&key, &problem, "give each listener a name of its own");
                }
            }
        }
    }

    /// The same config for a process that runs only these groups of listeners. What such a process
    /// has for itself gets a name of its own: its directory, its pid file and its log.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownListenerGroup`].
    pub fn only(self, groups: &GroupChoice) -> Result<Self, Error> {
        let known = groups_of(&self.listeners);
        if let Some(unknown) = groups.names().find(|name| !known.contains(name)) {
            let (group, file) = (unknown.to_owned(), self.path.display().to_string());
            let known = Vec::from_iter(known).join(", ");
            return Err(Error::UnknownListenerGroup { group, file, known });
        }
        Ok(Self {
            groups: groups.clone(),
            pid_file: groups.file_like(&self.pid_file),
            log_file: groups.file_like(&self.log_file),
            directory: groups.directory_in(self.directory),
            ..self
        })
    }

    /// The directory as the config has it: that of a process with groups is below it.
    pub(crate) fn directory_of_all(&self) -> &Path {
        let above = self.directory.ancestors().nth(if self.groups.is_all() { 0 } else { 2 });
        above.unwrap_or(&self.directory)
    }

    /// The listeners of the groups that this process runs.
    pub(crate) fn chosen(&self) -> impl Iterator<Item = (&String, &ListenerConfig)> {
        self.listeners.iter().filter(|(_, listener)| self.groups.has(&listener.group))
    }

    /// Where this process is called: at the address of each of its groups; when it runs all
    /// listeners, at that of `[listen]`, too.
    pub(crate) fn listens(&self) -> Vec<Listen> {
        let address_of = |group: &str| self.group_addresses.get(group).cloned();
        let of_all = self.groups.is_all().then(|| self.listen.address.clone());
        let of_groups = self.chosen().map(|(_, listener)| {
            address_of(&listener.group).unwrap_or_else(|| self.listen.address.clone())
        });
        let mut listens: Vec<Listen> = Vec::new();
        for address in of_all.into_iter().chain(of_groups) {
            if listens.iter().all(|other| other.address != address) {
                listens.push(Listen { address, ..self.listen.clone() });
            }
        }
        listens
    }

    /// The listener of this id.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownListener`].
    pub fn listener(&self, id: &str) -> Result<&ListenerConfig, Error> {
        self.listeners.get(id).ok_or_else(|| {
            let known: Vec<&str> = self.listeners.keys().map(String::as_str).collect();
            let (id, file) = (id.to_owned(), self.path.display().to_string());
            Error::UnknownListener { id, file, known: known.join(", ") }
        })
    }

    /// Warns of each old name.
    pub(crate) fn warn_of_old_names(&self) {
        for old in &self.old_names {
            warn!("{}: {old}", self.path.display());
        }
    }

    /// Whether the bus is the same as in `other`.
    pub fn has_same_bus(&self, other: &Self) -> bool {
        self.bus_as_written == other.bus_as_written
    }
}

fn groups_of(listeners: &BTreeMap<String, ListenerConfig>) -> BTreeSet<&str> {
    listeners.values().map(|listener| &*listener.group).collect()
}

fn read_listen(section: &Section) -> Listen {
    match read_old_address(section) {
        Some(address) => Listen::at(address, section),
        None => Listen::read(section, DEFAULT_PORT),
    }
}

/// `ip` and `port`: the old names of `address`.
fn read_old_address(section: &Section) -> Option<Address> {
    const OLD: [&str; 2] = ["ip", "port"];
    if !OLD.iter().any(|old| section.has(old)) {
        return None;
    }
    let ip: String = section.or("ip", "127.0.0.1".to_owned());
    let address = Address::new(&ip, section.or("port", DEFAULT_PORT));
    let Some(address) = address else {
        let problem = format!("{ip:?} is not an address");
        let remedy = format!("write address = \"127.0.0.1:{DEFAULT_PORT}\" instead");
        section.note("ip", &problem, &remedy);
        return None;
    };
    section.note_old(&OLD, "address", &format!("address = \"{address}\""));
    // That both are given is reported already. The mistake is that, and not an unknown key
    // `address`.
    section.raw("address");
    Some(address)
}

fn read_listeners(root: &Section) -> BTreeMap<String, ListenerConfig> {
    let section = root.section("listeners");
    let read = |id: &str| {
        if !group::is_name(id) {
            section.note(id, "cannot be the name of a listener", group::NAME_RULE);
        }
        (id.to_owned(), ListenerConfig::read(&section.section(id)))
    };
    section.keys().map(read).collect()
}

#[cfg(test)]
mod tests;
