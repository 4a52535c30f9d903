//! How a verb reaches the server: by the command line, and by the server's own config.

use std::path::{Path, PathBuf};

use clap::Args;
use event_log::{Client, ClientConfig, Compress, Error, MirrorConfig, ServerConfig, StorageConfig};
use service::{
    Listen, Secret,
    config::{self, Section},
    secret::SecretOrigin,
};

use super::Failure;

/// The variable that may hold the token.
pub(crate) const TOKEN_VARIABLE: &str = "EVENT_LOG_TOKEN";

/// Which stream of which log.
#[derive(Args)]
pub(crate) struct Where {
    /// The address of the log, as host:port, instead of that in the config.
    #[arg(long)]
    pub(crate) address: Option<String>,
    /// The stream; its name is `topicPrefix` in the config of dts.
    #[arg(long, default_value = "dbevents")]
    pub(crate) stream: String,
    /// A file with the token to show; else that in the variable EVENT_LOG_TOKEN, else that in the
    /// config.
    #[arg(long)]
    pub(crate) token_file: Option<PathBuf>,
    /// The certificate to trust (PEM), where the server uses TLS.
    #[arg(long)]
    pub(crate) ca_file: Option<PathBuf>,
    /// The certificate to show (PEM), where the server asks for one.
    #[arg(long, requires = "key_file")]
    pub(crate) cert_file: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, requires = "cert_file")]
    pub(crate) key_file: Option<PathBuf>,
}

/// The config file of a server.
pub(crate) struct Config {
    pub(crate) listen: ServerConfig,
    pub(crate) http: Listen,
    pub(crate) storage: StorageConfig,
}

/// Reads the config file of a server; what it says of a mirror is checked, too.
pub(crate) fn read(path: &Path) -> Result<Config, config::Mistakes> {
    let file = config::File::open(path)?;
    let server = read_server(file.root());
    let _checked = MirrorConfig::read(&file.root().section("mirror"));
    file.finish(server)
}

pub(crate) fn read_server(root: &Section) -> Config {
    let listen = ServerConfig::read(root);
    let http = Listen::read(&root.section("http"), 19289);
    let storage = StorageConfig::read(&root.section("storage"));
    Config { listen, http, storage }
}

/// A client of the address on the command line, else of the one in the config.
pub(crate) fn client(config: &Path, at: &Where) -> Result<Client, Failure> {
    let listen = match &at.address {
        Some(address) if !config.exists() => {
            let (address, clients) = (address.clone(), Vec::new());
            ServerConfig { address, token: None, tls: None, clients }
        }
        _ => read(config)?.listen,
    };
    let config = ClientConfig {
        address: at.address.clone().unwrap_or(listen.address),
        token: token(at.token_file.as_deref())?.or(listen.token),
        ca_file: at.ca_file.clone(),
        identity: at.cert_file.clone().zip(at.key_file.clone()),
        compress: Compress::Off,
    };
    Ok(Client::new(&config)?)
}

/// A token never stands on a command line: everybody on the machine can read that.
pub(crate) fn token(file: Option<&Path>) -> Result<Option<Secret>, Failure> {
    let origin = match file {
        Some(file) => SecretOrigin::File(file.to_owned()),
        None if std::env::var_os(TOKEN_VARIABLE).is_some() => {
            SecretOrigin::Env(TOKEN_VARIABLE.to_owned())
        }
        None => return Ok(None),
    };
    Ok(Some(Secret::fetch(origin).map_err(Error::Rejected)?))
}
