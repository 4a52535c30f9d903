//! A whole table to one listener, while the live stream goes on.

mod answers;
mod failover;
mod filters;
mod initial;
mod isolation;
mod keys;
mod kills;
mod listeners;
mod loss;
mod tables;

use anyhow::{Context, Result};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::{Site, recording_listener},
    running::{
        Running, Source,
        syncs::{SCHEMA, TABLE},
    },
    servers::Mysql,
    writers::create_versioned,
};
use mysql_async::prelude::Queryable;
use serde_json::Value;

/// How the bus and MySQL are set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Log,
    Kafka,
    LogWithoutGtids,
    /// Nor with the right to read `performance_schema.log_status`.
    LogWithLocks,
    /// Nor with any right that a full sync could do with instead.
    LogWithoutRight,
    LogOfMariadb,
}

/// A table with rows that no listener has seen; `dts` and listeners begin after them. `more` is
/// what `[fullSync]` has.
async fn start(test: &str, (kind, rows): (Kind, u64), more: &str) -> Result<Running> {
    start_with(test, (kind, rows), more, &["search"]).await
}

async fn start_with(
    test: &str,
    (kind, rows): (Kind, u64),
    more: &str,
    listeners: &[&str],
) -> Result<Running> {
    let mut source = start_source(test, kind).await?;
    fill(&source.mysql, rows).await?;
    if kind == Kind::Kafka {
        source = source.over_kafka("").await?;
    }
    source.site.configure_dts(&source.mysql.address(), SCHEMA)?;
    begin(source, more, listeners).await
}

/// Starts the programs in a site whose `dts.toml` is written, and where they begin with what comes
/// next.
async fn begin(source: Source, more: &str, listeners: &[&str]) -> Result<Running> {
    let Source { site, mysql, kafka } = source;
    let amended = format!("start = \"latest\"\n[fullSync]\n{more}\n[source]");
    site.amend("dts.toml", "start = \"earliest\"\n[source]", &amended)?;
    let listeners: Result<Vec<String>> = listeners
        .iter()
        .map(|id| recording_listener(id, &site.path(id), &[]))
        .map(|toml| Ok(toml?.replace("\"earliest\"", "\"latest\"")))
        .collect();
    site.configure_worker(&listeners?.concat())?;
    let dts = site.start_dts()?;
    wait_for_stream(&site).await?;
    let worker = site.start_worker()?;
    wait_for_listeners(&site).await?;
    Ok(Running { site, mysql, kafka, dts, standby: None, worker })
}

/// Makes the table with versions.
async fn fill(server: &Mysql, rows: u64) -> Result<()> {
    let mut server = server.connect().await?;
    server.query_drop(format!("CREATE DATABASE {SCHEMA}")).await?;
    create_versioned(&mut server, TABLE, rows).await
}

async fn start_source(test: &str, kind: Kind) -> Result<Source> {
    let without_gtids = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    let server = match kind {
        Kind::Log | Kind::Kafka => ("9.7", &[][..]),
        Kind::LogOfMariadb => ("mariadb-11.8", &[][..]),
        _ => ("9.7", &without_gtids[..]),
    };
    let source = Source::start_on(test, server).await?;
    let right = match kind {
        Kind::LogWithoutGtids => "BACKUP_ADMIN",
        Kind::LogWithLocks => "LOCK TABLES",
        _ => return Ok(source),
    };
    source.execute(&[&format!("GRANT {right} ON *.* TO 'dts'@'%'")]).await?;
    Ok(source)
}

async fn wait_for_stream(site: &Site) -> Result<()> {
    wait_until("dts streams", PATIENCE, async || {
        let status = site.status().await;
        status["state"] == "streaming"
    })
    .await
}

/// Waits until each listener has a place in the bus.
async fn wait_for_listeners(site: &Site) -> Result<()> {
    let mut last = Value::Null;
    let outcome = wait_until("all listeners are ready", PATIENCE, async || {
        last = site.ask_worker("/api/v1/listeners").await.unwrap_or_default();
        let has_place = |listener: &Value| {
            let partitions = listener["partitions"].as_array();
            // A member that has nothing to do yet, since there is no topic, stands by.
            (listener["state"] == "running" || listener["state"] == "standby")
                && partitions.is_some_and(|all| all.iter().all(|of| !of["committed"].is_null()))
        };
        last["listeners"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(has_place))
    })
    .await;
    outcome.with_context(|| last.to_string())
}
