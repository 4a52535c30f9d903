//! The server that tables are read from, and what its errors mean for a full sync.

use std::time::Duration;

use source_table::{TableError, session};

use crate::{
    config::SourceConfig,
    error::{Error, Result},
    replica::{self, Conn, Product, Server},
};

/// How long we wait for an answer: longer than the server may work on one.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// No statement of ours may take longer than this, in milliseconds; then MySQL stops it.
const MAX_EXECUTION_MILLIS: u32 = 20_000;

/// The errors of a faulty statement of ours (MySQL manual, "Server Error Message Reference"): the
/// same statement would fail again.
const WRONG_STATEMENTS: [u16; 7] = [1038, 1064, 1267, 1300, 1366, 1525, 1649];

/// Whether the server refuses the values of a statement (a SQLSTATE of the class "data exception"):
/// the same values would be refused again.
fn is_of_data(said: &mysql_async::ServerError) -> bool {
    said.state.starts_with("22")
}

/// How long the server waits until we take more of an answer, in seconds: the listener may be
/// paused meanwhile.
const MAX_STANDSTILL_SECONDS: u32 = 604_800;

/// The server that the stream comes from.
#[derive(Clone, Debug)]
pub struct TableSource {
    /// How to connect to the server.
    pub config: SourceConfig,
    /// What the server said about itself.
    pub server: Server,
}

impl TableSource {
    /// Whether a read shows all changes that the server reports. `log_status` reports transactions
    /// that the engine is about to commit. MariaDB's snapshots do the same where a binlog file ends
    /// and at the end of XA transactions. This lasts for moments only, but the stream may be as
    /// quick.
    pub fn shows_what_it_says(&self) -> bool {
        self.server.product == Product::Mysql && self.server.gtid_executed.is_some()
    }

    /// A connection to exactly that server, which cannot change anything.
    ///
    /// # Errors
    ///
    /// Away; also when another server answers.
    pub(super) async fn connect(&self) -> Result<Conn> {
        let (conn, server) = replica::open(&self.config).await?;
        let mut conn = conn.waiting(MAX_WAIT);
        if server.uuid != self.server.uuid {
            let (found, expected) = (&server.uuid, &self.server.uuid);
            let reason = format!("the server is {found}, but the stream comes from {expected}");
            return Err(self.away(reason));
        }
        session(&mut conn).await.map_err(|error| self.reading(error))?;
        self.limit(&mut conn, MAX_EXECUTION_MILLIS).await?;
        Ok(conn)
    }

    /// The server stops a statement that takes too long, so that we do not slow the server down.
    async fn limit(&self, conn: &mut Conn, millis: u32) -> Result<()> {
        let limit = match self.server.product {
            Product::Mysql => format!("max_execution_time = {millis}"),
            Product::Mariadb => format!("max_statement_time = {}", millis / 1000),
        };
        let limit = format!("SET SESSION {limit}");
        conn.query_drop(limit).await.map_err(|error| self.error(error))
    }

    /// Removes that limit for a statement whose answer is read at the listener's pace.
    pub(super) async fn unlimit(&self, conn: &mut Conn) -> Result<()> {
        self.limit(conn, 0).await?;
        let patience = format!("SET SESSION net_write_timeout = {MAX_STANDSTILL_SECONDS}");
        conn.query_drop(patience).await.map_err(|error| self.error(error))
    }

    pub(super) fn away(&self, reason: String) -> Error {
        let address = format!("{}:{}", self.config.host, self.config.port);
        Error::SourceAway { address, reason }
    }

    /// As [`replica::classify`], for statements that read tables.
    pub(super) fn error(&self, error: mysql_async::Error) -> Error {
        let mysql_async::Error::Server(said) = &error else {
            return replica::classify(&self.config, error);
        };
        let says = format!("MySQL says: {} ({})", said.message, said.code);
        match said.code {
            // ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR, ER_COLUMNACCESS_DENIED_ERROR
            1044 | 1142 | 1143 => {
                let user = &self.config.user;
                Error::refused(says, format!("GRANT SELECT on the captured tables to {user:?}"))
            }
            code if WRONG_STATEMENTS.contains(&code) || is_of_data(said) => Error::refused(
                says,
                "ask for the full sync again; if it fails again, report the table to us",
            ),
            _ => replica::classify(&self.config, error),
        }
    }

    /// What an error while reading a table means.
    pub(super) fn reading(&self, error: TableError) -> Error {
        match error {
            TableError::Server(error) => self.error(error),
            // The table is described and read again.
            TableError::Altered(reason) => self.away(reason),
            TableError::Refused { problem, remedy } => Error::Refused { problem, remedy },
            // The server may say so before the stream does.
            TableError::Gone(said) => Error::refused(
                format!("the table was dropped or renamed: {said}"),
                "ask for a full sync of the table that exists now",
            ),
            error @ TableError::Bound(_) => {
                let remedy = "write the value as `PK` of an event shows it, without quotes; the \
                              key of the table must be one whole column";
                Error::refused(error.to_string(), remedy)
            }
            error @ TableError::Value { .. } => Error::refused(
                error.to_string(),
                "leave the table out, and report its definition to us",
            ),
        }
    }

    /// Whether a statement took longer than it may.
    pub(super) fn took_too_long(error: &mysql_async::Error) -> bool {
        // ER_QUERY_TIMEOUT; MariaDB's ER_STATEMENT_TIMEOUT
        matches!(error, mysql_async::Error::Server(error) if matches!(error.code, 3024 | 1969))
    }
}
