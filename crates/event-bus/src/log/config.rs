//! What `[bus]` says of a log.

use std::path::PathBuf;

use event_log::{ClientConfig, StorageConfig, TlsFiles};
use service::{Address, Secret, config::Section};

/// An event log as the bus.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Where the log listens, as `host:port`.
    pub address: String,
    /// Whether `dts` hosts the log in its own process.
    pub embedded: bool,
    /// What the log keeps, and where: for the process that hosts it.
    pub storage: StorageConfig,
    /// What clients show to the log, where it asks.
    pub token: Option<Secret>,
    /// The certificate of the log, for the process that hosts it; it speaks TLS when it is set.
    pub tls: Option<TlsFiles>,
    /// Trust in the log's certificate; TLS is used when it is set.
    pub ca_file: Option<PathBuf>,
    /// The certificate and key that clients show, where the log asks for them.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl LogConfig {
    pub(crate) fn read(section: &Section) -> Self {
        let config = Self {
            address: section.or("address", "127.0.0.1:19288".to_owned()),
            embedded: section.or("embedded", true),
            storage: StorageConfig::read(section),
            token: section.secret("token"),
            tls: TlsFiles::read(section),
            ca_file: section.optional("caFile"),
            identity: ClientConfig::identity_of(section),
        };
        config.check(section);
        config
    }

    fn check(&self, section: &Section) {
        let Ok(address) = self.address.parse::<Address>() else {
            let problem = format!("{:?} is not an address", self.address);
            section.note("address", &problem, "write host:port, for example 127.0.0.1:19288");
            return;
        };
        if self.embedded && !address.is_loopback() && self.token.is_none() {
            let problem = format!("is missing, while {address} can be reached from outside");
            let remedy = r#"set token = { env = "NAME" }, or listen on 127.0.0.1"#;
            section.note("token", &problem, remedy);
        }
    }
}
