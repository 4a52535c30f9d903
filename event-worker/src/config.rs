//! What `db_event_listener.toml` says: where to listen, which bus, which listeners.

mod handler;
mod listener;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use event_bus::BusConfig;
use serde_json::Value;
use service::{
    Secret,
    config::{File, Mistakes, Section},
};

pub use handler::{ExecConfig, HandlerConfig, HttpConfig, Proxy};
pub use listener::{Actions, BigInt, ListenerConfig};

use crate::error::Error;

/// A whole config file.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// Where the HTTP API listens.
    pub listen: ListenConfig,
    /// Where the changes come from.
    pub bus: BusConfig,
    /// Where the supervisor keeps what must survive a restart.
    pub directory: PathBuf,
    /// The listeners by id.
    pub listeners: BTreeMap<String, ListenerConfig>,
    /// The environment variables that secrets were taken from.
    pub(crate) secret_variables: BTreeSet<String>,
    /// The `[bus]` section as written, to see whether a reload changes it.
    bus_as_written: Option<Value>,
}

/// Where the HTTP API listens, and who may call it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenConfig {
    /// Address and port.
    pub address: SocketAddr,
    /// What callers must show; `None` only on loopback.
    pub token: Option<Secret>,
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

    /// Reads a file that need not have any listener: for what is about the bus alone.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub(crate) fn open_for_bus(path: &Path) -> Result<Self, Mistakes> {
        let file = File::open(path)?;
        let config = Self::take(&file);
        file.finish(config)
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
            let remedy = "add a table [listeners.NAME] with a handler; to look at changes, one \
                          needs none: event-worker tail";
            file.root().note("listeners", "is missing", remedy);
        }
        file.finish(config)
    }

    fn take(file: &File) -> Self {
        let root = file.root();
        let supervisor = root.section("supervisor");
        let config = Self {
            path: file.path().to_owned(),
            listen: ListenConfig::read(&root.section("listen")),
            bus: BusConfig::read(&root.section("bus")),
            directory: supervisor.or("directory", PathBuf::from("data/event-worker")),
            listeners: read_listeners(root),
            secret_variables: BTreeSet::new(),
            bus_as_written: root.raw("bus").cloned(),
        };
        Self { secret_variables: file.secret_variables(), ..config }
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

    /// Whether the bus is the same as in `other`.
    pub fn has_same_bus(&self, other: &Self) -> bool {
        self.bus_as_written == other.bus_as_written
    }
}

impl ListenConfig {
    fn read(section: &Section) -> Self {
        const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let ip = section.optional::<String>("ip").map_or(LOOPBACK, |text| {
            text.parse().unwrap_or_else(|_| {
                let problem = format!("{text:?} is not an IP address");
                section.note("ip", &problem, "write one, for example 127.0.0.1 or 0.0.0.0");
                LOOPBACK
            })
        });
        let token = section.secret("token");
        if !ip.is_loopback() && token.is_none() && !section.has("token") {
            let problem = format!("is missing, while {ip} can be reached from outside");
            section.note("token", &problem, r#"set token = { env = "NAME" }, or ip = "127.0.0.1""#);
        }
        if token.as_ref().is_some_and(|token| token.expose().is_empty()) {
            section.note("token", "is empty", "set one that nobody guesses");
        }
        Self { address: SocketAddr::new(ip, section.or("port", 12359)), token }
    }
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
