//! One listener's full sync is nobody else's business, and waits for that listener alone.

use std::{ops::Range, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    picture::Picture,
    processes::{PATIENCE, wait_until},
    programs::{seed, size},
    recording::Recording,
    writers::Writers,
};
use serde_json::Value;
use service::clock::now_ms;

use super::{Kind, Running, TABLE, start, start_with};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_sync_is_done_only_when_its_listener_has_finished_it() -> Result<()> {
    let running = start("full-sync-sent", (Kind::Log, 100), "").await?;
    let steer = async |verb: &str| {
        let path = format!("/api/v1/listeners/search/{verb}");
        running.site.call_worker("POST", &path).await
    };
    ensure!(steer("pause").await?.0 == 200, "it is not paused");
    let id = running.sync("search", "").await?;
    let mut task = Value::Null;
    let outcome = wait_until("all is sent", PATIENCE, async || {
        task = running.task(&id).await.unwrap_or_default();
        task["state"] == "sent"
    })
    .await;
    outcome.with_context(|| task.to_string())?;
    ensure!(task["rows"] == 100 && task["percent"].as_f64() < Some(100.0), "{task}");
    let handled = Picture::read(&running.site.path("search"), "item").map_or(0, |all| all.len());
    ensure!(handled == 0, "a paused listener has handled {handled} rows");
    ensure!(steer("resume").await?.0 == 200, "it is not resumed");
    let task = running.done(&id).await?;
    ensure!(task["percent"] == 100.0, "{task}");
    let handled = Picture::read(&running.site.path("search"), "item")?.len();
    ensure!(handled == 100, "it is done, and {handled} rows are handled");
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn other_listeners_get_none_of_the_rows() -> Result<()> {
    let rows = size(20_000, 1_000_000);
    let all = ["search", "beside", "further"];
    let running = start_with("full-sync-others", (Kind::Log, rows), "", &all).await?;
    let writers = Writers::start(&running.mysql.url(), (TABLE, rows), 1000, seed());
    tokio::time::sleep(Duration::from_secs(size(2, 10))).await;
    let asked = now_ms();
    let id = running.sync("search", "").await?;
    running.done(&id).await?;
    let done = now_ms();
    let made = writers.stop().await?;
    let picture = running.complete("search").await?;
    ensure!(picture.synced > 0, "nothing was synced");
    for other in &all[1..] {
        let path = running.site.path(other);
        wait_until("the others have all changes", PATIENCE, async || {
            Picture::read(&path, "item").is_ok_and(|others| others.live == picture.live)
        })
        .await?;
        let others = Picture::read(&path, "item")?;
        ensure!(others.synced == 0, "{other} got {} rows", others.synced);
    }
    println!(
        "{made} changes; lag of live changes in ms, beside a full sync of {} ms:",
        done - asked
    );
    for listener in &all {
        let recording = Recording::read(&running.site.path(listener))?;
        let (before, beside) = (lags(&recording, 0..asked), lags(&recording, asked..done));
        println!("{listener}: {before} before, {beside} beside it");
    }
    running.end().await
}

fn lags(recording: &Recording, committed: Range<u64>) -> String {
    let lags = recording.lags_between(committed);
    let at = |part: usize| lags.get(lags.len() * part / 1000).copied().unwrap_or_default();
    format!("p50 {} p99 {}", at(500), at(990))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_listener_is_waited_for() -> Result<()> {
    let rows = size(50_000, 500_000);
    let chunks = "chunkBytes = \"256KiB\"";
    let running =
        start_with("full-sync-paused", (Kind::Log, rows), chunks, &["search", "beside"]).await?;
    let pause = "/api/v1/listeners/search/pause";
    let (status, answer) = running.site.call_worker("POST", pause).await?;
    ensure!(status < 300, "{answer}");
    let id = running.sync("search", "").await?;
    let writers = Writers::start(&running.mysql.url(), (TABLE, rows), 200, seed());
    let mut sent = 0;
    wait_until("chunks are sent", PATIENCE, async || {
        let task = running.task(&id).await.unwrap_or_default();
        sent = task["rows"].as_u64().unwrap_or_default();
        sent > 0
    })
    .await?;
    let beside = running.site.path("beside");
    for _ in 0..4 {
        let made = writers.made();
        wait_until("the other listener gets changes", PATIENCE, async || {
            Picture::read(&beside, "item").is_ok_and(|others| others.live > made + 100)
        })
        .await?;
        // Nor does it get more when the task begins again.
        for (verb, state) in [("pause", "paused"), ("resume", "running")] {
            let path = format!("/api/v1/full-syncs/{id}/{verb}");
            running.site.call_worker("POST", &path).await?;
            wait_until("the task is as wished", PATIENCE, async || {
                running.task(&id).await.is_ok_and(|task| task["state"] == state)
            })
            .await?;
        }
    }
    let task = running.task(&id).await?;
    let waiting = task["rows"].as_u64().unwrap_or_default();
    ensure!(waiting < rows / 2, "it does not wait for its listener: {task}");
    println!("{waiting} of {rows} rows are sent to the paused listener; {task}");
    let resume = "/api/v1/listeners/search/resume";
    let (status, answer) = running.site.call_worker("POST", resume).await?;
    ensure!(status < 300, "{answer}");
    running.done(&id).await?;
    writers.stop().await?;
    running.complete("search").await?;
    running.end().await
}

/// What the listener publishes about itself waits, and only this listener makes room in the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_joins_a_log_that_is_full_of_what_it_has_to_take() -> Result<()> {
    let mut running = start("full-sync-full-log", (Kind::Log, 10), "").await?;
    running.worker.kill().await?;
    running.dts.kill().await?;
    running.site.amend("dts.toml", "[bus]\n", "[bus]\nmaxBytes = \"128MiB\"\n")?;
    running.dts = running.site.start_dts()?;
    running.execute(&["CREATE TABLE synced.large (id INT PRIMARY KEY, t LONGTEXT)"]).await?;
    for id in 0..200 {
        let insert = format!("INSERT INTO synced.large VALUES ({id}, REPEAT('x', 1000000))");
        running.execute(&[&insert]).await?;
    }
    let mut last = serde_json::Value::Null;
    let outcome = wait_until("the log is full", PATIENCE, async || {
        last = running.site.status().await;
        last.to_string().contains("is full")
    })
    .await;
    outcome.with_context(|| last.to_string())?;
    let subscribe = "workers = 8\nsubscribe = { synced = [\"item\"] }";
    running.site.amend("db_event_listener.toml", "workers = 8", subscribe)?;
    running.worker = running.site.start_worker()?;
    super::wait_for_listeners(&running.site).await?;
    let mut id = String::new();
    wait_until("there is room for a request", PATIENCE, async || {
        id = running.sync("search", "").await.unwrap_or_default();
        !id.is_empty()
    })
    .await?;
    running.done(&id).await?;
    running.complete("search").await?;
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_paused_resumed_and_cancelled() -> Result<()> {
    let more = "maxRate = 2000\nchunkBytes = \"64KiB\"";
    let mut running = start("full-sync-task", (Kind::Log, 20_000), more).await?;
    let id = running.sync("search", "").await?;
    let (status, answer) =
        running.site.call_worker("GET", "/?table=item&listenerid=search").await?;
    ensure!(status == 409 && answer.to_string().contains(&id), "{status} {answer}");
    let wish = async |running: &Running, verb: &str, state: &str| -> Result<u64> {
        let path = format!("/api/v1/full-syncs/{id}/{verb}");
        let (status, answer) = running.site.call_worker("POST", &path).await?;
        ensure!(status == 202, "{status} {answer}");
        let mut rows = 0;
        wait_until("the task is as wished", PATIENCE, async || {
            let task = running.task(&id).await.unwrap_or_default();
            rows = task["rows"].as_u64().unwrap_or_default();
            task["state"] == state
        })
        .await?;
        Ok(rows)
    };
    let paused_at = wish(&running, "pause", "paused").await?;
    // It stays paused over a restart.
    running.dts.kill().await?;
    running.dts = running.site.start_dts()?;
    super::wait_for_stream(&running.site).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let task = running.task(&id).await?;
    ensure!(task["state"] == "paused" && task["rows"] == paused_at, "{task}");
    shown(&running, &id, paused_at).await?;
    wish(&running, "resume", "running").await?;
    running.done(&id).await?;
    wait_until("dts shows none at work", PATIENCE, async || {
        let status = running.site.status().await;
        status["fullSyncs"].as_array().is_some_and(Vec::is_empty)
    })
    .await?;
    running.complete("search").await?;

    let second = running.sync("search", "").await?;
    let path = format!("/api/v1/full-syncs/{second}/cancel");
    running.site.call_worker("POST", &path).await?;
    let task = running.ended(&second).await?;
    ensure!(task["state"] == "cancelled", "{task}");
    let (status, answer) = running.site.call_worker("POST", &path).await?;
    ensure!(status == 409, "{status} {answer}");
    running.end().await
}

/// `dts` shows a paused full sync in its status and its metrics.
async fn shown(running: &Running, id: &str, rows: u64) -> Result<()> {
    let status = running.site.ask_dts("/api/v1/status").await?;
    let task = &status["fullSyncs"][0];
    let is_it = task["id"] == id && task["listener"] == "search" && task["table"] == "item";
    ensure!(is_it && task["state"] == "paused" && task["rows"] == rows, "{status}");
    ensure!(task["rowsPerSecond"].as_f64() > Some(0.0), "{task}");
    let metrics = running.site.ask_dts_text("/metrics").await?;
    let labels =
        format!("task=\"{id}\",listener=\"search\",schema=\"{}\",table=\"item\"", super::SCHEMA);
    for line in [
        "dts_full_syncs{state=\"paused\"} 1".to_owned(),
        "dts_full_syncs{state=\"running\"} 0".to_owned(),
        format!("dts_full_sync_task_rows{{{labels}}} {rows}.0"),
        format!("dts_full_sync_task_rows_per_second{{{labels}}} {}", task["rowsPerSecond"]),
    ] {
        ensure!(metrics.lines().any(|other| other == line), "{line} is not in {metrics}");
    }
    Ok(())
}
