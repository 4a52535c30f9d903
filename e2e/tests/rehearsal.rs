//! A rehearsal runs another handler on the events of a listener, and leaves nothing behind.

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::{PATIENCE, Process, running_in, wait_until},
    programs::{REFUSED, program},
    recording::Recording,
    running::{Running, Source},
};
use serde_json::Value;

async fn start(test: &str, kafka: bool) -> Result<Running> {
    let source = Source::start(test).await?;
    let source = if kafka { source.over_kafka("").await? } else { source };
    let rows: Vec<String> = (0..50).map(|id| format!("({id})")).collect();
    let insert = format!("INSERT INTO shop.t VALUES {}", rows.join(","));
    let statements =
        ["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)", insert.as_str()];
    let running = source.capture("shop", &statements).await?.run()?;
    running.site.wait_for_handled(50).await?;
    Ok(running)
}

/// What the bus knows of groups.
async fn groups(running: &Running) -> Result<Vec<String>> {
    let (code, output) = running.site.run_worker(&["groups", "list", "--json"]).await?;
    ensure!(code == Some(0), "{output}");
    let list: Value = serde_json::from_str(&output).context(output)?;
    let groups = list["groups"].as_array().context("no groups")?;
    let name = |group: &Value| Some(group["name"].as_str()?.to_owned());
    groups.iter().map(|group| name(group).with_context(|| group.to_string())).collect()
}

/// Starts a rehearsal with a handler that records.
fn begin(running: &Running, file: &str, words: &[&str]) -> Result<Process> {
    let (worker, handler) = (program("event-worker")?, program("record-handler")?);
    let worker = worker.display().to_string();
    let with = format!("exec '{}' {file}", handler.display());
    let command = [worker.as_str(), "rehearse", "-t", "all", "--with", &with];
    let config = ["--config", "db_event_listener.toml"];
    running.site.run("rehearsal", &[&command, words, &config].concat())
}

fn rehearsed(running: &Running, file: &str) -> usize {
    let recording = Recording::read(&running.site.path(file)).unwrap_or_default();
    recording.done_ids().len()
}

async fn leaves_nothing_behind(test: &str, kafka: bool) -> Result<()> {
    let running = start(test, kafka).await?;
    let before = groups(&running).await?;
    ensure!(before.len() == 1 && before[0].ends_with(".listener.all"), "{before:?}");
    let done = begin(&running, "one.jsonl", &["--from", "earliest", "--events", "50"])?;
    let (status, output) = done.told().await?;
    ensure!(status.success() && output.contains("no call failed"), "{status}: {output}");
    let row = output.lines().find(|line| line.starts_with("events done")).unwrap_or_default();
    ensure!(row.split_whitespace().nth(2) == Some("50"), "{output}");
    ensure!(rehearsed(&running, "one.jsonl") == 50);
    ensure!(running.site.recording().done().count() == 50, "the listener itself got events again");

    // Live events, and a kill in the middle of a call.
    let mut live = begin(&running, "two.jsonl", &[])?;
    let mut id = 100;
    wait_until("a live event is rehearsed", PATIENCE, async || {
        id += 1;
        let insert = format!("INSERT INTO shop.t VALUES ({id})");
        running.execute(&[&insert]).await.is_ok() && rehearsed(&running, "two.jsonl") > 0
    })
    .await?;
    live.kill().await?;
    let left = async || {
        let all = running_in(&running.site.path("")).unwrap_or_default();
        !all.iter().any(|process| process.contains("two.jsonl"))
    };
    wait_until("its handler has ended", PATIENCE, left).await?;
    wait_until("the bus has no other group", PATIENCE, async || {
        groups(&running).await.is_ok_and(|now| now == before)
    })
    .await?;

    // A stop by hand is a normal end.
    let stopped = begin(&running, "three.jsonl", &["--from", "earliest"])?;
    wait_until("it works", PATIENCE, async || rehearsed(&running, "three.jsonl") >= 50).await?;
    stopped.signal("INT").await?;
    let (status, output) = stopped.told().await?;
    ensure!(status.success() && output.contains("nothing was committed"), "{status}: {output}");
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_over_the_log_leaves_nothing_behind_also_when_it_is_killed() -> Result<()> {
    leaves_nothing_behind("rehearsal-log", false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_over_kafka_leaves_nothing_behind_also_when_it_is_killed() -> Result<()> {
    leaves_nothing_behind("rehearsal-kafka", true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_says_by_its_exit_code_whether_calls_failed() -> Result<()> {
    let running = start("rehearsal-codes", false).await?;
    let rehearse = async |with: &str, more: &[&str], code: i32, part: &str| {
        let words = [&["rehearse", "-t", "all", "--with", with], more].concat();
        let told = running.site.run_worker(&words).await?;
        let is_so = told.0 == Some(code) && told.1.contains(part);
        ensure!(is_so, "{words:?}: not {code} and {part:?}, but {told:?}");
        anyhow::Ok(())
    };
    let past = ["--from", "earliest", "--for", "1s"];
    rehearse("exec false", &past, REFUSED, "calls failed within").await?;
    rehearse("print", &past, 0, "no call failed within").await?;
    rehearse("exec cat", &["--for", "100ms"], 0, "no event came").await?;
    rehearse("exec 'cat", &past, 64, "a quote is not closed").await?;
    rehearse("grpc x", &past, 64, "write 'exec PROGRAM").await?;
    rehearse("http ftp://x", &past, 64, "is not an http or https URL").await?;
    // It does not take the place of the running listener.
    ensure!(running.site.recording().done().count() == 50);
    running.end().await
}
