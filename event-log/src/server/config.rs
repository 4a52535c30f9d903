//! Where the server listens, and whom it lets in.

use std::path::PathBuf;

use service::{Listen, Secret, config::Section};

use super::access::ClientConfig;

/// Where the server listens, and whom it lets in.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// `host:port`; port 0 takes a free one.
    pub address: String,
    /// Who shows it may do everything. Where the address is not on loopback, it or `clients` is
    /// needed.
    pub token: Option<Secret>,
    /// Whether it speaks TLS, and as whom.
    pub tls: Option<TlsFiles>,
    /// Who else is let in, with fewer rights than the token gives.
    pub clients: Vec<ClientConfig>,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, with its chain.
    pub cert_file: PathBuf,
    /// The key.
    pub key_file: PathBuf,
    /// The authorities of clients: who has no certificate of them is not let in.
    pub client_ca_file: Option<PathBuf>,
}

impl ServerConfig {
    /// Reads `[listen]` and `[access.NAME]` of a config; mistakes are noted there.
    pub fn read(root: &Section) -> Self {
        let section = root.section("listen");
        let clients = ClientConfig::read_all(&root.section("access"));
        let address = Listen::address(&section, 19288);
        let token = match clients.is_empty() {
            true => Listen::at(address.clone(), &section).token,
            false => Listen::token(&section),
        };
        Self { address: address.to_string(), token, tls: TlsFiles::read(&section), clients }
    }
}

impl TlsFiles {
    /// Reads `certFile` and `keyFile`, which go together, and `clientCaFile`.
    pub fn read(section: &Section) -> Option<Self> {
        let (cert_file, key_file) = (section.optional("certFile"), section.optional("keyFile"));
        let client_ca_file = section.optional("clientCaFile");
        match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => Some(Self { cert_file, key_file, client_ca_file }),
            (None, None) if client_ca_file.is_some() => {
                missing(section, "certFile", "clientCaFile")
            }
            (Some(_), None) => missing(section, "keyFile", "certFile"),
            (None, Some(_)) => missing(section, "certFile", "keyFile"),
            (None, None) => None,
        }
    }
}

fn missing(section: &Section, key: &str, other: &str) -> Option<TlsFiles> {
    section.note(key, "is missing", &format!("set it together with {other}, or neither"));
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use service::config::File;

    use super::*;

    #[test]
    fn a_server_that_others_can_reach_needs_a_token_or_clients_with_their_own() {
        let outside = "[listen]\naddress = '0.0.0.0:1'\n";
        for (more, said) in [
            ("", Some("listen.token: is missing, while 0.0.0.0:1 can be reached")),
            ("token = 't'", None),
            ("[access.app]\ntoken = 't'", None),
            ("token = ''\n[access.app]\ntoken = 't'", Some("listen.token: is empty")),
        ] {
            let file = File::parse(Path::new("l.toml"), &format!("{outside}{more}")).unwrap();
            let config = ServerConfig::read(file.root());
            let told = file.finish(config).map_err(|mistakes| mistakes.to_string()).err();
            match said {
                None => assert_eq!(told, None, "{more}"),
                Some(said) => assert!(told.unwrap().contains(said), "{more}"),
            }
        }
    }
}
