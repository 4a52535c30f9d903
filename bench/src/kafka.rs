//! Into Kafka: `dts`, and beside it a bare producer that sends the same records.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use change_event::ChangeEvent;
use e2e::{
    processes::{PATIENCE, Process, wait_until},
    programs::Site,
    servers::Mysql,
    topics::read_records,
};
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
};

use crate::{
    broker::Broker,
    load::{self, Loaded, SCHEMA},
    measure::{Cost, until, until_ended},
    report::{Latency, Step},
    steps::write_steadily,
};

/// The topics of the table: what `dts` writes, and what the bare producer does.
const TOPIC: &str = "e2e.bench.t";
const BARE_TOPIC: &str = "bare";

/// How many partitions a topic has, one after the other.
const PARTITIONS: [u32; 2] = [1, 6];

/// All steps of catching up into Kafka.
pub(crate) async fn catch_up(server: &Loaded, runs: usize) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for partitions in PARTITIONS {
        let [mut bare, mut once, mut at_least_once] = [const { Vec::new() }; 3];
        for run in 1..=runs {
            let (exact, same) = exactly_once(server, partitions).await?;
            once.push(exact);
            bare.push(same);
            at_least_once.push(at_least(server, partitions).await?);
            eprintln!(
                "{}, into Kafka, {partitions} partitions, run {run}: bare {:.2} s, \
                 exactly once {:.2} s, at least once {:.2} s",
                server.load.name(),
                same.seconds,
                exact.seconds,
                at_least_once.last().map_or(0.0, |cost: &Cost| cost.seconds)
            );
        }
        let words = if partitions == 1 { "1 partition" } else { "6 partitions" };
        let named = |name: &str| format!("{name}, {words}");
        steps.push(Step::new(server, &named("bare rdkafka producer, the same records"), bare));
        steps.push(Step::new(server, &named("dts, to Kafka, exactly once"), once));
        steps.push(Step::new(server, &named("dts, to Kafka, at least once"), at_least_once));
    }
    Ok(steps)
}

/// What `dts` takes, and then a bare producer for the same records on the same broker.
async fn exactly_once(server: &Loaded, partitions: u32) -> Result<(Cost, Cost)> {
    let mut site = Site::new("bench-run")?;
    let broker = Broker::start(&site, partitions).await?;
    let exact = publish(&mut site, server, (&broker, partitions, "exactly-once")).await?;
    let me = std::env::current_exe()?.display().to_string();
    let bare = site.run("bare", &[&me, "bare-producer", &broker.address()])?;
    until_ended(bare).await?;
    let told = std::fs::read_to_string(site.path("bare.log"))?;
    let told = told.lines().last().context("the bare producer said nothing")?;
    let bare = serde_json::from_str(told).with_context(|| told.to_owned())?;
    drop(broker);
    site.remove()?;
    Ok((exact, bare))
}

async fn at_least(server: &Loaded, partitions: u32) -> Result<Cost> {
    let mut site = Site::new("bench-run")?;
    let broker = Broker::start(&site, partitions).await?;
    let cost = publish(&mut site, server, (&broker, partitions, "at-least-once")).await?;
    drop(broker);
    site.remove()?;
    Ok(cost)
}

/// From the moment that `dts` streams until all is published; CPU and memory are of its whole life.
async fn publish(
    site: &mut Site,
    server: &Loaded,
    (broker, partitions, delivery): (&Broker, u32, &str),
) -> Result<Cost> {
    let dts = stream(site, &server.mysql, (broker, partitions, delivery)).await?;
    let rows = server.load.rows();
    until(Instant::now(), &[&dts], async || {
        let status = site.ask_dts("/api/v1/status").await.unwrap_or_default();
        let published = status.pointer("/accounting/published");
        Ok(published.and_then(serde_json::Value::as_u64) == Some(rows))
    })
    .await
}

async fn stream(
    site: &mut Site,
    mysql: &Mysql,
    (broker, partitions, delivery): (&Broker, u32, &str),
) -> Result<Process> {
    let more = format!("partitions = {partitions}\ndelivery = \"{delivery}\"\n");
    site.use_kafka(&broker.address(), &more);
    site.configure_dts(&mysql.address(), SCHEMA)?;
    let dts = site.start_dts()?;
    wait_until("dts streams", PATIENCE, async || {
        let status = site.ask_dts("/api/v1/status").await.unwrap_or_default();
        status["state"] == "streaming"
    })
    .await?;
    Ok(dts)
}

/// What the bare producer measures: sends the records of `dts` again, to the same partitions.
pub(crate) fn bare_producer(address: &str) -> Result<Cost> {
    let mut records: Vec<(i32, Vec<u8>, Vec<u8>)> = Vec::new();
    read_records(address, TOPIC, |record| {
        let partition = i32::try_from(record.place().0)?;
        records.push((partition, record.key().to_vec(), record.value().to_vec()));
        Ok(())
    })?;
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("queue.buffering.max.kbytes", "16384")
        .create()?;
    let me = std::process::id();
    let (began, ticks) = (Instant::now(), e2e::processes::cpu_ticks(me)?);
    for (partition, key, value) in &records {
        let mut record =
            BaseRecord::to(BARE_TOPIC).partition(*partition).key(key.as_slice()).payload(value);
        while let Err((error, back)) = producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            anyhow::ensure!(error == full, "{error}");
            producer.poll(Duration::from_millis(1));
            record = back;
        }
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(Cost {
        seconds: began.elapsed().as_secs_f64(),
        cpu_seconds: (e2e::processes::cpu_ticks(me)? - ticks) as f64 / 100.0,
        peak_rss_kib: 0,
    })
}

/// From commit to a reader at `read_committed`, at 1,000 one-row transactions a second.
pub(crate) async fn latency(seconds: u64) -> Result<Latency> {
    let mut site = Site::new("bench-latency")?;
    let mysql = site.start_mysql().await?;
    load::create_table(&mut mysql.connect().await?).await?;
    let broker = Broker::start(&site, 1).await?;
    let dts = stream(&mut site, &mysql, (&broker, 1, "exactly-once")).await?;
    let expected = seconds * 1000;
    let address = broker.address();
    let reader = tokio::task::spawn_blocking(move || lags(&address, expected));
    let began = Instant::now();
    let transactions = write_steadily(&mysql, Duration::from_secs(seconds)).await?;
    let rate = transactions as f64 / began.elapsed().as_secs_f64();
    let mut lags = reader.await??;
    lags.sort_unstable();
    drop((dts, broker, mysql));
    site.remove()?;
    Ok(Latency::new("a reader of Kafka at read_committed", rate, &lags))
}

/// The lag of each event when it comes, in milliseconds, but for those of the first seconds.
fn lags(address: &str, expected: u64) -> Result<Vec<u64>> {
    const WARM_UP_MS: u64 = 3_000;
    let mut seen = Vec::new();
    e2e::topics::follow(address, TOPIC, |record| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let committed = ChangeEvent::read(record.value())?.ts;
        seen.push((committed, u64::try_from(now.as_millis())?.saturating_sub(committed)));
        Ok(seen.len() as u64 >= expected)
    })?;
    let first = seen.iter().map(|(committed, _)| *committed).min().unwrap_or_default();
    let warm = seen.into_iter().filter(|(committed, _)| *committed > first + WARM_UP_MS);
    Ok(warm.map(|(_, lag)| lag).collect())
}
