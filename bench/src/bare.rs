//! A bare client for each target of a sink: it has the rows as requests that are ready, and sends
//! them in the best way that the target knows.

mod connection;
mod requests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use anyhow::Result;
use e2e::processes::{cpu_ticks, peak_resident_kib};
use tokio::task::JoinSet;

use self::connection::Connection;
use crate::measure::Cost;

/// As many as the listener has workers.
const CONNECTIONS: usize = 4;

/// Rows of a request: as many as the listener has in a batch.
const BATCH: usize = 1000;

/// What is sent, and to which kind of target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bare {
    MysqlInsert,
    PostgresInsert,
    PostgresCopy,
    Bulk,
    RedisSet,
    RedisUnlink,
}

impl Bare {
    /// As the command line calls it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::MysqlInsert => "mysql-insert",
            Self::PostgresInsert => "postgres-insert",
            Self::PostgresCopy => "postgres-copy",
            Self::Bulk => "bulk",
            Self::RedisSet => "redis-set",
            Self::RedisUnlink => "redis-unlink",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MysqlInsert | Self::PostgresInsert => "bare client, INSERT of 1,000 rows",
            Self::PostgresCopy => "bare client, COPY of 1,000 rows",
            Self::Bulk => "bare client, _bulk of 1,000 documents",
            Self::RedisSet => "bare client, pipelines of 1,000 SET",
            Self::RedisUnlink => "bare client, UNLINK of 1,000 keys",
        }
    }

    /// Reads the table at the source, and writes it to the target at `address`. Time and CPU are
    /// those of the writing. The memory has all rows in it.
    pub(crate) async fn write(self, source: &str, address: &str) -> Result<Cost> {
        let requests = Arc::new(requests::read(self, source, address).await?);
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Connection::open(self, address).await?);
        }
        let (next, mut writers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        let me = std::process::id();
        let (began, ticks) = (Instant::now(), cpu_ticks(me)?);
        for connection in connections {
            writers.spawn(send_all(connection, Arc::clone(&requests), Arc::clone(&next)));
        }
        while let Some(outcome) = writers.join_next().await {
            outcome??;
        }
        let seconds = began.elapsed().as_secs_f64();
        let cpu_seconds = (cpu_ticks(me)? - ticks) as f64 / 100.0;
        Ok(Cost { seconds, cpu_seconds, peak_rss_kib: peak_resident_kib(me)? })
    }
}

/// Takes the next request until none is left.
async fn send_all(
    mut connection: Connection,
    requests: Arc<Vec<String>>,
    next: Arc<AtomicUsize>,
) -> Result<()> {
    while let Some(request) = requests.get(next.fetch_add(1, Relaxed)) {
        connection.send(request).await?;
    }
    Ok(())
}
