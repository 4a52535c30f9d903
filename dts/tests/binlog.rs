//! Events of a real server, as `dts` would get them.

use anyhow::{Context as _, Result};
use dts::decode::{EventHeader, RawEvent};
use futures_util::StreamExt as _;
use mysql_async::{BinlogStreamRequest, Conn, Opts, OptsBuilder, Row, prelude::Queryable as _};
use mysql_common::binlog::events::Event;

/// A place in the binlog of a server.
pub(crate) type Place = (String, u64);

/// Connects with what tests need: UTC, every value allowed, large packets.
pub(crate) async fn connect(url: &str) -> Result<Conn> {
    let opts = OptsBuilder::from_opts(Opts::from_url(url)?)
        .prefer_socket(false)
        .max_allowed_packet(Some(1 << 30));
    let mut conn = Conn::new(opts).await.with_context(|| format!("MySQL at {url}"))?;
    conn.query_drop(e2e::oracle::SESSION).await?;
    Ok(conn)
}

/// Where the server writes next.
pub(crate) async fn end(conn: &mut Conn) -> Result<Place> {
    let (major, minor, _) = conn.server_version();
    let status =
        if (major, minor) >= (8, 4) { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
    let row: Row = conn.query_first(status).await?.context("the server writes no binlog")?;
    Ok((row.get(0).context("no file")?, row.get(1).context("no position")?))
}

/// Reads what the server has written since `start`, and calls `event` for each.
pub(crate) async fn read(
    url: &str,
    start: &Place,
    mut event: impl FnMut(&RawEvent<'_>) -> Result<()>,
) -> Result<()> {
    let mut conn = connect(url).await?;
    conn.query_drop("SET SESSION net_write_timeout = 3600").await?;
    let request = BinlogStreamRequest::new(server_id())
        .with_filename(start.0.as_bytes())
        .with_pos(start.1)
        .with_non_blocking();
    let mut stream = conn.get_binlog_stream(request).await?;
    while let Some(next) = stream.next().await {
        let next = next?;
        event(&RawEvent { header: header(&next), body: next.data() })?;
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
