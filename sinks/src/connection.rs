//! How servers of SQL are connected to: hosts and TLS.

use std::path::PathBuf;

use mysql_async::{OptsBuilder, SslOpts};
use service::{Address, Secret, config::Section};

/// The most bytes of a statement or an answer: what MySQL allows at the most.
const MAX_PACKET_BYTES: usize = 1 << 30;

/// How the connection is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SqlTls {
    pub(crate) mode: SqlTlsMode,
    /// The authority to trust instead of those that are known everywhere.
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SqlTlsMode {
    Off,
    /// Encrypted; the certificate is not looked at.
    Require,
    /// The certificate must be that of the host.
    Verify,
}

impl SqlTls {
    /// Reads `tls` and `caFile`. Without them, connections to this machine are not encrypted, and
    /// all others are, with a certificate that is verified.
    pub(crate) fn read(section: &Section, hosts: &[Address]) -> Self {
        let is_here = hosts.iter().all(Address::is_loopback);
        let ca_file: Option<PathBuf> = section.optional("caFile");
        let mode = match section.choice("tls", ["off", "require", "verify"]) {
            Some(0) => SqlTlsMode::Off,
            Some(1) => SqlTlsMode::Require,
            None if is_here && ca_file.is_none() => SqlTlsMode::Off,
            _ => SqlTlsMode::Verify,
        };
        Self { mode, ca_file }
    }

    /// The same for a client of MySQL.
    fn of_mysql(&self) -> Option<SslOpts> {
        let mut options = SslOpts::default();
        if let Some(path) = &self.ca_file {
            options = options
                .with_root_certs(vec![path.clone().into()])
                .with_disable_built_in_roots(true);
        }
        match self.mode {
            SqlTlsMode::Off => None,
            SqlTlsMode::Require => Some(
                options
                    .with_danger_accept_invalid_certs(true)
                    .with_danger_skip_domain_validation(true),
            ),
            SqlTlsMode::Verify => Some(options),
        }
    }
}

/// How a server of MySQL is connected to. A password in a file is read anew.
pub(crate) fn mysql_options(
    host: &Address,
    (user, password): (&str, Option<&Secret>),
    tls: &SqlTls,
) -> OptsBuilder {
    let (host, port) = host.host_and_port();
    OptsBuilder::default()
        .ip_or_hostname(host.to_owned())
        .tcp_port(port)
        .user(Some(user))
        .pass(password.map(|secret| secret.renewed().expose().to_owned()))
        .ssl_opts(tls.of_mysql())
        .prefer_socket(false)
        .max_allowed_packet(Some(MAX_PACKET_BYTES))
}

/// Reads `hosts`: a list of `host` or `host:port`.
pub(crate) fn read_hosts(section: &Section, port: u16) -> Vec<Address> {
    let texts: Vec<String> = section.or("hosts", vec![format!("127.0.0.1:{port}")]);
    if texts.is_empty() {
        section.note("hosts", "is empty", "name at least one, for example \"127.0.0.1\"");
    }
    let read = |text: &String| {
        let found = text.parse::<Address>().ok().or_else(|| Address::new(text, port));
        if found.is_none() {
            let problem = format!("{text:?} is no host");
            section.note("hosts", &problem, &format!("write \"host\" or \"host:{port}\""));
        }
        found
    };
    texts.iter().filter_map(read).collect()
}
