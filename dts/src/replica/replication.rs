//! Whether a server that lacks transactions is a replica that will still get them.

use binlog::GtidSet;
use mysql_async::Row;

use source_table::Conn;

use super::{
    mariadb,
    resume::Lacking,
    wire::{MAX_SILENCE, Wire},
};
use crate::config::SourceConfig;

/// What one channel of a replica is doing.
#[derive(Clone, Debug)]
struct Channel {
    /// Connected to its source, or trying to connect.
    receives: bool,
    applies: bool,
    received: GtidSet,
}

/// Whether the server will still get some of the transactions that it lacks. If a server does not
/// say, it counts as no replica.
pub(super) async fn is_catching_up(conn: &mut Conn, lacking: &Lacking) -> bool {
    channels(conn).await.iter().any(|channel| {
        let pending = lacking.gtids.minus(&channel.received) != lacking.gtids;
        channel.applies && (channel.receives || pending)
    })
}

/// Whether the server replicates from another, or is configured to.
pub(crate) async fn is_replica(conn: &mut Conn) -> bool {
    !channels(conn).await.is_empty()
}

/// Whether the user may see what the server replicates. A server that is away counts as yes.
pub(crate) async fn may_see(conn: &mut Conn) -> bool {
    const ACCESS_DENIED: u16 = 1227;
    match conn.query_drop(statement(conn)).await {
        Err(mysql_async::Error::Server(error)) => error.code != ACCESS_DENIED,
        _ => true,
    }
}

/// Whether the user may read the binlog. A server that is away counts as yes. The id used here
/// belongs to nobody: with our own, the server would cut off a running dts.
pub(crate) async fn may_replicate(config: &SourceConfig) -> bool {
    const DENIED: [u16; 2] = [1045, 1227];
    let registered = async {
        let mut wire = Wire::connect((config.host.as_str(), config.port), config).await?;
        wire.register(0).await
    };
    match tokio::time::timeout(MAX_SILENCE, registered).await {
        Ok(Err(mysql_async::Error::Server(said))) => !DENIED.contains(&said.code),
        _ => true,
    }
}

/// The filters of a replica, as the server shows them: "name = value".
pub(crate) async fn filters(conn: &mut Conn) -> Vec<String> {
    const NAMES: [&str; 6] = [
        "Replicate_Do_DB",
        "Replicate_Ignore_DB",
        "Replicate_Do_Table",
        "Replicate_Ignore_Table",
        "Replicate_Wild_Do_Table",
        "Replicate_Wild_Ignore_Table",
    ];
    let statement = statement(conn);
    let rows: Vec<Row> = conn.query(statement).await.unwrap_or_default();
    let set = |row: &Row, name: &str| {
        let value: Option<String> = row.get::<Option<String>, _>(name).flatten();
        value.filter(|value| !value.is_empty()).map(|value| format!("{name} = {value}"))
    };
    let mut all: Vec<String> =
        rows.iter().flat_map(|row| NAMES.iter().filter_map(move |name| set(row, name))).collect();
    all.sort();
    all.dedup();
    all
}

/// Waits until the server has the transactions, for a few seconds at most.
pub(super) async fn wait_for(conn: &mut Conn, lacking: &Lacking) {
    const SECONDS: u64 = 3;
    let wait = if mariadb::is_at(conn) { "MASTER_GTID_WAIT" } else { "WAIT_FOR_EXECUTED_GTID_SET" };
    let query = format!("SELECT {wait}('{}', {SECONDS})", lacking.gtids);
    // In any case the server is asked again whether it has them.
    let _ = conn.query_drop(query).await;
}

async fn channels(conn: &mut Conn) -> Vec<Channel> {
    let rows: Vec<Row> = conn.query(statement(conn)).await.unwrap_or_default();
    rows.iter().map(channel).collect()
}

/// The name of the statement; before MySQL 8.0.22 it was another, and on MariaDB the statement is
/// for all connections.
fn statement(conn: &Conn) -> &'static str {
    if mariadb::is_at(conn) {
        "SHOW ALL SLAVES STATUS"
    } else if conn.server_version() < (8, 0, 22) {
        "SHOW SLAVE STATUS"
    } else {
        "SHOW REPLICA STATUS"
    }
}

fn channel(row: &Row) -> Channel {
    let text = |new: &str, old: &str| -> String {
        let value: Option<Option<String>> = row.get(new).or_else(|| row.get(old));
        value.flatten().unwrap_or_default()
    };
    Channel {
        receives: text("Replica_IO_Running", "Slave_IO_Running") != "No",
        applies: text("Replica_SQL_Running", "Slave_SQL_Running") == "Yes",
        received: text("Retrieved_Gtid_Set", "Gtid_IO_Pos").parse().unwrap_or_default(),
    }
}
