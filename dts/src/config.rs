//! `dts.toml`: what the user can set, and what it means.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::SystemTime};

use binlog::GtidSet;
use bytesize::ByteSize;
use event_bus::BusConfig;
use serde_json::Value;
use service::{
    Listen, Secret,
    address::is_loopback,
    config::{File, Mistakes, Section},
};

use crate::{capture::Capture, full_sync::FullSyncConfig, let_in::LetIn};

/// The whole config of a `dts`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names the checkpoint and the one producer.
    pub name: String,
    /// Where `dts` keeps notes that are not in the checkpoint.
    pub directory: PathBuf,
    /// Where to begin when there is no checkpoint.
    pub start: Start,
    /// The MySQL to read.
    pub source: SourceConfig,
    /// Which tables, and their keys.
    pub capture: Arc<Capture>,
    /// Where XA transactions wait for their commit.
    pub xa: XaConfig,
    /// Where to publish.
    pub bus: BusConfig,
    /// How full syncs send tables.
    pub full_sync: FullSyncConfig,
    /// Where status and metrics are served.
    pub listen: Listen,
    /// The sections as the file has them. A reload compares them with the new file.
    pub(crate) as_written: BTreeMap<&'static str, Value>,
}

/// Where XA transactions wait for their commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XaConfig {
    /// Where rows are kept that do not fit into memory.
    pub directory: PathBuf,
    /// The most bytes of rows of all open XA transactions.
    pub max_bytes: u64,
}

impl XaConfig {
    fn read(section: &Section) -> Self {
        let directory = section.or("directory", PathBuf::from("data/xa"));
        let max_bytes = section.or("maxBytes", ByteSize::gib(4)).as_u64();
        Self { directory, max_bytes }
    }
}

/// Where to begin the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next transaction after now.
    Latest,
    /// With the oldest transaction that the server still has.
    Earliest,
    /// After these transactions.
    Gtid(GtidSet),
    /// At a place in a binlog file, which must be a boundary between transactions.
    File(String, u64),
    /// With the first transaction committed at or after a time.
    Time(SystemTime),
}

/// How to connect to MySQL.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Name or address of the host to connect to.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// All hosts that may be read from, with their ports; the first is tried first.
    pub hosts: Vec<(String, u16)>,
    /// What to do if no host has transactions that we have read.
    pub on_lost: OnLost,
    /// The replication user.
    pub user: String,
    /// Its password, if it has one.
    pub password: Option<Secret>,
    /// How the connection is protected.
    pub tls: Tls,
    /// Our id as a replica; unique among all replicas of the server.
    pub server_id: u32,
    /// Whether a server has let us in with this config since the process began.
    pub let_in: LetIn,
}

/// What to do about lost transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLost {
    /// Stop, and name the transactions and their tables.
    Stop,
    /// Name the transactions and their tables, and go on with what the server has.
    Accept,
}

/// TLS of the connection to MySQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Off, encrypted, or encrypted and checked.
    pub mode: TlsMode,
    /// Authorities to trust instead of the usual ones (PEM).
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key (PEM).
    pub client: Option<(PathBuf, PathBuf)>,
}

/// How much protection TLS must give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// None.
    Off,
    /// Encrypted; the server's certificate is not checked.
    Require,
    /// Encrypted, and a trusted authority must have signed the certificate; the name does not
    /// count.
    VerifyCa,
    /// Encrypted, and the certificate must be valid and name the host.
    Verify,
}

impl Config {
    /// Reads a config file.
    ///
    /// # Errors
    ///
    /// Every mistake in it.
    pub fn open(path: &std::path::Path) -> Result<Self, Mistakes> {
        let file = File::open(path)?;
        let config = Self::read(file.root());
        file.finish(config)
    }

    /// Reads a config file to call the running `dts`, which may run with an earlier version of the
    /// file. Only `[listen]` must be right, and only its secrets are read.
    ///
    /// # Errors
    ///
    /// Every mistake in `[listen]`.
    pub fn open_to_call(path: &std::path::Path) -> Result<Self, Mistakes> {
        let file = File::open(path)?.with_secrets_of(&["listen"]);
        let config = Self::read(file.root());
        file.finish_of(&["listen"], config)
    }

    /// The same under another server id, for a verb beside the running `dts`: if two replicas have
    /// one id, the server cuts one of them off.
    #[must_use]
    pub fn beside(mut self) -> Self {
        let process = format!("{} {}", std::process::id(), self.source.server_id);
        self.source.server_id = derive_server_id(&process, &self.source.host);
        self
    }

    fn read(root: &Section) -> Self {
        let name: String = root.required("name", "dts".to_owned());
        check_name(root, &name);
        let listen = Listen::read(&root.section("listen"), 12358);
        // Two `dts` of one name may be stand-bys for each other, even on one machine.
        let process = format!("{name} {}", listen.address);
        Self {
            directory: root.or("directory", PathBuf::from("data/dts")),
            start: read_start(root),
            source: SourceConfig::read(&root.section("source"), &process),
            capture: Arc::new(Capture::read(&root.section("capture"))),
            xa: XaConfig::read(&root.section("xa")),
            bus: BusConfig::read(&root.section("bus")),
            full_sync: FullSyncConfig::read(&root.section("fullSync")),
            listen,
            name,
            as_written: as_written(root),
        }
    }
}

fn as_written(root: &Section) -> BTreeMap<&'static str, Value> {
    const KEYS: [&str; 7] = ["name", "source", "capture", "xa", "bus", "fullSync", "listen"];
    KEYS.iter().filter_map(|key| Some((*key, root.raw(key)?.clone()))).collect()
}

fn check_name(root: &Section, name: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
        let remedy = "use 1 to 100 letters, digits, '.', '_' and '-'";
        root.note("name", &format!("{name:?} is not a name"), remedy);
    }
}

fn read_start(root: &Section) -> Start {
    const FORMS: &str = "write \"latest\", \"earliest\", { gtid = \"uuid:1-5\" }, \
        { file = \"binlog.000001\", pos = 4 } or { time = \"2026-01-01T00:00:00Z\" }";
    match root.raw("start") {
        None => Start::Latest,
        Some(value) => Start::parse(value).unwrap_or_else(|| {
            root.note("start", &format!("{value} is not a place to start"), FORMS);
            Start::Latest
        }),
    }
}

impl Start {
    /// Reads a place to start in the form of `dts.toml`; `None` when it is not one.
    pub fn parse(value: &Value) -> Option<Self> {
        if let Some(word) = value.as_str() {
            return match word {
                "latest" => Some(Self::Latest),
                "earliest" => Some(Self::Earliest),
                _ => None,
            };
        }
        let table = value.as_object()?;
        let text = |key: &str| table.get(key).and_then(Value::as_str);
        match table.len() {
            1 if table.contains_key("gtid") => text("gtid")?.parse().ok().map(Self::Gtid),
            1 if table.contains_key("time") => {
                humantime::parse_rfc3339(text("time")?).ok().map(Self::Time)
            }
            2 => {
                let pos = table.get("pos")?.as_u64().filter(|pos| *pos >= 4)?;
                Some(Self::File(text("file")?.to_owned(), pos))
            }
            _ => None,
        }
    }
}

impl SourceConfig {
    fn read(section: &Section, process: &str) -> Self {
        let texts = section.or("hosts", vec!["127.0.0.1:3306".to_owned()]);
        let hosts = read_hosts(section, &texts);
        let (host, port) = hosts.first().cloned().unwrap_or_default();
        let server_id = match section.or("serverId", 0) {
            0 => derive_server_id(process, &texts.join(",")),
            id => id,
        };
        let accept = section.choice("onLostTransactions", ["stop", "accept"]) == Some(1);
        Self {
            tls: Tls::read(section, &hosts),
            user: section.required("user", String::new()),
            password: section.secret("password"),
            on_lost: if accept { OnLost::Accept } else { OnLost::Stop },
            server_id,
            host,
            port,
            hosts,
            let_in: LetIn::default(),
        }
    }

    /// The same for each of the hosts.
    pub fn each_host(&self) -> impl Iterator<Item = Self> {
        self.hosts.iter().map(|(host, port)| Self {
            host: host.clone(),
            port: *port,
            ..self.clone()
        })
    }
}

fn read_hosts(section: &Section, texts: &[String]) -> Vec<(String, u16)> {
    let mut hosts: Vec<(String, u16)> = Vec::new();
    for text in texts {
        match split_address(text) {
            Some(host) if hosts.contains(&host) => {
                section.note("hosts", &format!("{text:?} is named twice"), "name it once");
            }
            Some(host) => hosts.push(host),
            None => {
                let problem = format!("{text:?} is not an address");
                section.note("hosts", &problem, "write \"host:3306\"");
            }
        }
    }
    if texts.is_empty() {
        section.note("hosts", "is empty", "name at least one host: [\"host:3306\"]");
    }
    hosts
}

impl Tls {
    fn read(section: &Section, hosts: &[(String, u16)]) -> Self {
        const MODES: [TlsMode; 4] =
            [TlsMode::Off, TlsMode::Require, TlsMode::VerifyCa, TlsMode::Verify];
        let is_near = hosts.iter().all(|(host, _)| is_loopback(host));
        let default = if is_near { TlsMode::Off } else { TlsMode::Verify };
        let mode = section.choice("tls", ["off", "require", "verify-ca", "verify"]);
        let mode = mode.map_or(default, |at| MODES[at]);
        let ca_file = section.optional("caFile");
        let cert: Option<PathBuf> = section.optional("certFile");
        let key: Option<PathBuf> = section.optional("keyFile");
        if cert.is_some() != key.is_some() {
            section.note("certFile", "and keyFile belong together", "set both or none");
        }
        for (key, path) in [("caFile", &ca_file), ("certFile", &cert), ("keyFile", &key)] {
            if let Some(Err(error)) = path.as_ref().map(std::fs::metadata) {
                section.note(key, &format!("cannot be read: {error}"), "name an existing file");
            }
        }
        if ca_file.is_some() && matches!(mode, TlsMode::Off | TlsMode::Require) {
            let remedy = "set tls = \"verify\" (or \"verify-ca\", for which the host's name does not \
                          count), or remove caFile";
            section.note(
                "caFile",
                "has no effect: with this tls no certificate is checked",
                remedy,
            );
        }
        if cert.is_some() && mode == TlsMode::Off {
            let remedy = "set tls = \"verify\", or remove certFile and keyFile";
            section.note("certFile", "has no effect: tls is off", remedy);
        }
        Self { mode, ca_file, client: cert.zip(key) }
    }
}

/// `host`, `host:port`, `[v6]:port`.
fn split_address(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok()?)
        }
        _ => (text, 3306),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// An id in the upper half of the range, where ids set by hand seldom are; the same at each start.
fn derive_server_id(process: &str, address: &str) -> u32 {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hash = crc32fast::hash(format!("{process}\n{address}\n{machine}").as_bytes());
    hash | 1 << 31
}

#[cfg(test)]
mod tests {
    use service::config::commented::{
        blocks_of_docs, commented_keys, is_wrong, plain_keys, without_environment, wrong_keys,
    };

    use super::*;

    fn read(text: &str) -> Result<Config, Mistakes> {
        let file = File::parse(std::path::Path::new("dts.toml"), text)?;
        let config = Config::read(file.root());
        file.finish(config)
    }

    #[test]
    fn the_smallest_config_has_the_documented_defaults() {
        let config = read("name = 'shop'\n[source]\nuser = 'dts'\n").unwrap();
        assert_eq!(config.start, Start::Latest);
        assert_eq!((config.source.host.as_str(), config.source.port), ("127.0.0.1", 3306));
        assert_eq!(config.source.tls.mode, TlsMode::Off);
        assert!(config.source.server_id >= 1 << 31);
        assert_eq!(config.listen.address.to_string(), "127.0.0.1:12358");
    }

    #[test]
    fn off_loopback_the_certificate_is_checked_unless_the_config_says_otherwise() {
        let tls = |source: &str| {
            read(&format!("name = 'a'\n[source]\nuser = 'u'\n{source}")).unwrap().source.tls.mode
        };
        assert_eq!(tls("hosts = ['db.example']"), TlsMode::Verify);
        assert_eq!(tls("hosts = ['db.example']\ntls = 'require'"), TlsMode::Require);
        assert_eq!(tls("hosts = ['[::1]:3307']"), TlsMode::Off);
        assert_eq!(tls("tls = 'verify-ca'"), TlsMode::VerifyCa);
    }

    #[test]
    fn a_file_that_the_tls_mode_does_not_use_is_a_mistake() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |mode: &str, keys: &[&str]| {
            let path = file.path().display();
            let keys: String = keys.iter().map(|key| format!("{key} = '{path}'\n")).collect();
            read(&format!("name = 'a'\n[source]\nuser = 'u'\ntls = '{mode}'\n{keys}"))
        };
        for (mode, keys, is_right) in [
            ("verify", &["caFile"][..], true),
            ("verify-ca", &["caFile", "certFile", "keyFile"], true),
            ("require", &["caFile"], false),
            ("off", &["caFile"], false),
            ("require", &["certFile", "keyFile"], true),
            ("off", &["certFile", "keyFile"], false),
        ] {
            let said = read(mode, keys).map(|_| ()).map_err(|mistakes| mistakes.to_string());
            assert_eq!(said.is_ok(), is_right, "{mode} {keys:?}: {said:?}");
        }
    }

    #[test]
    fn several_hosts_are_tried_in_their_order() {
        let source = |text: &str| {
            read(&format!("name = 'a'\n[source]\nuser = 'u'\n{text}")).map(|config| config.source)
        };
        let pair = source("hosts = ['127.0.0.1:3307', 'db-2']").unwrap();
        let tried: Vec<_> = pair.each_host().map(|one| (one.host, one.port)).collect();
        assert_eq!(tried, [("127.0.0.1".to_owned(), 3307), ("db-2".to_owned(), 3306)]);
        assert_eq!((pair.host.as_str(), pair.on_lost), ("127.0.0.1", OnLost::Stop));
        assert_eq!(pair.tls.mode, TlsMode::Verify, "one of them is elsewhere");
        let accepting = source("onLostTransactions = 'accept'").unwrap();
        assert_eq!(accepting.on_lost, OnLost::Accept);
        for wrong in ["hosts = []", "hosts = ['a', 'a:3306']", "onLostTransactions = 'ignore'"] {
            assert!(source(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_form_of_start_is_read() {
        let start = |text: &str| {
            read(&format!("name = 'a'\nstart = {text}\n[source]\nuser = 'u'")).map(|c| c.start)
        };
        assert_eq!(start("'earliest'").unwrap(), Start::Earliest);
        let gtid = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5";
        assert_eq!(
            start(&format!("{{ gtid = '{gtid}' }}")).unwrap(),
            Start::Gtid(gtid.parse().unwrap())
        );
        assert_eq!(
            start("{ file = 'b.000001', pos = 4 }").unwrap(),
            Start::File("b.000001".to_owned(), 4)
        );
        assert!(matches!(start("{ time = '2026-01-01T00:00:00Z' }").unwrap(), Start::Time(_)));
        for wrong in ["'newest'", "{ gtid = 'x' }", "{ file = 'b', pos = 3 }", "{ time = 'noon' }"]
        {
            assert!(start(wrong).unwrap_err().to_string().contains("start: "), "{wrong}");
        }
    }

    #[test]
    fn an_open_port_needs_a_token() {
        let text = "name = 'a'\n[source]\nuser = 'u'\n[listen]\naddress = '0.0.0.0:1'\n";
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains("listen.token"), "{error}");
        assert!(read(&format!("{text}token = 't'\n")).is_ok());
    }

    /// The meaning of a text.
    fn meaning(text: &str) -> Result<String, String> {
        let config = read(text).map_err(|mistakes| mistakes.to_string())?;
        Ok(format!("{:?}", Config { as_written: BTreeMap::new(), ..config }))
    }

    #[test]
    fn every_key_of_the_config_that_we_ship_is_known_and_shows_its_default() {
        let shipped = include_str!("../../config/dts.toml");
        assert_eq!(plain_keys(shipped), ["name", "source.user", "source.password"]);
        meaning(&without_environment(shipped)).unwrap();
        let keys = commented_keys(shipped);
        assert_eq!(wrong_keys(&keys, meaning), Vec::<String>::new());
        let defaults = keys.iter().filter(|key| key.shows_default).count();
        assert!((28..keys.len()).contains(&defaults), "{defaults} of {}", keys.len());
    }

    #[test]
    fn the_configs_of_the_containers_and_of_the_docs_have_every_key_right() {
        let compose = include_str!("../../config/compose/dts.toml");
        meaning(&without_environment(compose)).unwrap();
        let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let blocks = blocks_of_docs(repository).unwrap().into_iter();
        let others = |block: &String| block.contains("[listeners.") || block.contains("[relay.");
        let ours: Vec<String> = blocks.filter(|block| !others(block)).collect();
        assert!(ours.len() >= 4, "{ours:?}");
        for block in ours {
            let said = meaning(&block).err().unwrap_or_default();
            assert!(!is_wrong(&said), "{block}: {said}");
        }
    }
}
