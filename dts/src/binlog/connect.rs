//! A connection to MySQL as the config says, and what its errors mean.

use std::{io::ErrorKind, time::Duration};

use mysql_async::{ClientIdentity, Opts, OptsBuilder, SslOpts};

use super::{conn::Conn, wire::MAX_PACKET_BYTES};
use crate::{
    config::{SourceConfig, Tls, TlsMode},
    error::{Error, Result},
};

/// How long a connection may take to be made, log-in included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a connection and logs in.
///
/// # Errors
///
/// Away when there is no answer; refused when MySQL does not let us in or TLS fails.
pub async fn connect(config: &SourceConfig) -> Result<Conn> {
    let client = mysql_async::Conn::new(options(config));
    match tokio::time::timeout(CONNECT_TIMEOUT, client).await {
        Ok(Ok(client)) => {
            let mut conn = Conn::from(client);
            conn.query_drop("SET NAMES utf8mb4").await.map_err(|error| classify(config, error))?;
            Ok(conn)
        }
        Ok(Err(error)) => Err(classify(config, error)),
        Err(_) => Err(silent(config, format!("no answer within {CONNECT_TIMEOUT:?}"))),
    }
}

fn options(config: &SourceConfig) -> Opts {
    OptsBuilder::default()
        .ip_or_hostname(config.host.clone())
        .tcp_port(config.port)
        .user(Some(config.user.clone()))
        .pass(config.password.as_ref().map(|password| password.expose().to_owned()))
        .ssl_opts(ssl_options(&config.tls))
        // Without it a loopback address is silently dialled again through the server's socket.
        .prefer_socket(false)
        .max_allowed_packet(Some(MAX_PACKET_BYTES))
        .tcp_keepalive(Some(Duration::from_secs(30)))
        .into()
}

fn ssl_options(tls: &Tls) -> Option<SslOpts> {
    if tls.mode == TlsMode::Off {
        return None;
    }
    let mut options = SslOpts::default();
    if let Some(path) = &tls.ca_file {
        options =
            options.with_root_certs(vec![path.clone().into()]).with_disable_built_in_roots(true);
    }
    if let Some((cert, key)) = &tls.client {
        let identity = ClientIdentity::new(cert.clone().into(), key.clone().into());
        options = options.with_client_identity(Some(identity));
    }
    if tls.mode == TlsMode::Require {
        options =
            options.with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true);
    }
    Some(options)
}

/// The address, as messages name it.
pub(super) fn address(config: &SourceConfig) -> String {
    format!("{}:{}", config.host, config.port)
}

pub(super) fn away(config: &SourceConfig, reason: String) -> Error {
    Error::SourceAway { address: address(config), reason }
}

pub(super) fn silent(config: &SourceConfig, reason: String) -> Error {
    Error::SourceSilent { address: address(config), reason }
}

/// What an error of the client means: whether to try again, and what to do if not.
pub(crate) fn classify(config: &SourceConfig, error: mysql_async::Error) -> Error {
    match error {
        mysql_async::Error::Server(error) => classify_server(config, &error),
        mysql_async::Error::Io(mysql_async::IoError::Tls(error)) => tls_failed(config, &error),
        mysql_async::Error::Io(mysql_async::IoError::Io(error)) if is_of_tls(&error) => {
            tls_failed(config, &error)
        }
        mysql_async::Error::Driver(mysql_async::DriverError::NoClientSslFlagFromServer) => {
            Error::refused(
                format!("MySQL at {} offers no TLS", address(config)),
                "turn TLS on there, or set source.tls = \"off\"",
            )
        }
        mysql_async::Error::Driver(error @ mysql_async::DriverError::UnknownAuthPlugin { .. }) => {
            Error::refused(
                format!("MySQL at {}: {error}", address(config)),
                "give the user caching_sha2_password or mysql_native_password",
            )
        }
        mysql_async::Error::Io(mysql_async::IoError::Io(error)) => match error.kind() {
            ErrorKind::TimedOut => silent(config, error.to_string()),
            _ => away(config, error.to_string()),
        },
        mysql_async::Error::Driver(error) => away(config, error.to_string()),
        error => away(config, error.to_string()),
    }
}

/// A handshake that failed comes as an error of the socket.
fn is_of_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn tls_failed(config: &SourceConfig, error: &dyn std::fmt::Display) -> Error {
    Error::refused(
        format!("TLS with MySQL at {} failed: {error}", address(config)),
        "set source.caFile to the authority that signed the server's certificate and name the \
         host as the certificate does, or set source.tls = \"require\" to encrypt unchecked",
    )
}

/// As [`classify`], for a user that is logged in already: to register as a replica without the
/// right to is answered with "access denied", as a wrong password is.
pub(super) fn classify_dump(config: &SourceConfig, error: mysql_async::Error) -> Error {
    match error {
        mysql_async::Error::Server(error) if error.code == 1045 => {
            Error::refused(problem(config, &error), grant(config))
        }
        error => classify(config, error),
    }
}

fn problem(config: &SourceConfig, error: &mysql_async::ServerError) -> String {
    format!("MySQL at {} says: {} ({})", address(config), error.message, error.code)
}

fn grant(config: &SourceConfig) -> String {
    let user = &config.user;
    format!(
        "run GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{user}'@'…' (`dts check` \
         prints all that is needed)"
    )
}

/// Server errors by number (MySQL manual, "Server Error Message Reference").
fn classify_server(config: &SourceConfig, error: &mysql_async::ServerError) -> Error {
    let problem = problem(config, error);
    let user = &config.user;
    match error.code {
        1045 | 1044 | 1698 | 1130 => Error::refused(
            problem,
            format!("check source.user and source.password; user {user:?} must exist for our host"),
        ),
        1142 | 1227 => Error::refused(problem, grant(config)),
        // ER_MASTER_FATAL_ERROR_READING_BINLOG: many causes.
        1236 if error.message.contains("same server_uuid/server_id") => Error::refused(
            problem,
            "another replica has our id: set source.serverId to a number that nobody else uses",
        ),
        // With GTIDs a server sends no transaction that has none.
        1236 if error.message.contains("anonymous") => Error::refused(
            problem,
            "SET GLOBAL gtid_mode = ON_PERMISSIVE there, until dts has read what was written without \
             GTIDs; then ON again",
        ),
        // What a MariaDB says of a file that it was writing when it crashed.
        1236 if error.message.contains("truncated in the middle of event") => {
            Error::Torn { file: String::new(), pos: 0 }
        }
        1236 => Error::refused(
            problem,
            "the server cannot send the binlog from our position; when it was purged, the changes \
             in between are lost: begin with what is left (`dts position set earliest`) and send \
             the captured tables anew",
        ),
        _ => away(config, format!("{} ({})", error.message, error.code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> SourceConfig {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dts.toml");
        std::fs::write(&path, "name = 'a'\n[source]\nuser = 'u'\n").unwrap();
        crate::config::Config::open(&path).unwrap().source
    }

    #[test]
    fn an_error_of_the_socket_is_told_once() {
        let error = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "reset by peer");
        let error = mysql_async::Error::Io(mysql_async::IoError::Io(error));
        let said = classify(&source(), error).to_string();
        assert_eq!(said, "MySQL at 127.0.0.1:3306: reset by peer");
    }
}
