//! Topics and offsets that come, grow and go: nothing is skipped silently, and what stops says why
//! and what to do.

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::{PATIENCE, Process, send, wait_until},
    programs::{REFUSED, listener_pid, program},
    replays::{Replay, all_committed},
    running::{Source, run_listener_to_the_end},
    servers::kafka_tool,
};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde_json::Value;

const SCHEMA: &str = "moves";
const TOPIC: &str = "e2e.moves.t";
const GROUP: &str = "e2e.listener.all";

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";

/// A table whose topic is moved about.
struct Moves {
    source: Source,
}

impl Moves {
    /// Servers and configs; no program runs yet. The listener begins with what comes from now on.
    async fn prepare(test: &str) -> Result<Self> {
        let source = Source::start(test).await?.over_kafka("partitions = 3\n").await?;
        let source = source.capture(SCHEMA, &["CREATE DATABASE moves"]).await?;
        let config = "db_event_listener.toml";
        source.site.amend(config, "start = \"earliest\"", "start = \"latest\"")?;
        let subscribed = "subscribe = { moves = [\"*\"] }\nworkers = ";
        source.site.amend(config, "workers = ", subscribed)?;
        Ok(Self { source })
    }

    /// `dts` and the listener run, and have handled some rows of one table.
    async fn start(test: &str) -> Result<(Self, Process, Process)> {
        let moves = Self::prepare(test).await?;
        let worker = moves.source.site.start_worker()?;
        moves.listener("standby", &[]).await?;
        moves.execute("CREATE TABLE moves.t (id INT PRIMARY KEY AUTO_INCREMENT, a INT)").await?;
        moves.insert("t", 20).await?;
        let dts = moves.source.site.start_dts()?;
        moves.all_handled().await?;
        Ok((moves, dts, worker))
    }

    async fn execute(&self, statement: &str) -> Result<()> {
        self.source.execute(&[statement]).await
    }

    async fn insert(&self, table: &str, rows: usize) -> Result<()> {
        let rows = vec!["(1)"; rows].join(", ");
        self.execute(&format!("INSERT INTO moves.{table} (a) VALUES {rows}")).await
    }

    /// Every change that MySQL made was given to the handler.
    async fn all_handled(&self) -> Result<()> {
        self.source
            .site
            .wait_for_all(&self.source.site.recorded(), &self.source.mysql, SCHEMA)
            .await?;
        Ok(())
    }

    /// Waits until the listener is in this state, and its error, if it has one, says all of this.
    async fn listener(&self, state: &str, said: &[&str]) -> Result<()> {
        let mut last = Value::Null;
        let outcome = wait_until("the listener says how it is", PATIENCE, async || {
            last = self.source.site.ask_worker("/api/v1/listeners/all").await.unwrap_or_default();
            let error = last["error"].to_string();
            last["state"] == state && said.iter().all(|part| error.contains(part))
        });
        outcome.await.with_context(|| format!("not {state} with {said:?}: {last}"))?;
        if !said.is_empty() {
            println!("{state}: {}", last["error"]);
        }
        Ok(())
    }

    async fn tool(&self, class: &str, arguments: &[&str]) -> Result<String> {
        let address = self.source.kafka()?.address();
        kafka_tool(class, &[&["--bootstrap-server", &address], arguments].concat()).await
    }

    /// Deletes all records that are there, as retention does.
    async fn delete_records(&self) -> Result<()> {
        let partitions: Vec<String> = (0..3)
            .map(|number| format!(r#"{{"topic":"{TOPIC}","partition":{number},"offset":-1}}"#))
            .collect();
        let file = self.source.site.path("delete.json");
        let list = format!(r#"{{"version":1,"partitions":[{}]}}"#, partitions.join(","));
        std::fs::write(&file, list)?;
        let file = file.display().to_string();
        self.tool(DELETE_RECORDS, &["--offset-json-file", &file]).await.map(drop)
    }

    /// `event-worker listener reset`, while the supervisor runs.
    async fn reset(&self, to: &str) -> Result<()> {
        let path = program("event-worker")?.display().to_string();
        let verb = ["listener", "reset", "-t", "all", "--to", to];
        let config = ["--config", "db_event_listener.toml"];
        let command = [&[path.as_str()], &verb[..], &config].concat();
        let mut reset = self.source.site.run("reset", &command)?;
        ensure!(reset.ended().await?.success(), "{}", reset.output());
        println!("{}", reset.output());
        Ok(())
    }

    /// Deletes the group, once the brokers know that its member has gone.
    async fn forget_group(&self) -> Result<()> {
        let mut told = String::new();
        let outcome = wait_until("the group is deleted", PATIENCE, async || {
            let deleted = self.tool(GROUPS, &["--delete", "--group", GROUP]).await;
            told = deleted.unwrap_or_else(|error| error.to_string());
            told.contains("was successful")
        });
        outcome.await.with_context(|| told.clone())
    }

    /// Writes a change of another program into a partition.
    fn write_by_hand(&self, partition: i32, id: &str) -> Result<()> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", self.source.kafka()?.address())
            .create()?;
        let event = format!(
            r#"{{"EvId":"{id}","Schema":"moves","TableName":"t","Action":"insert","PK":{{"id":0}},"Data":{{"id":0,"a":1}},"Origin":"binlog","Ts":1700000000123,"Source":{{"serverId":1,"file":"binlog.000001","pos":4,"row":0}}}}"#
        );
        let record = BaseRecord::to(TOPIC).partition(partition).key("{\"id\":0}").payload(&event);
        producer.send(record).map_err(|(error, _)| error)?;
        producer.flush(PATIENCE)?;
        Ok(())
    }

    async fn handled_by_hand(&self, id: &str) -> Result<()> {
        wait_until("the record is handled", PATIENCE, async || {
            self.source.site.recording().done_ids().contains(id)
        })
        .await
    }
}

async fn stop(mut process: Process) -> Result<()> {
    process.signal("TERM").await?;
    ensure!(process.ended().await?.success(), "{}", process.output());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_the_listener_began_is_handled_from_its_first_record() -> Result<()> {
    let (moves, dts, worker) = Moves::start("moves-later").await?;
    moves.execute("CREATE TABLE moves.later (id INT PRIMARY KEY AUTO_INCREMENT, a INT)").await?;
    moves.insert("later", 50).await?;
    moves.all_handled().await?;
    drop((dts, worker));
    moves.source.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_has_grown_keeps_its_keys_in_place_and_is_read_whole() -> Result<()> {
    let (moves, dts, worker) = Moves::start("moves-grown").await?;
    moves.tool(TOPICS, &["--alter", "--topic", TOPIC, "--partitions", "7"]).await?;
    wait_until("dts says that the topic has grown", PATIENCE, async || {
        moves.execute("UPDATE moves.t SET a = a + 1").await.is_ok()
            && dts.output().contains("the topic has grown")
    })
    .await?;
    ensure!(dts.output().contains("dts topics adopt"), "{}", dts.output());
    stop(dts).await?;
    let dts = moves.source.site.start_dts()?;
    moves.insert("t", 100).await?;
    moves.all_handled().await?;
    let recording = moves.source.site.recording();
    recording.check_order()?;
    ensure!(recording.done().all(|event| event.bus.partition < 3), "a key has moved");
    ensure!(dts.output().matches("the topic has grown").count() == 2, "{}", dts.output());

    moves.write_by_hand(6, "by-hand#0")?;
    moves.handled_by_hand("by-hand#0").await?;
    drop((dts, worker));
    moves.source.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_again_stops_dts_and_the_listener() -> Result<()> {
    let (moves, mut dts, worker) = Moves::start("moves-again").await?;
    moves.tool(TOPICS, &["--delete", "--topic", TOPIC]).await?;
    moves.tool(TOPICS, &["--create", "--topic", TOPIC, "--partitions", "3"]).await?;
    moves.insert("t", 20).await?;
    let ended = dts.ended().await?;
    ensure!(ended.code() == Some(REFUSED), "{ended}: {}", dts.output());
    for part in [TOPIC, "was deleted", "dts topics adopt"] {
        ensure!(dts.output().contains(part), "{part} is not in {}", dts.output());
    }
    let said = [TOPIC, GROUP, "deleted and made again", "event-worker listener reset"];
    moves.listener("stopped", &said).await?;
    moves.reset("earliest").await?;
    moves.listener("running", &[]).await?;
    moves.write_by_hand(1, "by-hand#0")?;
    moves.handled_by_hand("by-hand#0").await?;
    drop(worker);
    moves.source.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_the_brokers_forgot_stop_the_listener_until_it_is_reset() -> Result<()> {
    let (moves, dts, worker) = Moves::start("moves-expired").await?;
    stop(worker).await?;
    moves.insert("t", 20).await?;
    moves.source.site.wait_for_exactly(40).await?;
    moves.forget_group().await?;
    let worker = moves.source.site.start_worker()?;
    let said = [TOPIC, GROUP, "forgotten how far", "event-worker listener reset"];
    moves.listener("stopped", &said).await?;
    moves.reset("earliest").await?;
    moves.all_handled().await?;
    drop((dts, worker));
    moves.source.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_retention_took_stop_the_listener_until_it_is_reset() -> Result<()> {
    let (moves, dts, worker) = Moves::start("moves-retention").await?;
    stop(worker).await?;
    moves.insert("t", 100).await?;
    moves.source.site.wait_for_exactly(120).await?;
    moves.delete_records().await?;
    let worker = moves.source.site.start_worker()?;
    let said = [TOPIC, GROUP, "deleted by retention", "event-worker listener reset", "retention"];
    moves.listener("stopped", &said).await?;
    moves.reset("earliest").await?;
    moves.listener("running", &[]).await?;
    moves.write_by_hand(1, "by-hand#0")?;
    moves.handled_by_hand("by-hand#0").await?;
    drop((dts, worker));
    moves.source.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_records_that_retention_took_names_the_first_that_is_there() -> Result<()> {
    let (moves, dts, worker) = Moves::start("moves-replay").await?;
    let site = &moves.source.site;
    all_committed(site).await?;
    // The listener sees the replay and its pause at the same time.
    let listener = listener_pid(&worker).await?;
    send(listener, "STOP").await?;
    let replay = Replay::start(site, &["--from", "earliest"]).await?;
    replay.wish(site, "pause").await?;
    send(listener, "CONT").await?;
    wait_until("the listener has seen both", PATIENCE, async || {
        worker.output().contains("the replay is paused")
    })
    .await?;
    moves.delete_records().await?;
    replay.wish(site, "resume").await?;
    let failed = replay.wait_for(site, "failed").await?;
    let why = failed.0["error"].as_str().unwrap_or_default();
    let is_told = why.contains("retention deleted events") && why.contains("there now is");
    ensure!(is_told, "{}", failed.0);
    let (code, output) = site.run_worker(&["replay", "-t", "all", "--from", "0"]).await?;
    let is_told = output.contains("was deleted by retention: the first one in partition");
    ensure!(code == Some(REFUSED) && is_told, "{code:?}\n{output}");
    let (code, output) = site.run_worker(&["replay", "-t", "all", "--from", "earliest"]).await?;
    let is_told = output.contains("no event between from and to");
    ensure!(code == Some(REFUSED) && is_told, "{code:?}\n{output}");
    drop((dts, worker));
    moves.source.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_is_not_left_for_another_bus_while_it_has_what_no_listener_handled() -> Result<()> {
    let (moves, mut dts, mut worker) = Moves::start("offsets-left").await?;
    worker.signal("TERM").await?;
    worker.ended().await?;
    moves.insert("t", 5).await?;
    let site = &moves.source.site;
    site.wait_for_published(25).await?;
    dts.signal("TERM").await?;
    ensure!(dts.ended().await?.success(), "{}", dts.output());
    std::fs::copy(site.path("dts.toml"), site.path("old.toml"))?;
    site.amend("dts.toml", "topicPrefix = \"e2e\"", "topicPrefix = \"other\"")?;
    let take_over = ["position", "take-over", "--from", "old.toml"];
    let (code, output) = site.run_dts(&take_over).await?;
    let is_told = output.contains("all (") && output.contains("--leave-unread");
    ensure!(code == Some(REFUSED) && is_told, "{code:?}\n{output}");
    run_listener_to_the_end(site).await?;
    moves.all_handled().await?;
    let (code, output) = site.run_dts(&take_over).await?;
    ensure!(code == Some(0), "{code:?}\n{output}");
    moves.source.remove()
}
