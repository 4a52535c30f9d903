//! The table of a group on Kafka: the compacted topic `{prefix}.{table}`.
//!
//! Changes are in one transaction with the offsets of their partitions. The brokers refuse a
//! transaction of a member that has lost its partitions meanwhile (KIP-447), and they do not tell
//! the offsets of a partition while a transaction with them is open. So who was given a partition
//! waits for the end of all that began in the topic before, and then reads all that there is.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext,
    consumer::ConsumerGroupMetadata,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    producer::{BaseProducer, BaseRecord, Producer as _},
};

use super::{
    Cluster, compacted,
    control::{Changes, Reports, Writer},
    make_topics,
    offsets::{self, Commits, Isolation, Moment, Offsets},
};
use crate::{CheckpointChange, Error, GroupTable, Kept, Partition, Result, kept};

/// How long the brokers may take for one step of a transaction.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long they may take to end the transactions that others have left open: they do so after
/// 10 s.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);
const OPEN_STEP: Duration = Duration::from_millis(20);

/// What the client is made with, unless the user says otherwise.
const DEFAULTS: &[(&str, &str)] = &[
    ("compression.type", "lz4"),
    ("linger.ms", "0"),
    ("retry.backoff.ms", "5"),
    ("retry.backoff.max.ms", "10"),
    ("transaction.timeout.ms", "10000"),
    ("message.timeout.ms", "10000"),
];

/// The table of the group that a consumer is in.
pub(super) struct KafkaTable {
    cluster: Cluster,
    table: GroupTable,
    /// Nobody else uses it at the same time.
    transactional_id: String,
    is_made: AtomicBool,
    producer: Mutex<Option<TableProducer>>,
}

struct TableProducer {
    client: BaseProducer<Reports>,
    reports: Reports,
}

impl KafkaTable {
    /// The table, changed by one consumer with a name of its own.
    pub(super) fn new(cluster: &Cluster, table: GroupTable, consumer: Option<&str>) -> Self {
        let random = || format!("{:016x}", rand::random::<u64>());
        let consumer = consumer.map_or_else(random, str::to_owned);
        let transactional_id = format!("{}.{consumer}", topic_name(cluster, &table.name));
        let (is_made, producer) = (AtomicBool::new(false), Mutex::default());
        Self { cluster: cluster.clone(), table, transactional_id, is_made, producer }
    }

    /// The entries of these partitions; blocks. Nobody but their owner can change them any more.
    /// `committed` sees what is committed, in the name of the group.
    pub(super) fn entries(
        &self,
        committed: &Offsets,
        partitions: &[Partition],
    ) -> Result<Vec<Kept>> {
        let topic = topic_name(&self.cluster, &self.table.name);
        match committed.describe(&[&topic]) {
            Err(Error::Refused { .. }) if self.table.is_optional => return Ok(Vec::new()),
            described if described.as_ref().is_ok_and(Vec::is_empty) => return Ok(Vec::new()),
            described => drop(described?),
        }
        self.wait_for_open(committed, &topic)?;
        let mut kept = read(&self.cluster, (&topic, &committed.group))?;
        kept.retain(|entry| partitions.contains(&entry.partition));
        Ok(kept)
    }

    /// Waits until the transactions have ended that are open in the topic now.
    fn wait_for_open(&self, committed: &Offsets, topic: &str) -> Result<()> {
        let partition = [Partition { topic: topic.into(), number: 0 }];
        let all = Offsets::open_with(&self.cluster, &committed.group, Isolation::All)?;
        let end = all.at(&partition, Moment::Latest)?;
        let deadline = Instant::now() + OPEN_PATIENCE;
        while committed.at(&partition, Moment::Latest)? < end {
            if Instant::now() > deadline {
                let reason = format!("a transaction in the topic {topic} does not end");
                let address = self.cluster.config.address.clone();
                return Err(Error::Unavailable { address, reason });
            }
            thread::park_timeout(OPEN_STEP);
        }
        Ok(())
    }

    /// Makes the topic where it is missing.
    pub(super) async fn make(&self) -> Result<()> {
        if !self.is_made.load(Relaxed) {
            let topic = topic_name(&self.cluster, &self.table.name);
            compacted::make_topic(&self.cluster, (&topic, "the table of a listener")).await?;
            self.is_made.store(true, Relaxed);
        }
        Ok(())
    }

    /// Saves changes, and the offsets of their partitions, in one transaction; blocks.
    pub(super) fn save(
        &self,
        place: &ConsumerGroupMetadata,
        commits: Commits<'_>,
        changes: &[CheckpointChange],
    ) -> std::result::Result<(), SaveError> {
        let mut kept = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let producer = match kept.take() {
            Some(producer) => producer,
            None => TableProducer::open(&self.cluster, &self.transactional_id)?,
        };
        let topic = topic_name(&self.cluster, &self.table.name);
        match producer.transact((&topic, changes), (place, commits)) {
            Ok(()) => {
                *kept = Some(producer);
                Ok(())
            }
            Err(error) => {
                let code = error.rdkafka_error_code();
                let told = producer.explain(&self.cluster, &topic, &error);
                if producer.client.abort_transaction(PATIENCE).is_ok() {
                    *kept = Some(producer);
                }
                Err(SaveError { code, told })
            }
        }
    }
}

/// Why a transaction failed.
pub(super) struct SaveError {
    pub(super) code: Option<Code>,
    pub(super) told: Error,
}

impl From<Error> for SaveError {
    fn from(told: Error) -> Self {
        Self { code: None, told }
    }
}

impl TableProducer {
    fn open(cluster: &Cluster, transactional_id: &str) -> Result<Self> {
        let reports = Reports::default();
        let doing = format!("cannot take the transactional id {transactional_id}");
        let failed = |error| cluster.error(&doing, &error, &reports.voice);
        let config = config(cluster, transactional_id);
        let client: BaseProducer<Reports> =
            BaseProducer::from_config_and_context(&config, reports.clone()).map_err(failed)?;
        client.init_transactions(PATIENCE).map_err(failed)?;
        Ok(Self { client, reports })
    }

    fn transact(
        &self,
        (topic, changes): (&str, &[CheckpointChange]),
        (place, commits): (&ConsumerGroupMetadata, Commits<'_>),
    ) -> KafkaResult<()> {
        self.client.begin_transaction()?;
        for (key, value) in changes {
            let mut record = BaseRecord::<str, [u8]>::to(topic).partition(0).key(key.as_str());
            record.payload = value.as_deref();
            self.client.send(record).map_err(|(error, _)| error)?;
        }
        self.client.flush(PATIENCE)?;
        if let Some(error) = self.reports.undelivered() {
            return Err(error);
        }
        let list = offsets::commit_list(commits)?;
        self.client.send_offsets_to_transaction(&list, place, PATIENCE)?;
        self.client.commit_transaction(PATIENCE)
    }

    /// What an error means: what the brokers said of this producer counts first.
    fn explain(&self, cluster: &Cluster, topic: &str, error: &KafkaError) -> Error {
        let doing = format!("cannot write the topic {topic}");
        match self.client.client().fatal_error() {
            // The next producer goes on: the member itself is what the brokers judge.
            Some((_, reason)) => Error::Unavailable {
                address: cluster.config.address.clone(),
                reason: format!("{doing}: {reason}"),
            },
            None => cluster.error(&doing, error, &self.reports.voice),
        }
    }
}

fn config(cluster: &Cluster, transactional_id: &str) -> ClientConfig {
    let record_bytes = cluster.max_record_bytes().to_string();
    let sizes = [("message.max.bytes", &*record_bytes)];
    let mut config = cluster.client_with("dbevent-table", &[DEFAULTS, &sizes].concat());
    config.set("acks", "all").set("enable.idempotence", "true");
    config.set("transactional.id", transactional_id);
    config
}

fn topic_name(cluster: &Cluster, table: &str) -> String {
    format!("{}.{table}", cluster.prefix)
}

/// All entries that are committed; blocks.
fn read(cluster: &Cluster, (topic, group): (&str, &str)) -> Result<Vec<Kept>> {
    let mut entries = std::collections::BTreeMap::new();
    compacted::read(cluster, (topic, group), |name, value| {
        match value {
            Some(value) => entries.insert(name.to_owned(), Bytes::copy_from_slice(value)),
            None => entries.remove(name),
        };
        Ok(())
    })?;
    Ok(entries.into_iter().filter_map(|(name, value)| kept::entry(&name, value)).collect())
}

/// All entries of a table, for those who look.
pub(super) async fn look(cluster: &Cluster, table: &str) -> Result<Vec<Kept>> {
    let admin = make_topics::client(cluster)?;
    let topic = topic_name(cluster, table);
    if make_topics::look(cluster, &admin, &[&topic]).await?.is_empty() {
        return Ok(Vec::new());
    }
    let cluster = cluster.clone();
    // Whoever may look at the control table may look here, too.
    let group = super::control::topic_name(&cluster);
    let read = tokio::task::spawn_blocking(move || read(&cluster, (&topic, &group))).await;
    read.map_err(|panic| Error::Internal(panic.to_string()))?
}

/// Removes all entries of a table. Nobody may be in its group.
pub(super) async fn clear(cluster: &Cluster, table: &str) -> Result<()> {
    let changes = look(cluster, table).await?.into_iter();
    let changes = changes.map(|Kept { partition, key, .. }| (kept::name(&partition, &key), None));
    let changes: Vec<CheckpointChange> = changes.collect();
    if changes.is_empty() {
        return Ok(());
    }
    let (cluster, topic) = (cluster.clone(), topic_name(cluster, table));
    let written = tokio::task::spawn_blocking(move || {
        let mut changes_of_topic = Changes::default();
        changes.into_iter().for_each(|change| changes_of_topic.record(change));
        Writer::open(&cluster)?.write_to(&cluster, &topic, &changes_of_topic)
    });
    written.await.map_err(|panic| Error::Internal(panic.to_string()))?
}
