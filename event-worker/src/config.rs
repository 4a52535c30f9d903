//! What `db_event_listener.toml` says: where to listen, which bus, which listeners.

mod environment;
mod handler;
mod listener;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use event_bus::BusConfig;
use serde_json::Value;
use service::{
    Address, Listen,
    config::{File, Mistakes, OldName, Section},
};
use tracing::warn;

pub use environment::EnvironmentConfig;
pub use handler::{ExecConfig, HandlerConfig, HttpConfig, Proxy};
pub use listener::{Actions, BigInt, ListenerConfig};

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
    /// The listeners by id.
    pub listeners: BTreeMap<String, ListenerConfig>,
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

    /// Reads a file that need not have a listener, for commands that need only the bus.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub(crate) fn open_for_bus(path: &Path) -> Result<Self, Mistakes> {
        let file = File::open(path)?;
        let config = Self::take(&file);
        file.finish(config)
    }

    /// Reads a file in order to call the running program, which may have an earlier version of the
    /// file. Only `[listen]` must be right, and only its secrets are read.
    ///
    /// # Errors
    ///
    /// All that is wrong in `[listen]`.
    pub(crate) fn open_to_call(path: &Path) -> Result<Self, Mistakes> {
        let file = File::open(path)?.with_secrets_of("listen");
        let config = Self::take(&file);
        file.finish_of("listen", config)
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
        let config = Self::take(&file);
        if config.listeners.is_empty() {
            let remedy = "add a table [listeners.NAME] with a handler; to look at changes \
                          without a listener: event-worker tail";
            file.root().note("listeners", "is missing", remedy);
        }
        file.finish(config)
    }

    fn take(file: &File) -> Self {
        let root = file.root();
        let supervisor = root.section("supervisor");
        let config = Self {
            path: file.path().to_owned(),
            listen: read_listen(&root.section("listen")),
            bus: BusConfig::read(&root.section("bus")),
            environment: EnvironmentConfig::read(&root.section("environment")),
            directory: supervisor.or("directory", PathBuf::from("data/event-worker")),
            listeners: read_listeners(root),
            secret_variables: BTreeSet::new(),
            old_names: Vec::new(),
            bus_as_written: root.raw("bus").cloned(),
        };
        let (secret_variables, old_names) = (file.secret_variables(), file.old_names());
        Self { secret_variables, old_names, ..config }
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
        if !is_id(id) {
            let remedy = "use up to 64 of A-Z a-z 0-9 _ -, beginning with a letter or digit";
            section.note(id, "cannot be the name of a listener", remedy);
        }
        (id.to_owned(), ListenerConfig::read(&section.section(id)))
    };
    section.keys().map(read).collect()
}

/// The id is part of a group's name on the bus and of the API's paths.
fn is_id(id: &str) -> bool {
    id.len() <= 64
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests;
