//! Events that no server here can be made to write: a proxy changes the type of one that it did.

use anyhow::{Context as _, Result, ensure};
use e2e::{
    mysqlbinlog::{self, BinlogEvent},
    programs::REFUSED,
    proxy::Proxy,
    running::Source,
};

const SCHEMA: &str = "forged";

const ROWS_QUERY: u8 = 29;
const TABLE_MAP: u8 = 19;
const INCIDENT: u8 = 26;
/// Of no server so far.
const UNKNOWN: u8 = 200;

/// A server with a change that is logged with its statement, and `dts` reads over a proxy.
async fn start(test: &str) -> Result<(Source, Proxy)> {
    let statements = [
        "CREATE DATABASE forged",
        "CREATE TABLE forged.t (id INT PRIMARY KEY)",
        "INSERT INTO forged.t VALUES (1)",
        "SET SESSION binlog_rows_query_log_events = ON",
        "INSERT INTO forged.t VALUES (2)",
    ];
    // A checksum would tell.
    let options = ["--binlog-checksum=NONE"];
    let source = Source::start_on(test, ("9.7", &options)).await?;
    let source = source.capture(SCHEMA, &statements).await?;
    let proxy = Proxy::start(source.mysql.address()).await?;
    source.site.configure_dts(&proxy.address(), SCHEMA)?;
    Ok((source, proxy))
}

/// The proxy gives the last event of a type another type; its flags stay.
async fn forge(
    (source, proxy): (&Source, &Proxy),
    (name, kind): (&str, u8),
    as_kind: u8,
) -> Result<()> {
    let (file, _) = source.mysql.binlog_end().await?;
    let events = mysqlbinlog::events(&source.mysql, &file).await?;
    let event = events.iter().rfind(|event| event.kind == name);
    let BinlogEvent { pos, server_id, end, .. } =
        event.with_context(|| format!("no {name} event"))?;
    let header = [*server_id, u32::try_from(end - pos)?, u32::try_from(*end)?];
    let rest: Vec<u8> = header.iter().flat_map(|n| n.to_le_bytes()).collect();
    proxy.damage(&[&[kind], &*rest].concat(), &[&[as_kind], &*rest].concat());
    Ok(())
}

async fn ends(source: &Source, code: i32, parts: &[&str]) -> Result<()> {
    let (status, output) = source.site.start_dts()?.told().await?;
    println!("{}", output.lines().last().unwrap_or_default());
    ensure!(status.code() == Some(code), "{status}\n{output}");
    for part in parts {
        ensure!(output.contains(part), "{part:?} is not in\n{output}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_the_future_is_skipped_only_if_the_server_says_so() -> Result<()> {
    let (source, proxy) = start("forged-unknown").await?;
    forge((&source, &proxy), ("Table_map", TABLE_MAP), UNKNOWN).await?;
    ends(&source, 70, &["the event type 200 is not handled yet", "binlog.00000"]).await?;
    // The server marks this one as one that may be skipped.
    forge((&source, &proxy), ("Rows_query", ROWS_QUERY), UNKNOWN).await?;
    let mut dts = source.site.start_dts()?;
    source.site.wait_for_exactly(2).await?;
    ensure!(dts.is_running()?, "{}", dts.output());
    drop(dts);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_of_the_server_stops_dts_which_says_what_to_do() -> Result<()> {
    let (source, proxy) = start("forged-incident").await?;
    forge((&source, &proxy), ("Rows_query", ROWS_QUERY), INCIDENT).await?;
    let parts = ["the server reports an incident", "send the tables again", "binlog.00000"];
    ends(&source, REFUSED, &parts).await?;
    // What was read before it is published, and that is where it stops again.
    ends(&source, REFUSED, &parts).await?;
    let (code, output) = source.site.run_dts(&["position", "show"]).await?;
    ensure!(code == Some(0) && output.contains("\"published\":1"), "{code:?} {output}");
    // A place after it can be found.
    let (file, pos) = source.mysql.binlog_end().await?;
    let after = ["position", "set", "--file", &file, "--pos", &pos.to_string()];
    let (code, output) = source.site.run_dts(&after).await?;
    ensure!(code == Some(0), "{code:?} {output}");
    source.remove()
}
