//! What is different with MariaDB: its settings, its GTID position, and how a dump is requested.

use std::{collections::HashMap, time::Duration};

use binlog::{FIRST_POS, GtidSet};
use mysql_async::Row;

use source_table::Conn;

use super::{
    connect::classify,
    server::{Product, Server},
};
use crate::{
    checkpoint::{BinlogPlace, SourcePosition},
    config::SourceConfig,
    error::{Error, Result},
};

/// How long the server may take to read one of its binlog files.
const MAX_SCAN: Duration = Duration::from_mins(2);

/// Whether a version is MariaDB's.
pub(super) fn is_version(version: &str) -> bool {
    version.contains("MariaDB")
}

/// Whether a connection is to a MariaDB: its versions jumped from 5.5 to 10.
pub(super) fn is_at(conn: &Conn) -> bool {
    conn.server_version() >= (10, 0, 0)
}

/// The facts about the server. It has no server UUID, so the `server_id` is used, which must be
/// unique among replicas.
pub(super) async fn ask(
    conn: &mut Conn,
    config: &SourceConfig,
    variables: HashMap<String, String>,
) -> Result<Server> {
    let text = |name: &str| variables.get(name).cloned().unwrap_or_default();
    let has_binlog = text("log_bin") == "ON";
    let (executed, purged) =
        if has_binlog { ask_gtids(conn, config).await? } else { Default::default() };
    Ok(Server {
        uuid: format!("mariadb-{}", text("server_id")),
        version: text("version"),
        gtid_executed: Some(executed),
        gtid_purged: purged,
        product: Product::Mariadb,
        variables,
    })
}

/// The transactions in the binlog, and those before its oldest file.
async fn ask_gtids(conn: &mut Conn, config: &SourceConfig) -> Result<(GtidSet, GtidSet)> {
    let query = "SELECT @@GLOBAL.gtid_binlog_pos, @@GLOBAL.gtid_binlog_state";
    let executed: Option<(String, String)> =
        conn.query_first(query).await.map_err(|error| classify(config, error))?;
    let (position, state) = executed.unwrap_or_default();
    let mut executed = parse(&position)?;
    for last in state.split(',').filter(|last| !last.trim().is_empty()) {
        let last = last.trim().parse();
        executed.note_writer(last.map_err(|error| Error::Internal(format!("{error}")))?);
    }
    let files = Server::binlog_files(conn, config).await?;
    let purged = match files.first() {
        Some((oldest, _)) => gtids_at(conn, config, (oldest, FIRST_POS)).await?,
        None => GtidSet::default(),
    };
    Ok((executed, purged))
}

/// The GTID position of a place in a binlog file.
pub(crate) async fn gtids_at(
    conn: &mut Conn,
    config: &SourceConfig,
    (file, pos): (&str, u64),
) -> Result<GtidSet> {
    let usual = conn.allow(MAX_SCAN);
    let text: Option<Option<String>> = conn
        .exec_first("SELECT BINLOG_GTID_POS(?, ?)", (file, pos))
        .await
        .map_err(|error| classify(config, error))?;
    conn.allow(usual);
    let text = text.flatten().ok_or_else(|| Error::SourceAway {
        address: super::connect::address(config),
        reason: format!("it does not say which transactions come before {file}:{pos}"),
    })?;
    parse(&text)
}

fn parse(text: &str) -> Result<GtidSet> {
    text.parse().map_err(|error| Error::Internal(format!("{error}")))
}

/// The current end of the binlog. First file and position are asked for, then the GTIDs up to
/// there: for these the server reads the file.
pub(super) async fn binlog_end(conn: &mut Conn, config: &SourceConfig) -> Result<SourcePosition> {
    let BinlogPlace { file, pos } = end_place(conn, config).await?;
    let gtids = gtids_at(conn, config, (&file, pos)).await?;
    Ok(SourcePosition { gtids: Some(gtids), file, pos })
}

/// The current end of the binlog, as a place.
pub(super) async fn end_place(conn: &mut Conn, config: &SourceConfig) -> Result<BinlogPlace> {
    let row: Option<Row> =
        conn.query_first("SHOW MASTER STATUS").await.map_err(|error| classify(config, error))?;
    let row = row.ok_or_else(|| {
        Error::refused("the binlog is off", "start the server with --log-bin and a --server-id")
    })?;
    let file: String = row.get("File").unwrap_or_default();
    Ok(BinlogPlace { file, pos: row.get("Position").unwrap_or(FIRST_POS) })
}

/// What a replica of MariaDB sets before a dump, as an addition to a SET: that the replica knows
/// GTIDs, and its position. The names are those that the server reads (`sql/sql_repl.cc`).
pub(super) fn dump_settings(position: &SourcePosition) -> String {
    const KNOWS_GTIDS: u8 = 4;
    let from = position.gtids.as_ref().map_or_else(String::new, |gtids| {
        format!(
            ", @slave_connect_state = '{gtids}', @slave_gtid_strict_mode = 1, \
             @slave_gtid_ignore_duplicates = 0"
        )
    });
    format!(", @mariadb_slave_capability = {KNOWS_GTIDS}{from}")
}
