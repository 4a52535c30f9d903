//! Connections to the target, and what its errors mean.

use std::sync::{Arc, Mutex, PoisonError};

use handler::Failure;
use mysql_async::{Conn, IoError, Opts, ServerError, prelude::Queryable as _};
use service::Address;
use tokio::time::timeout;
use tracing::debug;

use super::{MysqlConfig, literal::push_text};
use crate::{
    connection::mysql_options,
    host_look::{HostLook, look_at_each},
    servers::LastHost,
};

/// The session of each connection. What the source has is stored as it is, zero dates too, and what
/// does not fit is an error and never cut off. Without backslash escapes: servers show the members
/// of an ENUM without them.
const SESSION: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ALLOW_INVALID_DATES,\
    NO_BACKSLASH_ESCAPES,\
    ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION', \
    time_zone = '+00:00', transaction_isolation = 'READ-COMMITTED'";

/// The connections of a listener: as many as calls run at once.
pub(super) struct MysqlClient {
    config: Arc<MysqlConfig>,
    idle: Mutex<Vec<TargetConn>>,
    host: LastHost,
}

/// A connection to a host.
pub(super) struct TargetConn {
    pub(super) conn: Conn,
    pub(super) address: String,
    pub(super) is_mariadb: bool,
    /// What its transactions are named by in GTIDs. MariaDB has no such name.
    pub(super) uuid: Option<String>,
    /// Who we are for the server, as GRANT names it.
    pub(super) account: String,
}

/// Whether a host may be written to.
enum Role {
    Primary,
    ReadOnly,
}

/// What an error of the target means.
#[derive(Debug)]
pub(super) enum TargetError {
    /// The row, or one of the rows, does not fit.
    Row(ServerError),
    /// Other transactions stood in the way: the same again may succeed at once.
    Collision(ServerError),
    /// The target lacks a table or a column.
    Schema(ServerError),
    /// A privilege is missing.
    Denied(ServerError),
    /// It says nothing about the rows: the target is away, or does not let us write.
    Away(String),
}

impl MysqlClient {
    pub(super) fn new(config: Arc<MysqlConfig>) -> Self {
        Self { config, idle: Mutex::default(), host: LastHost::default() }
    }

    /// A connection that nobody uses, or a new one.
    ///
    /// # Errors
    ///
    /// Why no host can be written to.
    pub(super) async fn take(&self) -> Result<TargetConn, TargetError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(conn) => Ok(conn),
            None => self.connect().await,
        }
    }

    /// Gives a connection back that is in no transaction.
    pub(super) fn give_back(&self, conn: TargetConn) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
    }

    /// Runs a statement.
    ///
    /// # Errors
    ///
    /// What the target said, or that it has not answered in time.
    pub(super) async fn run(&self, conn: &mut TargetConn, sql: &str) -> Result<u64, TargetError> {
        let TargetConn { conn, address, .. } = conn;
        match timeout(self.config.timeout, conn.query_drop(sql)).await {
            Ok(Ok(())) => Ok(conn.affected_rows()),
            Ok(Err(error)) => Err(TargetError::of(address, error)),
            Err(_) => Err(self.silent(address)),
        }
    }

    /// Asks a question.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub(super) async fn ask<T>(
        &self,
        conn: &mut TargetConn,
        sql: &str,
    ) -> Result<Vec<T>, TargetError>
    where
        T: mysql_async::prelude::FromRow + Send + 'static,
    {
        let TargetConn { conn, address, .. } = conn;
        match timeout(self.config.timeout, conn.query(sql)).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(TargetError::of(address, error)),
            Err(_) => Err(self.silent(address)),
        }
    }

    async fn connect(&self) -> Result<TargetConn, TargetError> {
        let mut said = Vec::new();
        for host in &self.config.hosts {
            match self.connect_to(host).await {
                Ok(conn) => {
                    self.host.note(&conn.address);
                    return Ok(conn);
                }
                Err(TargetError::Away(why)) => said.push(why),
                Err(other) => return Err(other),
            }
        }
        Err(TargetError::Away(said.join("; ")))
    }

    /// How each host is.
    pub(super) async fn hosts(&self) -> Vec<HostLook> {
        let looks = self.config.hosts.iter().map(|host| {
            let look = async {
                match self.open(host).await {
                    Ok((_, Role::Primary)) => Ok("takes writes"),
                    Ok((_, Role::ReadOnly)) => Ok("is read-only, and is not written to"),
                    Err(error) => Err(error.into_failure().reason),
                }
            };
            (host.to_string(), look)
        });
        look_at_each(looks).await
    }

    async fn connect_to(&self, host: &Address) -> Result<TargetConn, TargetError> {
        let (conn, role) = self.open(host).await?;
        let address = &conn.address;
        match role {
            Role::Primary => self.set_up(conn).await,
            Role::ReadOnly => {
                debug!(address, "the target is read-only");
                let why = format!("{address} is read-only: it is a replica, or was made one");
                Err(TargetError::Away(why))
            }
        }
    }

    async fn open(&self, host: &Address) -> Result<(TargetConn, Role), TargetError> {
        let address = host.to_string();
        let opened = timeout(self.config.timeout, Conn::new(self.options(host))).await;
        let conn = opened.map_err(|_| self.silent(&address))?;
        let conn = conn.map_err(|error| TargetError::of(&address, error))?;
        let mut conn =
            TargetConn { conn, address, is_mariadb: false, account: String::new(), uuid: None };
        let who = "SELECT VERSION(), @@GLOBAL.read_only, CURRENT_USER()";
        let answers: Vec<(String, bool, String)> = self.ask(&mut conn, who).await?;
        let (version, is_read_only, account) = answers.into_iter().next().unwrap_or_default();
        let (user, host) = account.rsplit_once('@').unwrap_or((&account, "%"));
        conn.account = format!("{}@{}", quoted(user), quoted(host));
        conn.is_mariadb = version.contains("MariaDB");
        Ok((conn, if is_read_only { Role::ReadOnly } else { Role::Primary }))
    }

    async fn set_up(&self, mut conn: TargetConn) -> Result<TargetConn, TargetError> {
        if !conn.is_mariadb {
            let found: Vec<String> = self.ask(&mut conn, "SELECT @@GLOBAL.server_uuid").await?;
            conn.uuid = found.into_iter().next();
        }
        // MariaDB calls the level of isolation by its old name.
        let session = match conn.is_mariadb {
            true => SESSION.replace("transaction_isolation", "tx_isolation"),
            false => SESSION.to_owned(),
        };
        let checks = u8::from(self.config.checks_foreign_keys);
        self.run(&mut conn, "SET NAMES utf8mb4").await?;
        self.run(&mut conn, &format!("{session}, foreign_key_checks = {checks}")).await?;
        Ok(conn)
    }

    fn options(&self, host: &Address) -> Opts {
        let MysqlConfig { user, password, tls, .. } = &*self.config;
        let options = mysql_options(host, (user, password.as_ref()), tls);
        // An UPDATE counts a row that it has found, also when nothing in it changes.
        options.client_found_rows(true).into()
    }

    fn silent(&self, address: &str) -> TargetError {
        let deadline = self.config.timeout;
        TargetError::Away(format!("{address} has not answered within {deadline:?} (`timeout`)"))
    }
}

/// A text between quotes.
fn quoted(text: &str) -> String {
    let mut sql = String::new();
    push_text(&mut sql, text);
    sql
}

impl TargetError {
    /// The numbers are those of the MySQL manual ("Server Error Message Reference"), and of MariaDB
    /// where it has its own.
    fn of(address: &str, error: mysql_async::Error) -> Self {
        let error = match error {
            mysql_async::Error::Server(error) => error,
            // The outer ones say "Input/output error" each.
            mysql_async::Error::Io(IoError::Io(error)) => {
                return Self::Away(format!("{address}: {error}"));
            }
            error => return Self::Away(format!("{address}: {error}")),
        };
        match error.code {
            // Lock wait timeout, deadlock, the commit of a group was refused; a table, a column or
            // an index that another lane has just made.
            1205 | 1213 | 3101 | 1050 | 1060 | 1061 => Self::Collision(error),
            // No such table, column or database.
            1146 | 1054 | 1049 => Self::Schema(error),
            // A schema, a table, a column.
            1044 | 1142 | 1143 => Self::Denied(error),
            // Log-in and privileges; too many connections; the server stops; read-only; no room;
            // killed; an error of its disks.
            1045
            | 1130
            | 1227
            | 1370
            | 1698
            | 1040
            | 1203
            | 1226
            | 1053
            | 1077
            | 1079
            | 1080
            | 1290
            | 1792
            | 1836
            | 1021
            | 1114
            | 1317
            | 1927
            | 3024
            | 1969
            | 1026
            | 1030
            | 1206
            | 1041
            | 1037
            | 1038
            | 1158..=1161 => {
                Self::Away(format!("{address} says: {} ({})", error.message, error.code))
            }
            _ => Self::Row(error),
        }
    }

    /// The same as a failure of the whole batch.
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Away(why) => Failure::unclear(why),
            Self::Row(error)
            | Self::Collision(error)
            | Self::Schema(error)
            | Self::Denied(error) => {
                Failure::unclear(format!("the target refuses a statement ({})", error.code))
                    .saying(error.message)
            }
        }
    }
}
