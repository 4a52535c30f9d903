//! The two marks of the binlog that a read of rows lies between.
//!
//! *Low*, before the read: every change that the stream had passed when the read was asked for is
//! seen by it; otherwise a row would go backwards for good. *High*, after the read: no change that
//! it saw lies behind it. What servers say of themselves is often neither:
//!
//! | | low | high |
//! |---|---|---|
//! | MySQL, GTIDs | `@@gtid_executed` covers what was asked | end of the binlog, after the read |
//! | MySQL, none | `performance_schema.log_status`, the same (1) | the same |
//! | MariaDB | the snapshot's own position (`binlog_snapshot_*`), or its GTIDs (1) | the same |
//! | else | the table's lock | end of the binlog, before the lock is given back |
//!
//! (1) For moments this may be ahead of what can be seen, too
//! ([`TableSource::shows_what_it_says`]):
//! what the stream passed a moment before the read is taken from the stream.
//!
//! `SHOW BINARY LOG STATUS` runs ahead of what can be seen, so it is no low mark; `gtid_executed`
//! lags behind it, so it is no high one.

use std::{fmt, time::Duration};

use binlog::{GtidSet, file_number};
use mysql_async::Row;
use tokio::time::Instant;
use tracing::warn;

use super::session::BEGIN_SNAPSHOT;
use crate::{
    checkpoint::{BinlogPlace, SourcePosition},
    error::{Error, Result},
    full_sync::source::TableSource,
    replica::{self, Conn, Product, quote::identifier},
};

/// How long a server may take to show what it has logged.
const PATIENCE: Duration = Duration::from_mins(1);

/// Between two looks.
const RETRY: Duration = Duration::from_millis(2);

/// How a server's marks are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// By `@@gtid_executed`, of a MySQL with GTIDs.
    Gtids,
    /// By `performance_schema.log_status`, of a MySQL without.
    LogStatus,
    /// By a snapshot that knows its place in the binlog, of MariaDB.
    Snapshot,
    /// By the lock of the table.
    Lock(Why),
}

/// Why a table has to be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There are no GTIDs, and `log_status` cannot be read: we lack the right, or it is not there
    /// before MySQL 8.0.
    NoLogStatus,
    /// There are no GTIDs, and a semi-synchronous source logs, and sends to us, what cannot be seen
    /// before its replicas have said that they have it.
    SemiSync,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLogStatus => {
                "there are no GTIDs, and performance_schema.log_status cannot be read"
            }
            Self::SemiSync => {
                "there are no GTIDs, and semi-sync replication at AFTER_SYNC logs what cannot be \
                 seen yet"
            }
        })
    }
}

impl Why {
    /// What lets tables be read without their lock.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NoLogStatus => {
                "turn GTIDs on, or GRANT BACKUP_ADMIN, and SELECT on performance_schema.log_status"
            }
            Self::SemiSync => {
                "turn GTIDs on, or set rpl_semi_sync_source_wait_point \
                 (rpl_semi_sync_master_wait_point of the old plugin) to AFTER_COMMIT, with which a \
                 failover may lose what others have read"
            }
        }
    }
}

/// Which tables' lock is taken, where it has to be.
pub type Named<'a> = (&'a str, &'a str);

impl Marks {
    /// The best that this server and our rights offer.
    ///
    /// # Errors
    ///
    /// When the server is away.
    pub async fn of(conn: &mut Conn, source: &TableSource) -> Result<Self> {
        if source.server.product == Product::Mariadb {
            return Ok(Self::Snapshot);
        }
        if source.server.gtid_executed.is_some() {
            return Ok(Self::Gtids);
        }
        let why = why_locked(conn).await.map_err(|error| source.error(error))?;
        Ok(why.map_or(Self::LogStatus, Self::Lock))
    }

    /// The same, for whoever takes them: locks are told of.
    ///
    /// # Errors
    ///
    /// As [`Marks::of`].
    pub async fn choose(conn: &mut Conn, source: &TableSource) -> Result<Self> {
        let marks = Self::of(conn, source).await?;
        if let Self::Lock(why) = marks {
            warn!(remedy = why.remedy(), "a full sync locks its table for each chunk: {why}");
        }
        Ok(marks)
    }

    /// Refuses tables of a schema that would have to be locked, and may not.
    ///
    /// # Errors
    ///
    /// Refused, with the right that is lacking; or when the server is away.
    pub(crate) async fn check_right(
        self,
        conn: &mut Conn,
        source: &TableSource,
        schema: &str,
    ) -> Result<()> {
        let Self::Lock(why) = self else { return Ok(()) };
        match lack_of_lock(conn, schema).await.map_err(|error| source.error(error))? {
            Some(said) => Err(may_not_lock(source, &said, why)),
            None => Ok(()),
        }
    }

    /// Makes sure that a read that follows on this connection sees all that the stream had passed
    /// at `asked`. To be followed by [`Marks::high`] or [`Marks::release`].
    ///
    /// # Errors
    ///
    /// When the server is away, or does not show in time what it has logged.
    pub async fn low(
        self,
        (conn, source): (&mut Conn, &TableSource),
        asked: &SourcePosition,
        table: Named<'_>,
    ) -> Result<()> {
        if let Self::Lock(why) = self {
            return lock((conn, source), table, why).await;
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.covers(conn, source, asked).await? {
            self.release(conn, source).await?;
            if Instant::now() > deadline {
                let reason = format!(
                    "it does not show what it had logged up to {}:{} since {} s",
                    asked.file,
                    asked.pos,
                    PATIENCE.as_secs()
                );
                return Err(source.away(reason));
            }
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }

    /// The place in the binlog behind all that was read. A snapshot's own place would be a little
    /// earlier, but holds for tables with transactions only, and a rotation can put it behind the
    /// end of its file.
    ///
    /// # Errors
    ///
    /// When the server is away.
    pub async fn high(self, conn: &mut Conn, source: &TableSource) -> Result<BinlogPlace> {
        source.server.end_place(conn, &source.config).await
    }

    /// Gives back what [`Marks::low`] took.
    ///
    /// # Errors
    ///
    /// When the server is away.
    pub async fn release(self, conn: &mut Conn, source: &TableSource) -> Result<()> {
        let statement = match self {
            Self::Gtids | Self::LogStatus => return Ok(()),
            Self::Snapshot => "COMMIT",
            Self::Lock(_) => "UNLOCK TABLES",
        };
        conn.query_drop(statement).await.map_err(|error| source.error(error))
    }

    async fn covers(
        self,
        conn: &mut Conn,
        source: &TableSource,
        asked: &SourcePosition,
    ) -> Result<bool> {
        let seen = match self {
            Self::Gtids => return covers_gtids(conn, source, asked).await,
            Self::LogStatus => log_status(conn).await.map_err(|error| source.error(error))?,
            Self::Snapshot => {
                conn.query_drop(BEGIN_SNAPSHOT).await.map_err(|error| source.error(error))?;
                let seen = snapshot_place(conn, source).await?;
                // Nothing has come yet from a server that took over: there is no place in it.
                if asked.file.is_empty() {
                    return snapshot_has(conn, source, (&seen, asked)).await;
                }
                seen
            }
            Self::Lock(_) => return Ok(true),
        };
        Ok(order(&seen.file, seen.pos) >= order(&asked.file, asked.pos))
    }
}

/// By which places in one server's binlog are compared.
pub(crate) fn order(file: &str, pos: u64) -> (Option<u64>, u64) {
    (file_number(file), pos)
}

async fn covers_gtids(
    conn: &mut Conn,
    source: &TableSource,
    asked: &SourcePosition,
) -> Result<bool> {
    let Some(wanted) = &asked.gtids else {
        return Err(Error::Internal("the stream has no GTIDs, and the server has".to_owned()));
    };
    let text: Option<String> = conn
        .query_first("SELECT @@GLOBAL.gtid_executed")
        .await
        .map_err(|error| source.error(error))?;
    let executed: GtidSet = text
        .unwrap_or_default()
        .parse()
        .map_err(|error| Error::Internal(format!("gtid_executed: {error}")))?;
    Ok(wanted.minus(&executed).is_empty())
}

async fn log_status(conn: &mut Conn) -> Result<BinlogPlace, mysql_async::Error> {
    const QUERY: &str = "SELECT LOCAL->>'$.binary_log_file', LOCAL->>'$.binary_log_position' + 0 \
                         FROM performance_schema.log_status";
    // Without a binlog it is there, with neither.
    let row: Option<(Option<String>, Option<u64>)> = conn.query_first(QUERY).await?;
    let (file, pos) = row.unwrap_or_default();
    Ok(BinlogPlace { file: file.unwrap_or_default(), pos: pos.unwrap_or_default() })
}

/// Whether a MySQL without GTIDs has to be read under locks.
///
/// # Errors
///
/// When the server is away.
pub(crate) async fn why_locked(conn: &mut Conn) -> Result<Option<Why>, mysql_async::Error> {
    match log_status(conn).await {
        Ok(_) => Ok(waits_for_replicas(conn).await?.then_some(Why::SemiSync)),
        Err(mysql_async::Error::Server(_)) => Ok(Some(Why::NoLogStatus)),
        Err(error) => Err(error),
    }
}

/// No table is named so: a right to it is looked at before whether it is there.
pub(crate) const NO_TABLE: &str = "dbevent is not here";

/// What the server says where we may not lock tables of a schema. Nothing is locked.
///
/// # Errors
///
/// When the server is away.
pub(crate) async fn lack_of_lock(
    conn: &mut Conn,
    schema: &str,
) -> Result<Option<mysql_async::ServerError>, mysql_async::Error> {
    match conn
        .query_drop(format!("LOCK TABLES {}.{} READ", identifier(schema), identifier(NO_TABLE)))
        .await
    {
        // ER_DBACCESS_DENIED_ERROR: tables are locked by a right of their schema.
        Err(mysql_async::Error::Server(said)) if said.code == 1044 => Ok(Some(said)),
        Ok(()) | Err(mysql_async::Error::Server(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a semi-synchronous source shows transactions only after its replicas have them.
async fn waits_for_replicas(conn: &mut Conn) -> Result<bool, mysql_async::Error> {
    // A source has one of two plugins, under the new name or the old one.
    let query = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
                 ('rpl_semi_sync_source_enabled', 'rpl_semi_sync_source_wait_point', \
                 'rpl_semi_sync_master_enabled', 'rpl_semi_sync_master_wait_point')";
    let settings: Vec<(String, String)> = conn.query(query).await?;
    let is = |wanted: &str| settings.iter().any(|(_, value)| value == wanted);
    Ok(is("ON") && is("AFTER_SYNC"))
}

async fn snapshot_place(conn: &mut Conn, source: &TableSource) -> Result<BinlogPlace> {
    let query = "SHOW STATUS LIKE 'binlog_snapshot_%'";
    let rows: Vec<Row> = conn.query(query).await.map_err(|error| source.error(error))?;
    let mut place = BinlogPlace { file: String::new(), pos: 0 };
    for row in rows {
        let (name, value): (String, String) = mysql_async::from_row_opt(row)
            .map_err(|error| Error::Internal(format!("{query}: {error}")))?;
        match name.to_ascii_lowercase().as_str() {
            "binlog_snapshot_file" => place.file = value,
            "binlog_snapshot_position" => place.pos = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    if place.file.is_empty() || place.pos == 0 {
        return Err(source.away("its snapshot has no place in the binlog".to_owned()));
    }
    Ok(place)
}

/// Whether a snapshot of a MariaDB shows all transactions before a position of another server.
async fn snapshot_has(
    conn: &mut Conn,
    source: &TableSource,
    (seen, asked): (&BinlogPlace, &SourcePosition),
) -> Result<bool> {
    let Some(wanted) = &asked.gtids else {
        return Err(Error::Internal("a MariaDB's position has no GTIDs".to_owned()));
    };
    let shown = replica::gtids_at(conn, &source.config, (&seen.file, seen.pos)).await?;
    Ok(wanted.minus(&shown).is_empty())
}

async fn lock(
    (conn, source): (&mut Conn, &TableSource),
    (schema, table): Named<'_>,
    why: Why,
) -> Result<()> {
    let lock = format!("LOCK TABLES {}.{} READ", identifier(schema), identifier(table));
    match conn.query_drop(&lock).await {
        Ok(()) => Ok(()),
        // ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR
        Err(mysql_async::Error::Server(said)) if [1044, 1142].contains(&said.code) => {
            Err(may_not_lock(source, &said, why))
        }
        Err(error) => Err(source.error(error)),
    }
}

fn may_not_lock(source: &TableSource, said: &mysql_async::ServerError, why: Why) -> Error {
    let (user, remedy) = (&source.config.user, why.remedy());
    Error::refused(
        format!("MySQL says: {} ({})", said.message, said.code),
        format!(
            "tables are locked for their full sync, since {why}: {remedy}; or GRANT LOCK TABLES \
             to {user:?} (`dts check` prints how)"
        ),
    )
}
