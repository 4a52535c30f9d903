//! A connection to MySQL as the config says, and what its errors mean.

use std::{io::ErrorKind, time::Duration};

use mysql_async::{ClientIdentity, Opts, OptsBuilder, SslOpts};

use source_table::Conn;

use super::wire::MAX_PACKET_BYTES;
use crate::{
    config::{SourceConfig, Tls, TlsMode},
    error::{Error, Result},
};

/// How long making a connection may take, with log-in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// `ER_DBACCESS_DENIED_ERROR`: the user is let in, but not to this schema.
const NO_SCHEMA: u16 = 1044;

/// Opens a connection and logs in.
///
/// # Errors
///
/// Away when there is no answer; refused when MySQL does not let us in or TLS fails.
pub async fn connect(config: &SourceConfig) -> Result<Conn> {
    let client = mysql_async::Conn::new(options(config));
    match tokio::time::timeout(CONNECT_TIMEOUT, client).await {
        Ok(Ok(client)) => {
            config.let_in.note();
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
        .pass(config.password.as_ref().map(|password| password.renewed().expose().to_owned()))
        .ssl_opts(ssl_options(&config.tls))
        // Without this, the client connects to a loopback address again through the server's
        // socket, without saying so.
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
    Some(match tls.mode {
        TlsMode::Require => {
            options.with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true)
        }
        // If the error has this word in it, the client accepts a certificate for another name, and
        // nothing worse. rustls writes the wanted name into the error, but not this word.
        TlsMode::VerifyCa => options
            .with_danger_tls_hostname_override(Some("NotValidForName"))
            .with_danger_skip_domain_validation(true),
        TlsMode::Verify | TlsMode::Off => options,
    })
}

/// The address, as messages name it.
pub(super) fn address(config: &SourceConfig) -> String {
    format!("{}:{}", config.host, config.port)
}

pub(crate) fn away(config: &SourceConfig, reason: String) -> Error {
    Error::SourceAway { address: address(config), reason }
}

pub(super) fn silent(config: &SourceConfig, reason: String) -> Error {
    Error::SourceSilent { address: address(config), reason }
}

/// What an error of the client means: whether trying again makes sense, and what to do if not.
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

/// A failed handshake comes as an error of the socket.
fn is_of_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn tls_failed(config: &SourceConfig, error: &dyn std::fmt::Display) -> Error {
    Error::refused(
        format!("TLS with MySQL at {} failed: {error}", address(config)),
        "set source.caFile to the authority that signed the server's certificate and name the \
         host as the certificate does; or set source.tls = \"verify-ca\", for which the name does \
         not count, or \"require\" to encrypt unchecked",
    )
}

/// As [`classify`], for a user that is logged in already: without the privilege to replicate, the
/// server answers a registration with "access denied", as it does for a wrong password.
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

/// What to do so that the server lets us in (where MariaDB has codes of its own, they come after
/// MySQL's).
fn let_us_in(config: &SourceConfig, error: &mysql_async::ServerError) -> Option<String> {
    let user = &config.user;
    Some(match error.code {
        1045 | 1044 | 1698 | 1130 => {
            let tls = match config.tls.mode {
                TlsMode::Off => {
                    "; a user that was created with REQUIRE SSL needs another source.tls than \
                     \"off\""
                }
                _ => "",
            };
            format!(
                "check source.user and source.password; user {user:?} must exist for our host{tls}"
            )
        }
        // ER_ACCOUNT_HAS_BEEN_LOCKED
        3118 | 4151 => format!("the account is locked: run ALTER USER '{user}'@'…' ACCOUNT UNLOCK"),
        // ER_USER_ACCESS_DENIED_FOR_USER_ACCOUNT_BLOCKED_BY_PASSWORD_LOCK
        3955 => format!(
            "the account is locked because a wrong password was given too often: correct \
             source.password, and run ALTER USER '{user}'@'…' ACCOUNT UNLOCK"
        ),
        // ER_MUST_CHANGE_PASSWORD, ER_MUST_CHANGE_PASSWORD_LOGIN
        1820 | 1862 => format!(
            "the password has expired: run ALTER USER '{user}'@'…' IDENTIFIED BY '…', and set \
             source.password to it; PASSWORD EXPIRE NEVER keeps it from expiring again"
        ),
        // ER_SECURE_TRANSPORT_REQUIRED
        3159 => {
            "the server demands TLS: set source.tls = \"verify\", and source.caFile if your own \
                 authority signed its certificate"
                .to_owned()
        }
        // ER_HOST_IS_BLOCKED
        1129 => "run TRUNCATE TABLE performance_schema.host_cache there (FLUSH HOSTS on MariaDB), \
                 and find out why connections from here were lost"
            .to_owned(),
        _ => return None,
    })
}

/// Server errors by number (MySQL manual, "Server Error Message Reference").
fn classify_server(config: &SourceConfig, error: &mysql_async::ServerError) -> Error {
    let problem = problem(config, error);
    if let Some(remedy) = let_us_in(config, error) {
        // Of a schema, all else that the user may do stays as it is.
        return match config.let_in.is_noted() && error.code != NO_SCHEMA {
            true => Error::NotLetIn { problem, remedy },
            false => Error::refused(problem, remedy),
        };
    }
    match error.code {
        1142 | 1227 => Error::refused(problem, grant(config)),
        // ER_MASTER_FATAL_ERROR_READING_BINLOG has many causes.
        1236 if error.message.contains("same server_uuid/server_id") => {
            Error::IdTaken { address: address(config), server_id: config.server_id }
        }
        // With GTIDs a server sends no transaction without a GTID.
        1236 if error.message.contains("anonymous") => Error::refused(
            problem,
            "SET GLOBAL gtid_mode = ON_PERMISSIVE there, until dts has read what was written without \
             GTIDs; then ON again",
        ),
        // What a MariaDB says about a file that it was writing when it crashed.
        1236 if error.message.contains("truncated in the middle of event") => {
            Error::Torn { file: String::new(), pos: 0 }
        }
        1236 => Error::refused(
            problem,
            "the server cannot send the binlog from our position. If it was purged, the changes \
             in between are lost: begin with what is left (`dts position set earliest`) and correct \
             the captured tables as after lost transactions (docs/full-sync.md)",
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

    fn server(code: u16, message: &str) -> mysql_async::Error {
        let (message, state) = (message.to_owned(), "HY000".to_owned());
        mysql_async::Error::Server(mysql_async::ServerError { code, message, state })
    }

    #[test]
    fn what_needs_a_person_is_final_and_what_passes_by_itself_is_not() {
        let config = source();
        for (code, part) in [
            (1045, "source.password"),
            (3118, "ACCOUNT UNLOCK"),
            (4151, "ACCOUNT UNLOCK"),
            (1862, "IDENTIFIED BY"),
            (3159, "source.tls"),
            (1129, "host_cache"),
        ] {
            let error = classify(&config, server(code, "no"));
            assert!(!error.is_transient() && error.to_string().contains(part), "{error}");
        }
        // Too many connections; a server that stops or starts; a server that ran out of something.
        for code in [1040, 1203, 1226, 1053, 1041] {
            assert!(classify(&config, server(code, "no")).is_transient(), "{code}");
        }
        let taken = "A replica with the same server_uuid/server_id as this replica has connected";
        let error = classify(&config, server(1236, taken));
        assert!(error.is_transient() && error.to_string().contains("source.serverId"), "{error}");
    }

    #[test]
    fn a_server_that_let_us_in_once_is_asked_again_when_it_does_not_any_more() {
        let config = source();
        config.let_in.note();
        for code in [1045, 1698, 1862, 3955] {
            let error = classify(&config, server(code, "no"));
            assert!(error.is_transient(), "{error}");
            assert_eq!(error.waits_for().0, "its user at MySQL");
        }
        assert!(!classify(&config, server(1044, "no")).is_transient());
        assert!(config.each_host().all(|host| host.let_in.is_noted()));
    }

    #[test]
    fn an_error_of_the_socket_is_said_once() {
        let error = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "reset by peer");
        let error = mysql_async::Error::Io(mysql_async::IoError::Io(error));
        let said = classify(&source(), error).to_string();
        assert_eq!(said, "MySQL at 127.0.0.1:3306: reset by peer");
    }
}
