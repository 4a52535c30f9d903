//! Kafka: one broker, a topic of one partition for each stream, librdkafka's clients.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use async_trait::async_trait;
use e2e::{programs::Site, servers::Kafka};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, FutureProducer, FutureRecord, Producer as _, ThreadedProducer},
    util::Timeout,
};
use tokio::task::{JoinSet, spawn_blocking};

use super::{Durability, Figures, LogSystem, WRITERS};

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

pub(super) struct KafkaLog {
    broker: Kafka,
}

impl KafkaLog {
    pub(super) async fn start(site: &Site, durability: Durability) -> Result<Self> {
        let mut settings = vec!["num.partitions=1", "log.retention.bytes=-1"];
        if durability == Durability::Synced {
            settings.push("log.flush.interval.messages=1");
        }
        let folder = site.path(&format!("kafka-{durability:?}"));
        Ok(Self { broker: Kafka::start_with(&folder, &settings).await? })
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.broker.address());
        config
    }

    /// Of an idempotent producer, as those of the event log are.
    fn producer_config(&self, linger_ms: &str) -> ClientConfig {
        let mut config = self.config();
        config.set("message.timeout.ms", PATIENCE.as_millis().to_string());
        config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", linger_ms);
        config
    }

    /// Makes the topic, and has its producers connected.
    async fn connected(&self, topic: &str, count: usize) -> Result<Vec<FutureProducer>> {
        let mut producers = Vec::new();
        for _ in 0..count {
            let producer = self.producer_config("0").create()?;
            send(&producer, topic, b"first").await?;
            producers.push(producer);
        }
        Ok(producers)
    }

    /// Sends while `more` says so, over several connections; gives the number of records.
    async fn publish(
        &self,
        topic: &str,
        bytes: usize,
        more: impl Fn(u64) -> bool + Clone + Send + 'static,
    ) -> Result<u64> {
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS {
            let producer: ThreadedProducer<_> = self.producer_config("5").create()?;
            let (topic, more) = (topic.to_owned(), more.clone());
            writers.spawn_blocking(move || write(&producer, &topic, (bytes, more)));
        }
        let mut sent = 0;
        while let Some(written) = writers.join_next().await {
            sent += written??;
        }
        Ok(sent)
    }

    /// Begins to read at an offset.
    fn follow(&self, topic: &str, from: i64) -> Result<BaseConsumer> {
        let mut config = self.config();
        config.set("group.id", "bench").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create()?;
        let mut at = TopicPartitionList::new();
        at.add_partition_offset(topic, 0, Offset::Offset(from))?;
        consumer.assign(&at)?;
        Ok(consumer)
    }

    fn end(&self, topic: &str) -> Result<i64> {
        let consumer = self.follow(topic, 0)?;
        Ok(consumer.fetch_watermarks(topic, 0, PATIENCE)?.1)
    }
}

async fn send(producer: &FutureProducer, topic: &str, payload: &[u8]) -> Result<()> {
    let record = FutureRecord::<(), _>::to(topic).payload(payload);
    let sent = producer.send(record, Timeout::After(PATIENCE)).await;
    sent.map(drop).map_err(|(error, _)| error.into())
}

fn write(
    producer: &ThreadedProducer<rdkafka::producer::DefaultProducerContext>,
    topic: &str,
    (bytes, more): (usize, impl Fn(u64) -> bool),
) -> Result<u64> {
    let (payload, mut sent) = (vec![b'x'; bytes], 0);
    while more(sent) {
        let mut record = BaseRecord::<(), _>::to(topic).payload(&payload);
        while let Err((error, back)) = producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            anyhow::ensure!(error == full, "{error}");
            // It is served by a thread of its own; this one waits for room.
            std::thread::park_timeout(Duration::from_millis(1));
            record = back;
        }
        sent += 1;
    }
    producer.flush(PATIENCE)?;
    Ok(sent)
}

/// Reads until it has as many as `until` says.
fn take(consumer: &BaseConsumer, until: &AtomicU64) -> Result<()> {
    let mut taken = 0;
    while taken < until.load(Relaxed) {
        if let Some(record) = consumer.poll(POLL) {
            record?;
            taken += 1;
        }
    }
    Ok(())
}

#[async_trait]
impl LogSystem for KafkaLog {
    fn name(&self) -> &'static str {
        "Kafka"
    }

    async fn append(
        &self,
        stream: &str,
        (producers, bytes): (usize, usize),
        lasts: Duration,
    ) -> Result<Figures> {
        let producers = self.connected(stream, producers).await?;
        let began = Instant::now();
        let mut appending = JoinSet::new();
        for producer in producers {
            let topic = stream.to_owned();
            appending.spawn(async move {
                let (payload, mut took) = (vec![b'x'; bytes], Vec::new());
                while began.elapsed() < lasts {
                    let sent = Instant::now();
                    send(&producer, &topic, &payload).await?;
                    took.push(sent.elapsed());
                }
                anyhow::Ok(took)
            });
        }
        let mut took = Vec::new();
        while let Some(part) = appending.join_next().await {
            took.extend(part??);
        }
        Ok(Figures::of(took, began.elapsed()))
    }

    async fn fan(
        &self,
        stream: &str,
        (readers, bytes): (usize, usize),
        lasts: Duration,
    ) -> Result<Figures> {
        self.connected(stream, 1).await?;
        let end = self.end(stream)?;
        let until = Arc::new(AtomicU64::new(u64::MAX));
        let mut following = JoinSet::new();
        for _ in 0..readers {
            let (consumer, until) = (self.follow(stream, end)?, Arc::clone(&until));
            following.spawn_blocking(move || take(&consumer, &until));
        }
        let began = Instant::now();
        let sent = self.publish(stream, bytes, move |_| began.elapsed() < lasts).await?;
        until.store(sent, Relaxed);
        while let Some(read) = following.join_next().await {
            read??;
        }
        Ok(Figures { records: sent, seconds: began.elapsed().as_secs_f64(), p99_ms: 0.0 })
    }

    async fn fill(&self, stream: &str, bytes: usize, records: u64) -> Result<()> {
        let each = records.div_ceil(WRITERS as u64);
        self.publish(stream, bytes, move |sent| sent < each).await.map(drop)
    }

    async fn read(&self, stream: &str, readers: usize, records: u64) -> Result<Figures> {
        let began = Instant::now();
        let mut reading = JoinSet::new();
        for _ in 0..readers {
            let consumer = self.follow(stream, 0)?;
            reading.spawn(spawn_blocking(move || take(&consumer, &AtomicU64::new(records))));
        }
        while let Some(read) = reading.join_next().await {
            read.context("a reader ended")???;
        }
        Ok(Figures { records, seconds: began.elapsed().as_secs_f64(), p99_ms: 0.0 })
    }
}
