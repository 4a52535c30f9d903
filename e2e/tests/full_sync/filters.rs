//! A listener that chooses among changes, or among tables, still gets every row that it asked for.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{
    picture::Picture,
    processes::{PATIENCE, send, wait_until},
    programs::listener_pid,
    writers::create_versioned,
};
use mysql_async::prelude::Queryable;
use serde_json::Value;

use super::{Kind, Running, SCHEMA, Source, TABLE, begin, fill, start, wait_for_listeners};

const CONFIG: &str = "db_event_listener.toml";

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_change_while_they_are_read_come_to_a_listener_that_wants_no_changes()
-> Result<()> {
    const ROWS: u64 = 20_000;
    let running = start("full-sync-filters", (Kind::Log, ROWS), "chunkBytes = \"128KiB\"").await?;
    running.site.amend(CONFIG, "workers = 8", "workers = 8\nactions = [\"delete\"]")?;
    reload(&running).await?;
    let id = running.sync("search", "").await?;
    let mut server = running.mysql.connect().await?;
    let mut updates = 0;
    while running.task(&id).await?["state"] != "done" {
        for _ in 0..20 {
            updates += 1;
            let update = format!("UPDATE {TABLE} SET v = v + 1 WHERE id % 500 = {updates} % 500");
            server.query_drop(update).await?;
        }
    }
    let path = running.site.path("search");
    let mut known = (0, 0);
    let outcome = wait_until("every row comes", PATIENCE, async || {
        known = Picture::read(&path, "item").map_or((0, 0), |all| (all.len(), all.synced));
        known.0 as u64 == ROWS
    })
    .await;
    println!("{updates} updates; {known:?} rows known, and synced");
    outcome?;
    Picture::read(&path, "item")?;
    running.end().await
}

async fn reload(running: &Running) -> Result<()> {
    let (status, answer) = running.site.call_worker("POST", "/api/v1/reload").await?;
    ensure!(status == 200, "{status} {answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_new_to_a_listener_is_sent_when_it_runs_with_it_on_the_log() -> Result<()> {
    new_table(Kind::Log, "full-sync-new-table-log").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_new_to_a_listener_is_sent_when_it_runs_with_it_on_kafka() -> Result<()> {
    new_table(Kind::Kafka, "full-sync-new-table-kafka").await
}

async fn new_table(kind: Kind, test: &str) -> Result<()> {
    const ROWS: u64 = 5_000;
    let running = start(test, (kind, 10), "chunkBytes = \"128KiB\"").await?;
    let subscribe = |tables: &str| format!("workers = 8\nsubscribe = {{ {SCHEMA} = [{tables}] }}");
    let (before, after) = (subscribe("\"item\""), subscribe("\"item\", \"other\""));
    running.site.amend(CONFIG, "workers = 8", &before)?;
    reload(&running).await?;
    let item = running.sync("search", "").await?;
    running.done(&item).await?;
    let mut server = running.mysql.connect().await?;
    let other = format!("{SCHEMA}.other");
    create_versioned(&mut server, &other, ROWS).await?;

    // The process of the listener is stopped, so that it cannot end.
    let pid = listener_pid(&running.worker).await?;
    send(pid, "STOP").await?;
    running.site.amend(CONFIG, &before, &after)?;
    reload(&running).await?;
    let path = "/?table=other&listenerid=search";
    let (status, answer) = running.site.call_worker("GET", path).await?;
    ensure!(status == 202, "{status}: {answer}");
    let id = answer["tasks"][0]["id"].as_str().unwrap_or_default().to_owned();
    wait_until("the task says why it waits", PATIENCE, async || {
        let task = running.task(&id).await.unwrap_or_default();
        task["error"].as_str().is_some_and(|error| error.contains("runs without synced.other"))
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let task = running.task(&id).await?;
    ensure!(task["state"] == "waiting" && task["rows"] == 0, "{task}");
    // A process that was stopped for too long has been replaced.
    let _ = send(pid, "CONT").await;
    running.done(&id).await?;
    let path = running.site.path("search");
    let mut known = 0;
    let outcome = wait_until("every row comes", PATIENCE, async || {
        known = Picture::read(&path, "other").map_or(0, |all| all.len());
        known as u64 == ROWS
    })
    .await;
    println!("{known} rows known");
    outcome?;
    running.end().await
}

/// The listener skips rows that were sent to it, and nobody sees that.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_a_listener_loses_for_a_while_is_sent_from_its_beginning() -> Result<()> {
    const ROWS: u64 = 20_000;
    let source = Source::start("full-sync-lost-table").await?;
    fill(&source.mysql, ROWS).await?;
    let source = source.over_kafka("topicTemplate = \"{prefix}.all\"\n").await?;
    source.site.configure_dts(&source.mysql.address(), SCHEMA)?;
    let mut running = begin(source, "chunkBytes = \"64KiB\"", &["search"]).await?;
    let subscribe = |tables: &str| format!("workers = 8\nsubscribe = {{ {SCHEMA} = [{tables}] }}");
    let (both, one) = (subscribe("\"item\", \"other\""), subscribe("\"other\""));
    running.site.amend(CONFIG, "workers = 8", &both)?;
    reload(&running).await?;
    let listener = "/api/v1/listeners/search";
    running.site.call_worker("POST", &format!("{listener}/pause")).await?;
    let id = running.sync("search", "").await?;
    wait_until("chunks are sent", PATIENCE, async || {
        running.task(&id).await.is_ok_and(|task| task["rows"].as_u64() > Some(0))
    })
    .await?;
    running.dts.kill().await?;

    running.site.amend(CONFIG, &both, &one)?;
    reload(&running).await?;
    running.site.call_worker("POST", &format!("{listener}/resume")).await?;
    let mut last = Value::Null;
    let said = r#"listener gets subscribe=[("synced", "other")]"#;
    let outcome = wait_until("the listener passes over them, and says so", PATIENCE, async || {
        last = running.site.ask_worker(listener).await.unwrap_or_default();
        let lag = last["lag"]["records"].as_u64();
        lag.is_some_and(|records| last["filtered"].as_u64() > Some(records))
            && running.worker.output().contains(said)
    })
    .await;
    outcome.with_context(|| last.to_string())?;
    running.site.amend(CONFIG, &one, &both)?;
    reload(&running).await?;
    wait_for_listeners(&running.site).await?;
    running.dts = running.site.start_dts()?;
    running.done(&id).await?;
    let picture = running.complete("search").await?;
    println!("{} rows came", picture.synced);
    running.end().await
}
