//! The one line that says why nothing moves: what an operator sees in `status`, and whether it
//! leads to the right act.

use anyhow::{Context as _, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::Site,
    running::{Running, Source},
};

const STATEMENTS: [&str; 3] = [
    "CREATE DATABASE why",
    "CREATE TABLE why.t (id INT PRIMARY KEY, text TEXT)",
    "INSERT INTO why.t VALUES (1, 'one')",
];

async fn source(test: &str) -> Result<Source> {
    Source::start(test).await?.capture("why", &STATEMENTS).await
}

/// A shell handler that answers each batch by these commands, with the batch in `$line`.
fn shell(site: &Site, answer: &str, more: &str) -> Result<()> {
    handler(site, ("sh", &format!("while IFS= read -r line; do {answer}; done")), more)
}

/// A handler that is a script of an interpreter.
fn handler(site: &Site, (interpreter, script): (&str, &str), more: &str) -> Result<()> {
    site.configure_worker(&format!(
        "[listeners.all]\nstart = \"earliest\"\nbatchSize = 1\n{more}\
         retry = {{ min = \"20ms\", max = \"1s\" }}\n\
         handler = {{ exec = [{interpreter:?}, \"-c\", '''{script}'''], timeout = \"1h\" }}\n"
    ))
}

/// The line of the listener, as `event-worker status` shows it: below the listener's own.
async fn of_listener(site: &Site) -> Result<String> {
    let (_, text) = site.run_worker(&["status"]).await?;
    Ok(text.lines().nth(2).unwrap_or(&text).trim().to_owned())
}

/// The line of `dts`, or what `dts status` says while none runs.
async fn of_dts(site: &Site) -> Result<String> {
    let (_, text) = site.run_dts(&["status"]).await?;
    let line = text.lines().find_map(|line| line.strip_prefix("why "));
    Ok(line.unwrap_or(&text).trim().to_owned())
}

/// Waits until the line has all of these, and prints it.
async fn says(what: &str, line: impl AsyncFn() -> Result<String>, parts: &[&str]) -> Result<()> {
    let mut said = String::new();
    let outcome = wait_until(what, PATIENCE * 2, async || {
        said = line().await.unwrap_or_default();
        parts.iter().all(|part| said.contains(part))
    });
    outcome.await.with_context(|| format!("it says {said:?}, and not {parts:?}"))?;
    println!("{what}: {said}");
    Ok(())
}

/// How often the log has a line with this.
fn logged(output: &str, part: &str) -> usize {
    output.lines().filter(|line| line.contains(part)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_is_named_with_the_command_that_skips_it() -> Result<()> {
    let source = source("why-poison").await?;
    let answer = "case \"$line\" in *poison*) echo false;; *) echo true;; esac";
    shell(&source.site, answer, "")?;
    let running = source.run()?;
    says("idle", async || of_listener(&running.site).await, &["idle: all that is on the bus"])
        .await?;
    says("idle dts", async || of_dts(&running.site).await, &["idle: all that MySQL has"]).await?;
    running.execute(&["INSERT INTO why.t VALUES (2, 'poison')"]).await?;
    let parts = ["waiting for its handler since ", "fix the handler", "listener skip -t all"];
    says("a poison event", async || of_listener(&running.site).await, &parts).await?;
    wait_until("it is logged", PATIENCE, async || {
        logged(&running.worker.output(), "waiting for its handler since") > 0
    })
    .await?;
    let line = of_listener(&running.site).await?;
    // The command that the line names.
    let (_, command) = line.split_once("event-worker listener skip ").context("no command")?;
    let words: Vec<&str> = ["listener", "skip"].into_iter().chain(command.split(' ')).collect();
    let (code, text) = running.site.run_worker(&words).await?;
    ensure!(code == Some(0), "{words:?}: {code:?} {text}");
    says("skipped", async || of_listener(&running.site).await, &["idle: all that is on"]).await?;
    let told = logged(&running.worker.output(), "waiting for its handler since");
    ensure!(told == 1, "it was logged {told} times");
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_never_answers_is_named_with_its_event() -> Result<()> {
    let source = source("why-stuck").await?;
    let lock = source.site.path("stuck");
    std::fs::write(&lock, "")?;
    let answer = format!("while [ -e {} ]; do sleep 0.1; done; echo true", lock.display());
    shell(&source.site, &answer, "")?;
    let running = source.run()?;
    let parts = ["waiting for its handler since ", "has not ended", "listener restart -t all"];
    says("a stuck handler", async || of_listener(&running.site).await, &parts).await?;
    std::fs::remove_file(&lock)?;
    says("it goes on", async || of_listener(&running.site).await, &["idle: all that is on"])
        .await?;
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_position_is_told_by_the_status_of_a_dts_that_has_ended() -> Result<()> {
    let source = source("why-purged").await?;
    source.run_up_to(1).await?;
    let statements = ["FLUSH BINARY LOGS", "INSERT INTO why.t VALUES (2, 'two')"];
    source.execute(&statements).await?;
    source
        .execute(&["FLUSH BINARY LOGS", "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY"])
        .await?;
    let (status, _) = source.site.start_dts()?.told().await?;
    ensure!(status.code() == Some(e2e::programs::REFUSED), "{status}");
    let parts = ["the last run ended at ", "purged", "dts position set", "then start it again"];
    says("a purged position", async || of_dts(&source.site).await, &parts).await?;
    let (code, text) = source.site.run_dts(&["position", "set", "earliest"]).await?;
    ensure!(code == Some(0), "{text}");
    let dts = source.site.start_dts()?;
    says("it goes on", async || of_dts(&source.site).await, &["idle: all that MySQL has"]).await?;
    drop(dts);
    source.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_is_told_with_the_group_that_it_is_kept_for() -> Result<()> {
    let source = source("why-full").await?;
    source.site.amend("dts.toml", "[bus]\n", "[bus]\nmaxBytes = \"128MiB\"\n")?;
    let stop = source.site.path("stop");
    std::fs::write(&stop, "")?;
    // A shell would read these lines byte by byte.
    let script = format!(
        "import os, sys, time\nfor line in sys.stdin.buffer:\n  \
         while os.path.exists({:?}): time.sleep(0.1)\n  print('true', flush=True)",
        stop.display().to_string()
    );
    handler(&source.site, ("python3", &script), "maxBufferBytes = \"1MiB\"\n")?;
    let Running { site, mysql, dts, worker, kafka, .. } = source.run()?;
    mysql.execute(&["ALTER TABLE why.t MODIFY text MEDIUMTEXT"]).await?;
    for id in 100..260 {
        mysql.execute(&[&format!("INSERT INTO why.t VALUES ({id}, REPEAT('x', 1000000))")]).await?;
    }
    let parts = ["waiting for room on the bus since ", "dbevents.listener.all", "maxBytes"];
    says("a full log", async || of_dts(&site).await, &parts).await?;
    std::fs::remove_file(&stop)?;
    says("it goes on", async || of_dts(&site).await, &["idle: all that MySQL has"]).await?;
    says("all is done", async || of_listener(&site).await, &["idle: all that is on"]).await?;
    drop((dts, worker));
    Source { site, mysql, kafka }.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_down_is_told_by_both() -> Result<()> {
    let source = Source::start("why-broker").await?.over_kafka("").await?;
    let mut running = source.capture("why", &STATEMENTS).await?.run()?;
    running.site.wait_for_handled(1).await?;
    running.kafka.as_mut().context("no Kafka")?.kill().await?;
    running.execute(&["INSERT INTO why.t VALUES (2, 'two')"]).await?;
    let parts = ["waiting for the bus since ", "start it; dts goes on by itself"];
    says("a broker down, dts", async || of_dts(&running.site).await, &parts).await?;
    let parts = ["waiting for the bus since ", "start the bus"];
    says("a broker down, listener", async || of_listener(&running.site).await, &parts).await?;
    running.kafka.as_mut().context("no Kafka")?.restart().await?;
    running.site.wait_for_handled(2).await?;
    says("it goes on", async || of_listener(&running.site).await, &["idle: all that is on"])
        .await?;
    let told = logged(&running.dts.output(), "waiting for the bus since");
    // A stand-by for a moment is idle, and may lose the bus once more.
    ensure!((1..=2).contains(&told), "dts logged it {told} times");
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_grant_is_told_with_the_statement_that_grants_it() -> Result<()> {
    let source = source("why-revoked").await?;
    source.run_up_to(1).await?;
    source.execute(&["REVOKE REPLICATION SLAVE ON *.* FROM 'dts'"]).await?;
    let (status, _) = source.site.start_dts()?.told().await?;
    ensure!(status.code() == Some(e2e::programs::REFUSED), "{status}");
    let parts = ["the last run ended at ", "GRANT REPLICATION SLAVE"];
    says("a revoked grant", async || of_dts(&source.site).await, &parts).await?;
    source.execute(&["GRANT REPLICATION SLAVE ON *.* TO 'dts'"]).await?;
    let dts = source.site.start_dts()?;
    says("it goes on", async || of_dts(&source.site).await, &["idle: all that MySQL has"]).await?;
    drop(dts);
    source.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_that_is_down_and_a_pause_are_told() -> Result<()> {
    let mut running = source("why-mysql").await?.run()?;
    running.site.wait_for_handled(1).await?;
    let (code, _) = running.site.call_worker("POST", "/api/v1/listeners/all/pause").await?;
    ensure!(code == 200, "it is not paused");
    let parts = ["waiting for a human", "somebody has paused it", "listeners/all/resume"];
    says("a pause", async || of_listener(&running.site).await, &parts).await?;
    running.mysql.kill().await?;
    let parts = ["waiting for MySQL since ", "start it, or correct source.hosts"];
    says("MySQL is down", async || of_dts(&running.site).await, &parts).await?;
    running.mysql.restart().await?;
    says("it goes on", async || of_dts(&running.site).await, &["idle: all that MySQL has"]).await?;
    running.end().await
}
