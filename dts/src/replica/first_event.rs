//! Checks that a server still answers while it looks for the first event of a dump.
//!
//! The server may have to open thousands of binlog files until it has found our position, and is
//! silent on our connection meanwhile. So it is asked over another connection.

use std::time::Duration;

use mysql_common::binlog::consts::EventType;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::info;

use source_table::Conn;

/// How long a server may look for the first event, as long as it answers.
pub(super) const MAX_SEARCH: Duration = Duration::from_mins(30);

/// The time between two questions.
const INTERVAL: Duration = Duration::from_secs(5);

/// After this time a log line says what we wait for.
const SAID_AFTER: Duration = Duration::from_secs(20);

/// The questions to a server while it searches; they end when this is dropped.
pub(super) struct Search {
    silent: CancellationToken,
    task: JoinHandle<()>,
}

impl Search {
    /// Asks over this connection.
    pub(super) fn begin(conn: Conn) -> Self {
        let silent = CancellationToken::new();
        Self { task: tokio::spawn(ask(conn, silent.clone())), silent }
    }

    /// Cancelled when the server does not answer any more.
    pub(super) fn silent(&self) -> CancellationToken {
        self.silent.clone()
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(mut conn: Conn, silent: CancellationToken) {
    let (begun, mut is_said) = (Instant::now(), false);
    loop {
        tokio::time::sleep(INTERVAL).await;
        if conn.ping().await.is_err() {
            silent.cancel();
            return;
        }
        if !is_said && begun.elapsed() >= SAID_AFTER {
            info!(
                "the server looks for our position in its binlog files, and has sent nothing yet"
            );
            is_said = true;
        }
    }
}

/// Whether an event comes at the beginning of a file, or names the next file: after it, the server
/// may still be searching.
pub(super) fn is_head(kind: u8) -> bool {
    /// `START_ENCRYPTION_EVENT` and `BINLOG_CHECKPOINT_EVENT` of MariaDB.
    const OF_MARIADB: [u8; 2] = [164, 161];
    let heads = [
        EventType::ROTATE_EVENT,
        EventType::FORMAT_DESCRIPTION_EVENT,
        EventType::PREVIOUS_GTIDS_EVENT,
    ];
    heads.iter().any(|head| *head as u8 == kind)
        || kind == binlog::GTID_LIST
        || OF_MARIADB.contains(&kind)
}
