//! Events of a real server, as `dts` would get them.

use anyhow::{Context as _, Result};
use binlog::{EventHeader, HiddenTypes, RawEvent};
use futures_util::StreamExt as _;
use mysql_async::{BinlogStreamRequest, Conn, Opts, OptsBuilder, Row, prelude::Queryable as _};
use mysql_common::binlog::events::Event;

/// The raw type of the event that names the next file.
const ROTATE: u8 = 4;
/// The raw type of the event that begins a file.
const FORMAT_DESCRIPTION: u8 = 15;

/// A place in the binlog of a server.
pub type Place = (String, u64);

/// Connects with what tests need: UTC, every value allowed, large packets.
pub async fn connect(url: &str) -> Result<Conn> {
    let opts = OptsBuilder::from_opts(Opts::from_url(url)?)
        .prefer_socket(false)
        .max_allowed_packet(Some(1 << 30));
    let mut conn = Conn::new(opts).await.with_context(|| format!("MySQL at {url}"))?;
    let session =
        if is_mariadb(&conn) { crate::oracle::MARIADB_SESSION } else { crate::oracle::SESSION };
    conn.query_drop(session).await?;
    Ok(conn)
}

/// The types that the server's binlog hides.
pub async fn hidden_types(url: &str) -> Result<HiddenTypes> {
    let mut types = HiddenTypes::default();
    let mut conn = connect(url).await?;
    if is_mariadb(&conn) {
        let columns = "SELECT table_schema, table_name, column_name, data_type, \
                       is_generated = 'ALWAYS' FROM information_schema.columns";
        let rows: Vec<(String, String, String, String, bool)> = conn.query(columns).await?;
        for (schema, table, column, data_type, is_generated) in rows {
            if is_generated {
                types.add_generated((schema.clone(), table.clone()), column.clone());
            }
            types.add((schema, table), column, (&data_type, 0));
        }
    }
    Ok(types)
}

fn is_mariadb(conn: &Conn) -> bool {
    conn.server_version() >= (10, 0, 0)
}

/// Where the server writes next.
pub async fn end(conn: &mut Conn) -> Result<Place> {
    let (major, minor, _) = conn.server_version();
    let status = if (8, 4) <= (major, minor) && major < 10 {
        "SHOW BINARY LOG STATUS"
    } else {
        "SHOW MASTER STATUS"
    };
    let row: Row = conn.query_first(status).await?.context("the server writes no binlog")?;
    Ok((row.get(0).context("no file")?, row.get(1).context("no position")?))
}

/// Reads what the server has written since `start`, and calls `event` for each.
pub async fn read(
    url: &str,
    start: &Place,
    mut event: impl FnMut(&RawEvent<'_>) -> Result<()>,
) -> Result<()> {
    let mut conn = connect(url).await?;
    conn.query_drop("SET SESSION net_write_timeout = 3600, @mariadb_slave_capability = 4").await?;
    let request = BinlogStreamRequest::new(server_id())
        .with_filename(start.0.as_bytes())
        .with_pos(start.1)
        .with_non_blocking();
    let mut stream = conn.get_binlog_stream(request).await?;
    while let Some(next) = stream.next().await {
        let next = next?;
        // MariaDB's first event has a checksum that the client takes for a part of it; it only
        // says where the dump begins.
        if next.header().event_type_raw() == ROTATE && next.header().log_pos() == 0 {
            continue;
        }
        let mut body = next.data().to_vec();
        if next.header().event_type_raw() == FORMAT_DESCRIPTION {
            // The client takes it away: CRC32 or none.
            body.push(u8::from(next.checksum().is_some()));
        }
        event(&RawEvent { header: header(&next), body: &body })?;
    }
    Ok(())
}

fn header(event: &Event) -> EventHeader {
    let header = event.header();
    EventHeader {
        timestamp: header.timestamp(),
        kind: header.event_type_raw(),
        server_id: header.server_id(),
        size: header.event_size(),
        log_pos: header.log_pos(),
        flags: header.flags_raw(),
    }
}

/// The server drops the older of two replicas with one id, so each reader has its own.
fn server_id() -> u32 {
    rand::random_range(1_000_000..u32::MAX)
}
