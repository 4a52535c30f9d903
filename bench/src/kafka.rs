//! Into Kafka: `dts`, and for comparison a bare producer that sends the same records.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use change_event::ChangeEvent;
use e2e::{processes::Process, programs::Site, servers::Mysql, topics::read_records};
use rdkafka::{
    ClientConfig, ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
};

use crate::{
    broker::Broker,
    dts,
    load::{self, Loaded, SCHEMA},
    measure::{Cost, until, until_ended},
    report::{Latency, Step},
    steps::{handler_latency, write_steadily},
};

/// The topic that the bare producer writes.
const BARE_TOPIC: &str = "bare";

/// The numbers of partitions to measure.
const PARTITIONS: [u32; 2] = [1, 6];

/// All steps of catching up into Kafka.
pub(crate) async fn catch_up(server: &Loaded, runs: usize) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for partitions in PARTITIONS {
        let mut trial = Trial::start(server, partitions).await?;
        let [mut bare, mut once, mut at_least_once] = [const { Vec::new() }; 3];
        for run in 1..=runs {
            bare.push(trial.bare().await?);
            once.push(trial.publish("exactly-once").await?);
            at_least_once.push(trial.publish("at-least-once").await?);
            let (load, costs) = (server.load.name(), [&bare, &once, &at_least_once]);
            let seconds = costs.map(|costs: &Vec<Cost>| costs[run - 1].seconds);
            eprintln!("{load}, into Kafka, {partitions} partitions, run {run}: {seconds:.2?} s");
        }
        trial.end()?;
        let words = if partitions == 1 { "1 partition" } else { "6 partitions" };
        let named = |name: &str| format!("{name}, {words}");
        steps.push(Step::new(server, &named("bare rdkafka producer, the same records"), bare));
        steps.push(Step::new(server, &named("dts, to Kafka, exactly once"), once));
        steps.push(Step::new(server, &named("dts, to Kafka, at least once"), at_least_once));
    }
    Ok(steps)
}

/// A broker for all measurements with one number of partitions.
struct Trial<'a> {
    site: Site,
    broker: Broker,
    server: &'a Loaded,
    partitions: u32,
    /// How often `dts` has published. Each time has a topic prefix of its own.
    published: u32,
}

impl<'a> Trial<'a> {
    /// Publishes once before the measurements. That warms the broker, and makes the records that
    /// the bare producer sends.
    async fn start(server: &'a Loaded, partitions: u32) -> Result<Self> {
        let site = Site::new("bench-run")?;
        let broker = Broker::start(&site, partitions).await?;
        let mut trial = Self { site, broker, server, partitions, published: 0 };
        trial.publish("exactly-once").await?;
        Ok(trial)
    }

    async fn bare(&mut self) -> Result<Cost> {
        let me = std::env::current_exe()?.display().to_string();
        let command = [&me, "bare-producer", &self.broker.address(), &topic(1)];
        until_ended(self.site.run("bare", &command)?).await?;
        let told = std::fs::read_to_string(self.site.path("bare.log"))?;
        let told = told.lines().last().context("the bare producer said nothing")?;
        serde_json::from_str(told).with_context(|| told.to_owned())
    }

    /// From the moment that `dts` streams until all is published; CPU and memory are of its whole
    /// life.
    async fn publish(&mut self, delivery: &str) -> Result<Cost> {
        let Self { site, broker, server, partitions, published } = self;
        *published += 1;
        let bus = BusSettings { prefix: &prefix(*published), delivery, partitions: *partitions };
        let dts = stream(site, &server.mysql, (broker, bus)).await?;
        let (site, rows) = (&*site, server.load.rows());
        until(Instant::now(), &[&dts], async || {
            let status = site.ask_dts("/api/v1/status").await.unwrap_or_default();
            let published = status.pointer("/accounting/published");
            Ok(published.and_then(serde_json::Value::as_u64) == Some(rows))
        })
        .await
    }

    fn end(self) -> Result<()> {
        drop(self.broker);
        self.site.remove()
    }
}

/// The settings of `[bus]`.
struct BusSettings<'a> {
    prefix: &'a str,
    delivery: &'a str,
    partitions: u32,
}

fn prefix(published: u32) -> String {
    format!("run{published}")
}

/// The topic of the table when `dts` published it for the nth time.
fn topic(published: u32) -> String {
    format!("{}.{SCHEMA}.t", prefix(published))
}

/// Starts `dts`, and waits until it streams.
async fn stream(
    site: &mut Site,
    mysql: &Mysql,
    (broker, bus): (&Broker, BusSettings<'_>),
) -> Result<Process> {
    let BusSettings { prefix, delivery, partitions } = bus;
    let more = format!("partitions = {partitions}\ndelivery = \"{delivery}\"\n");
    site.use_kafka_under(prefix, &broker.address(), &more);
    site.configure_dts(&mysql.address(), SCHEMA)?;
    dts::start(site).await
}

/// How many records of the bare producer the broker did not take.
#[derive(Clone, Default)]
struct RefusedRecords(Arc<AtomicU64>);

impl ClientContext for RefusedRecords {}

impl ProducerContext for RefusedRecords {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
    }
}

/// What the bare producer measures: sends the records of a topic again, to the same partitions.
pub(crate) fn bare_producer(address: &str, from: &str) -> Result<Cost> {
    let mut records: Vec<(i32, Vec<u8>, Vec<u8>)> = Vec::new();
    read_records(address, from, |record| {
        let partition = i32::try_from(record.place().0)?;
        records.push((partition, record.key().to_vec(), record.value().to_vec()));
        Ok(())
    })?;
    let refused = RefusedRecords::default();
    let producer: ThreadedProducer<RefusedRecords> = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("queue.buffering.max.kbytes", "16384")
        .create_with_context(refused.clone())?;
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
    let refused = refused.0.load(Ordering::Relaxed);
    anyhow::ensure!(refused == 0, "the broker did not take {refused} records");
    let seconds = began.elapsed().as_secs_f64();
    Ok(Cost {
        seconds,
        cpu_seconds: (e2e::processes::cpu_ticks(me)? - ticks) as f64 / 100.0,
        peak_rss_kib: 0,
    })
}

/// Latency from commit to a handler and to a reader, at 1,000 one-row transactions a second. The
/// broker is warm before that.
pub(crate) async fn latencies(seconds: u64) -> Result<[Latency; 2]> {
    let site = Site::new("bench-broker")?;
    let broker = Broker::start(&site, 1).await?;
    let (mut other, mysql) = fresh().await?;
    other.use_kafka_under(&prefix(2), &broker.address(), "partitions = 1\n");
    let (rate, lags) = handler_latency(&other, &mysql, seconds).await?;
    let handler = Latency::new("a handler, over Kafka", rate, &lags);
    drop(mysql);
    other.remove()?;
    let (rate, lags) = reader_latency(&broker, seconds).await?;
    let reader = Latency::new("a reader of Kafka at read_committed", rate, &lags);
    drop(broker);
    site.remove()?;
    Ok([handler, reader])
}

async fn fresh() -> Result<(Site, Mysql)> {
    let site = Site::new("bench-latency")?;
    let mysql = site.start_mysql().await?;
    load::create_table(&mut mysql.connect().await?).await?;
    Ok((site, mysql))
}

async fn reader_latency(broker: &Broker, seconds: u64) -> Result<(f64, Vec<u64>)> {
    let (mut site, mysql) = fresh().await?;
    let bus = BusSettings { prefix: &prefix(1), delivery: "exactly-once", partitions: 1 };
    let dts = stream(&mut site, &mysql, (broker, bus)).await?;
    let expected = seconds * 1000;
    let address = broker.address();
    let reader = tokio::task::spawn_blocking(move || lags(&address, expected));
    let began = Instant::now();
    let transactions = write_steadily(&mysql, (0, Duration::from_secs(seconds))).await?;
    let rate = transactions as f64 / began.elapsed().as_secs_f64();
    let mut lags = reader.await??;
    lags.sort_unstable();
    drop((dts, mysql));
    site.remove()?;
    Ok((rate, lags))
}

/// The lag of each event on arrival, in milliseconds, without the events of the first seconds.
fn lags(address: &str, expected: u64) -> Result<Vec<u64>> {
    const WARM_UP_MS: u64 = 3_000;
    let mut seen = Vec::new();
    e2e::topics::follow(address, &topic(1), |record| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let committed = ChangeEvent::read(record.value())?.ts;
        seen.push((committed, u64::try_from(now.as_millis())?.saturating_sub(committed)));
        Ok(seen.len() as u64 >= expected)
    })?;
    let first = seen.iter().map(|(committed, _)| *committed).min().unwrap_or_default();
    let warm = seen.into_iter().filter(|(committed, _)| *committed > first + WARM_UP_MS);
    Ok(warm.map(|(_, lag)| lag).collect())
}
