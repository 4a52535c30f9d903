//! Where the server listens, and whom it lets in.

use std::path::PathBuf;

use service::{Secret, config::Section};

use crate::config::{is_address, is_loopback};

/// Where the server listens, and whom it lets in.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// `host:port`; port 0 takes a free one.
    pub address: String,
    /// What clients must show; needed where the address is not on loopback.
    pub token: Option<Secret>,
    /// Whether it speaks TLS, and as whom.
    pub tls: Option<TlsFiles>,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, with its chain.
    pub cert_file: PathBuf,
    /// The key.
    pub key_file: PathBuf,
}

impl ServerConfig {
    /// Reads `address`, `token`, `certFile` and `keyFile`; mistakes are noted there.
    pub fn read(section: &Section) -> Self {
        let address = section.or("address", "127.0.0.1:19288".to_owned());
        let token = section.secret("token");
        if !is_address(&address) {
            let problem = format!("{address:?} is not an address");
            section.note("address", &problem, "write host:port, for example 127.0.0.1:19288");
        } else if !is_loopback(&address) && token.is_none() {
            let problem = format!("is missing, while {address} can be reached from outside");
            let remedy = r#"set token = { env = "NAME" }, or listen on 127.0.0.1"#;
            section.note("token", &problem, remedy);
        }
        Self { address, token, tls: TlsFiles::read(section) }
    }
}

impl TlsFiles {
    /// Reads `certFile` and `keyFile`, which go together.
    pub fn read(section: &Section) -> Option<Self> {
        let (cert_file, key_file) = (section.optional("certFile"), section.optional("keyFile"));
        match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => Some(Self { cert_file, key_file }),
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
