//! The two marks of the binlog around a read of rows.
//!
//! *Low*, before the read: the read sees every change that the stream had passed when the read was
//! asked for. Otherwise a row would go back to an older version for good. *High*, after the read:
//! no change that the read saw is after this mark. What servers say about themselves is often
//! neither:
//!
//! | | low | high |
//! |---|---|---|
//! | MySQL, GTIDs | `@@gtid_executed` has all that was asked | end of the binlog, after the read |
//! | MySQL, no GTIDs | `performance_schema.log_status`, the same (1) | the same |
//! | MariaDB | the snapshot's own position (`binlog_snapshot_*`), or its GTIDs (1) | the same |
//! | other | the table's lock | end of the binlog, before the lock is released |
//!
//! (1) For moments this may report more than a read can see, too
//! ([`TableSource::shows_what_it_says`]). So changes that the stream passed a moment before the
//! read are taken from the stream.
//!
//! `SHOW BINARY LOG STATUS` reports changes before a read can see them, so it is no low mark.
//! `gtid_executed` reports changes after a read can see them, so it is no high mark.

use std::{fmt, time::Duration};

use binlog::{GtidSet, file_number};
use mysql_async::Row;
use tokio::time::Instant;
use tracing::warn;

use crate::{
    checkpoint::{BinlogPlace, SourcePosition},
    error::{Error, Result},
    full_sync::source::TableSource,
    replica::{self, Conn, Product},
};
use source_table::{BEGIN_SNAPSHOT, quote::identifier};

/// How long a server may take until a read sees what the server has logged.
const PATIENCE: Duration = Duration::from_mins(1);

/// The time between two looks.
const RETRY: Duration = Duration::from_millis(2);

/// How a server's marks are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// By `@@gtid_executed`, of a MySQL with GTIDs.
    Gtids,
    /// By `performance_schema.log_status`, of a MySQL without GTIDs.
    LogStatus,
    /// By a snapshot that knows its place in the binlog, of MariaDB.
    Snapshot,
    /// By the lock of the table.
    Lock(Why),
}

/// Why a table must be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There are no GTIDs, and `log_status` cannot be read: we lack the privilege, or the server is
    /// older than MySQL 8.0.
    NoLogStatus,
    /// There are no GTIDs, and the source is semi-synchronous. It logs transactions and sends them
    /// to us before a read can see them: that is possible only after a replica has confirmed them.
    SemiSync,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLogStatus => {
                "there are no GTIDs, and performance_schema.log_status cannot be read"
            }
            Self::SemiSync => {
                "there are no GTIDs, and semi-synchronous replication at AFTER_SYNC logs \
                 transactions that no reader can see yet"
            }
        })
    }
}

impl Why {
    /// What makes reading without a lock possible.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NoLogStatus => {
                "turn GTIDs on, or GRANT BACKUP_ADMIN, and SELECT on performance_schema.log_status"
            }
            Self::SemiSync => {
                "turn GTIDs on, or set rpl_semi_sync_source_wait_point \
                 (rpl_semi_sync_master_wait_point of the old plugin) to AFTER_COMMIT (then a \
                 failover may lose transactions that applications have seen)"
            }
        }
    }
}

/// The table whose lock is taken, if one is needed.
pub type Named<'a> = (&'a str, &'a str);

impl Marks {
    /// The best marks that this server and our privileges allow.
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

    /// The same, for code that takes the marks: it logs a warning about locks.
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

    /// Refuses tables of a schema that must be locked when we may not lock them.
    ///
    /// # Errors
    ///
    /// Refused, with the missing privilege; or when the server is away.
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

    /// Makes sure that the next read on this connection sees all that the stream had passed at
    /// `asked`. Call [`Marks::high`] or [`Marks::release`] after the read.
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
                    "it logged changes up to {}:{}, and still does not show them after {} s",
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

    /// The place in the binlog after all that was read. A snapshot's own place would be a little
    /// earlier. But it is right only for tables with transactions, and a rotation can move it past
    /// the end of its file.
    ///
    /// # Errors
    ///
    /// When the server is away.
    pub async fn high(self, conn: &mut Conn, source: &TableSource) -> Result<BinlogPlace> {
        source.server.end_place(conn, &source.config).await
    }

    /// Releases what [`Marks::low`] took.
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
                // A server that took over has sent nothing yet, so there is no place in its binlog.
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

/// The order of places in one server's binlog.
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
    // Without a binlog, `log_status` answers, and has neither file nor position.
    let row: Option<(Option<String>, Option<u64>)> = conn.query_first(QUERY).await?;
    let (file, pos) = row.unwrap_or_default();
    Ok(BinlogPlace { file: file.unwrap_or_default(), pos: pos.unwrap_or_default() })
}

/// Whether a MySQL without GTIDs must be read under locks, and why.
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

/// No table has this name: the server checks the privilege before it looks for the table.
pub(crate) const NO_TABLE: &str = "dbevent is not here";

/// What the server says if we may not lock tables of a schema. Nothing is locked.
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
        // ER_DBACCESS_DENIED_ERROR: the privilege to lock tables belongs to their schema.
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
            "dts must lock a table for its full sync, because {why}; to read without a lock, \
             {remedy}; or GRANT LOCK TABLES to {user:?} (`dts check` prints the statement)"
        ),
    )
}
