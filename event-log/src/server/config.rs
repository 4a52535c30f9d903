//! Where the server listens, and whom it lets in.

use std::path::PathBuf;

use service::{Listen, Secret, config::Section};

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
        let Listen { address, token } = Listen::read(section, 19288);
        Self { address: address.to_string(), token, tls: TlsFiles::read(section) }
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
