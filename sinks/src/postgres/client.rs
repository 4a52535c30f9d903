//! Connections to the server: as many as there are calls at a time, each with its statements.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use handler::Failure;
use service::Address;
use tokio::task::JoinHandle;
use tokio_postgres::{
    Client, Config, NoTls, Statement, config::SslMode, config::TargetSessionAttrs,
};
use tracing::debug;

use super::{PostgresConfig, refusal::Refused, tls::PgTls};
use crate::sql::SqlTlsMode;

/// A connection keeps so many prepared statements; more tables than that prepare theirs again.
const MAX_STATEMENTS: usize = 1000;

/// The connections.
pub(super) struct PgClient {
    config: Config,
    /// `None`: not encrypted.
    tls: Option<PgTls>,
    /// What a session begins with.
    settings: String,
    /// `host:port` of the servers, for messages.
    pub(super) servers: String,
    idle: Mutex<Vec<PgConnection>>,
}

/// A connection. When it is dropped, its transaction is rolled back.
pub(super) struct PgConnection {
    pub(super) client: Client,
    statements: HashMap<String, Statement>,
    driver: JoinHandle<()>,
}

impl PgClient {
    /// # Errors
    ///
    /// What is wrong with the certificates.
    pub(super) fn new(config: &PostgresConfig, listener: &str) -> Result<Self, String> {
        let mut pg = Config::new();
        for (host, port) in config.hosts.iter().map(Address::host_and_port) {
            pg.host(host).port(port);
        }
        pg.user(&config.user)
            .dbname(&config.database)
            .application_name(format!("dbevent {listener}"))
            .connect_timeout(config.timeout)
            .tcp_user_timeout(config.timeout)
            .keepalives_idle(config.timeout)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        if let Some(password) = &config.password {
            pg.password(password.expose());
        }
        let tls = match config.tls.mode {
            SqlTlsMode::Off => None,
            SqlTlsMode::Require | SqlTlsMode::Verify => Some(PgTls::new(&config.tls)?),
        };
        pg.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        let servers: Vec<String> = config.hosts.iter().map(Address::to_string).collect();
        let ms = config.timeout.as_millis();
        // The session of a process that was killed must not hold its locks.
        let settings = format!(
            "SET timezone = 'UTC'; SET client_min_messages = error; SET statement_timeout = {ms}; \
             SET idle_in_transaction_session_timeout = {ms}"
        );
        Ok(Self { config: pg, tls, settings, servers: servers.join(", "), idle: Mutex::default() })
    }

    /// A connection for one call.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) async fn get(&self) -> Result<PgConnection, Failure> {
        loop {
            let idle = self.lock().pop();
            match idle {
                Some(idle) if !idle.client.is_closed() => return Ok(idle),
                Some(_) => {}
                None => return self.connect().await,
            }
        }
    }

    /// Keeps a connection, outside of a transaction, for the next call.
    pub(super) fn put(&self, connection: PgConnection) {
        self.lock().push(connection);
    }

    /// The idle connections are of no use any more.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    async fn connect(&self) -> Result<PgConnection, Failure> {
        let told = |error: tokio_postgres::Error| {
            let failure = Refused::from(error).into_failure();
            let reason = match &failure.reason {
                // What the driver says where no host lets us write.
                said if said.contains("does not allow writes") => {
                    "does not allow writes: it is \
                     read-only, as a replica is, or one with default_transaction_read_only; name \
                     the primary in hosts, too"
                }
                said => said,
            };
            Failure { reason: format!("{}: {reason}", self.servers), ..failure }
        };
        let (client, driver) = match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(told)?;
                (client, tokio::spawn(drive(connection)))
            }
            Some(tls) => {
                let connected = self.config.connect(tls.clone()).await;
                let (client, connection) = connected.map_err(told)?;
                (client, tokio::spawn(drive(connection)))
            }
        };
        let connection = PgConnection { client, statements: HashMap::new(), driver };
        connection.client.batch_execute(&self.settings).await.map_err(told)?;
        Ok(connection)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries the bytes until the connection ends. Calls that wait learn of an error themselves.
async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        debug!(%error, "a connection to the target ended");
    }
}

impl PgConnection {
    /// The prepared statement of a text.
    pub(super) async fn prepare(&mut self, sql: &str) -> Result<Statement, Refused> {
        if let Some(known) = self.statements.get(sql) {
            return Ok(known.clone());
        }
        if self.statements.len() >= MAX_STATEMENTS {
            self.statements.clear();
        }
        let prepared = self.client.prepare(sql).await?;
        self.statements.insert(sql.to_owned(), prepared.clone());
        Ok(prepared)
    }

    /// Forgets what was prepared: a table has changed.
    pub(super) fn forget(&mut self) {
        self.statements.clear();
    }
}

impl Drop for PgConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
