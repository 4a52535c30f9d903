//! Connections to the server: as many as there are calls at a time, each with its statements.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use handler::Failure;
use service::Secret;
use tokio::task::JoinHandle;
use tokio_postgres::{
    Client, Config, NoTls, Statement, config::SslMode, config::TargetSessionAttrs, types::ToSql,
};
use tracing::debug;

use super::{PostgresConfig, refusal::Refused, tls::PgTls};
use crate::{
    connection::SqlTlsMode,
    host_look::{HostLook, look_at_each},
    servers::LastHost,
};

/// A connection keeps so many prepared statements; more tables than that prepare theirs again.
const MAX_STATEMENTS: usize = 1000;

/// A session that is ended is waited for so long.
const END: &str = "SELECT pg_terminate_backend(a.pid, 5000) FROM pg_stat_activity a \
    JOIN unnest($1::int[], $2::text[]) AS session (pid, began) \
    ON a.pid = session.pid AND a.backend_start::text = session.began";

const STILL: &str = "SELECT a.pid FROM pg_stat_activity a \
    JOIN unnest($1::int[], $2::text[]) AS session (pid, began) \
    ON a.pid = session.pid AND a.backend_start::text = session.began";

const SESSION: &str = "SELECT pid, backend_start::text, \
    coalesce(host(inet_server_addr()) || ':' || inet_server_port(), 'its socket') \
    FROM pg_stat_activity WHERE pid = pg_backend_pid()";

const ABANDON_DEADLINE: Duration = Duration::from_secs(6);

/// The connections.
pub(super) struct PgClient {
    /// For a connection to the first host that lets us write.
    config: Config,
    /// The same for a single host.
    hosts: Vec<(String, Config)>,
    password: Option<Secret>,
    /// `None`: not encrypted.
    tls: Option<PgTls>,
    /// What a session begins with.
    settings: String,
    /// `host:port` of the servers, for messages.
    pub(super) servers: String,
    idle: Mutex<Vec<PgConnection>>,
    left: Left,
    /// One at a time ends what was left.
    ending: tokio::sync::Mutex<()>,
    host: LastHost,
}

/// Sessions of calls that nobody waits for any more. What we sent may still be on its way to them,
/// with its COMMIT: it would overwrite what is written after it.
type Left = Arc<Mutex<Vec<Session>>>;

/// A session at the server: the id of its process, and when that began.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    process: i32,
    began: String,
}

/// A connection. When it is dropped, its transaction is rolled back, or its session is left.
pub(super) struct PgConnection {
    pub(super) client: Client,
    statements: HashMap<String, Statement>,
    driver: JoinHandle<()>,
    session: Session,
    /// Where its session is noted if it is dropped within a call.
    left: Option<Left>,
}

impl PgClient {
    /// # Errors
    ///
    /// What is wrong with the certificates.
    pub(super) fn new(config: &PostgresConfig, listener: &str) -> Result<Self, String> {
        let mut base = Config::new();
        base.user(&config.user)
            .dbname(&config.database)
            .application_name(format!("dbevent {listener}"))
            .connect_timeout(config.timeout)
            .tcp_user_timeout(config.timeout)
            .keepalives_idle(config.timeout);
        let tls = match config.tls.mode {
            SqlTlsMode::Off => None,
            SqlTlsMode::Require | SqlTlsMode::Verify => Some(PgTls::new(&config.tls)?),
        };
        base.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        let mut pg = base.clone();
        pg.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let mut hosts = Vec::new();
        for address in &config.hosts {
            let (host, port) = address.host_and_port();
            pg.host(host).port(port);
            let mut one = base.clone();
            one.host(host).port(port);
            hosts.push((address.to_string(), one));
        }
        let servers: Vec<String> = config.hosts.iter().map(ToString::to_string).collect();
        let ms = config.timeout.as_millis();
        // The session of a process that was killed must not hold its locks.
        let settings = format!(
            "SET timezone = 'UTC'; SET client_min_messages = error; SET statement_timeout = {ms}; \
             SET idle_in_transaction_session_timeout = {ms}"
        );
        Ok(Self {
            config: pg,
            hosts,
            password: config.password.clone(),
            tls,
            settings,
            servers: servers.join(", "),
            idle: Mutex::default(),
            left: Left::default(),
            ending: tokio::sync::Mutex::default(),
            host: LastHost::default(),
        })
    }

    /// A connection for one call.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) async fn get(&self) -> Result<PgConnection, Failure> {
        let idle = loop {
            let idle = self.lock().pop();
            if idle.as_ref().is_none_or(|idle| !idle.client.is_closed()) {
                break idle;
            }
        };
        let mut connection = match idle {
            Some(idle) => idle,
            None => self.connect().await?,
        };
        self.end_left(&connection).await?;
        connection.left = Some(Arc::clone(&self.left));
        Ok(connection)
    }

    /// Ends the sessions that were left.
    ///
    /// # Errors
    ///
    /// Why one may still write.
    async fn end_left(&self, connection: &PgConnection) -> Result<(), Failure> {
        if self.sessions().is_empty() {
            return Ok(());
        }
        let _one = self.ending.lock().await;
        let left = self.sessions().clone();
        let (processes, began): (Vec<i32>, Vec<&str>) =
            left.iter().map(|session| (session.process, &*session.began)).unzip();
        let told = |error| self.of_server(Refused::from(error).into_failure());
        let arguments: &[&(dyn ToSql + Sync)] = &[&processes, &began];
        connection.client.execute(END, arguments).await.map_err(told)?;
        let still = connection.client.query(STILL, arguments).await.map_err(told)?;
        let still: Vec<i32> = still.iter().map(|row| row.get(0)).collect();
        self.sessions()
            .retain(|session| !left.contains(session) || still.contains(&session.process));
        match still.first() {
            None => Ok(()),
            Some(process) => Err(self.of_server(Failure::unclear(format!(
                "an earlier session of ours hangs there, and may still write: end its process \
                 {process}"
            )))),
        }
    }

    /// Returns when nothing that was sent in calls that were dropped is written any more.
    pub(super) async fn abandon(&self) {
        if self.sessions().is_empty() {
            return;
        }
        let ended = tokio::time::timeout(ABANDON_DEADLINE, self.get()).await;
        match ended {
            Ok(Ok(connection)) => self.put(connection),
            Ok(Err(Failure { reason, .. })) => debug!(reason, "a session is not ended"),
            Err(_) => debug!("a session is not ended in time"),
        }
    }

    /// The failure with the name of the server.
    pub(super) fn of_server(&self, failure: Failure) -> Failure {
        if failure.reason.contains(&self.servers) {
            return failure;
        }
        Failure { reason: format!("{}: {}", self.servers, failure.reason), ..failure }
    }

    /// Keeps a connection, outside of a transaction, for the next call.
    pub(super) fn put(&self, mut connection: PgConnection) {
        connection.left = None;
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
        let (client, driver) = self.open(&self.config).await.map_err(told)?;
        client.batch_execute(&self.settings).await.map_err(told)?;
        let row = client.query_one(SESSION, &[]).await.map_err(told)?;
        let session = Session { process: row.get(0), began: row.get(1) };
        self.host.note(row.get(2));
        Ok(PgConnection { client, statements: HashMap::new(), driver, session, left: None })
    }

    async fn open(
        &self,
        config: &Config,
    ) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        let mut config = config.clone();
        if let Some(password) = &self.password {
            // A file may hold another one by now.
            config.password(password.renewed().expose());
        }
        Ok(match &self.tls {
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                (client, tokio::spawn(drive(connection)))
            }
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                (client, tokio::spawn(drive(connection)))
            }
        })
    }

    /// How each host is.
    pub(super) async fn hosts(&self) -> Vec<HostLook> {
        const IS_READ_ONLY: &str = "SELECT current_setting('transaction_read_only')::boolean";
        let looks = self.hosts.iter().map(|(address, config)| {
            let look = async {
                let (client, driver) = self.open(config).await?;
                let row = client.query_one(IS_READ_ONLY, &[]).await;
                driver.abort();
                Ok(match row?.get(0) {
                    true => "is read-only, and is not written to",
                    false => "takes writes",
                })
            };
            let told = |error: tokio_postgres::Error| {
                let Failure { reason, said, .. } = Refused::from(error).into_failure();
                said.map_or(reason.clone(), |said| format!("{reason}: {said}"))
            };
            (address.clone(), async move { look.await.map_err(told) })
        });
        look_at_each(looks).await
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some(left) = &self.left {
            let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
            left.push(self.session.clone());
        }
    }
}
