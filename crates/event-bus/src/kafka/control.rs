//! The compacted topic `{prefix}.control`: what is known of groups besides their offsets, and the
//! control table that programs share (`table`).
//!
//! Offsets alone do not say whether a group is new, or the brokers have forgotten its offsets
//! (`offsets.retention.minutes`, seven days without members). Nor do they say whether a topic is
//! new to the group, or was deleted and made again. So there are two kinds of records for that,
//! besides those of the table:
//!
//! | key | value |
//! |---|---|
//! | `group/{group}` | `{"patterns":[…]}`: the group has begun; all topics that its members ever asked for |
//! | `group/{group}/topic/{topic}` | [`Begun`]: with which topic, when and where it began there |
//! | `table/{key}` | an entry of the control table |

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientContext,
    admin::AdminClient,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
};
use serde::{Deserialize, Serialize};

use super::{Cluster, client::Voice, compacted, make_topics};
use crate::{CheckpointChange, ControlChange, Error, Result, TopicFilter};

/// How long the brokers may take to take what is written.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the keys of the control table's entries begin with.
pub(super) const TABLE_KEYS: &str = "table/";

/// What is known of a group.
#[derive(Debug, Default)]
pub(super) struct GroupRecords {
    /// All that its members ever subscribed to; absent for one that has not begun.
    pub(super) filter: Option<TopicFilter>,
    pub(super) topics: BTreeMap<String, Begun>,
}

/// How a group began with a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// The topic's id.
    pub(super) id: String,
    /// When, in ms since 1970: what was committed before that counts no more.
    pub(super) since: u64,
    /// Where, by partition; 0 for those that came later.
    pub(super) from: Vec<u64>,
    /// Whether offsets were committed since.
    pub(super) committed: bool,
}

#[derive(Serialize, Deserialize)]
struct GroupRecord {
    patterns: Vec<String>,
}

/// Changes of the topic.
#[derive(Debug, Default)]
pub(super) struct Changes(Vec<(String, Option<Vec<u8>>)>);

impl Changes {
    pub(super) fn group(&mut self, group: &str, filter: &TopicFilter) {
        let value = GroupRecord { patterns: filter.patterns().to_vec() };
        self.put(group_key(group), &value);
    }

    pub(super) fn topic(&mut self, group: &str, topic: &str, begun: &Begun) {
        self.put(topic_key(group, topic), begun);
    }

    pub(super) fn forget(&mut self, group: &str, topic: &str) {
        self.0.push((topic_key(group, topic), None));
    }

    pub(super) fn forget_group(&mut self, group: &str) {
        self.0.push((group_key(group), None));
    }

    pub(super) fn entry(&mut self, (key, value): &ControlChange) {
        let value = value.as_ref().map(|value| value.to_vec());
        self.0.push((format!("{TABLE_KEYS}{key}"), value));
    }

    /// A change of a topic that is not the control topic.
    pub(super) fn record(&mut self, (key, value): CheckpointChange) {
        self.0.push((key, value.map(|value| value.to_vec())));
    }

    fn put(&mut self, key: String, value: &impl Serialize) {
        // Texts, numbers and lists always serialise.
        self.0.push((key, Some(serde_json::to_vec(value).unwrap_or_default())));
    }
}

fn group_key(group: &str) -> String {
    format!("group/{group}")
}

fn topic_key(group: &str, topic: &str) -> String {
    format!("group/{group}/topic/{topic}")
}

pub(super) fn topic_name(cluster: &Cluster) -> String {
    format!("{}.control", cluster.prefix)
}

/// Makes the topic where it is missing.
pub(super) async fn make_topic(cluster: &Cluster) -> Result<()> {
    make_topic_with(cluster, &make_topics::client(cluster)?).await
}

/// The same with a client that is there already.
pub(super) async fn make_topic_with(
    cluster: &Cluster,
    admin: &Arc<AdminClient<Voice>>,
) -> Result<()> {
    let topic = topic_name(cluster);
    if make_topics::look(cluster, admin, &[&topic]).await?.is_empty() {
        let settings = [("cleanup.policy", "compact")];
        make_topics::create(cluster, admin, (&topic, 1, &settings)).await?;
    }
    Ok(())
}

/// Reads what is known of a group, up to the topic's end as it is now; blocks.
pub(super) fn read(cluster: &Cluster, group: &str) -> Result<GroupRecords> {
    let mut known = GroupRecords::default();
    let topic_keys = topic_key(group, "");
    let topic = topic_name(cluster);
    compacted::read(cluster, (&topic, group), |key, value| {
        let unfit = |error| Error::Internal(format!("{topic}, record {key}: {error}"));
        if key == group_key(group) {
            let group: Option<GroupRecord> =
                value.map(serde_json::from_slice).transpose().map_err(unfit)?;
            known.filter = group.map(|group| TopicFilter::of(group.patterns));
        } else if let Some(name) = key.strip_prefix(&topic_keys) {
            match value.map(serde_json::from_slice).transpose().map_err(unfit)? {
                Some(begun) => known.topics.insert(name.to_owned(), begun),
                None => known.topics.remove(name),
            };
        }
        Ok(())
    })?;
    Ok(known)
}

/// Writes changes, in order, and waits until all are durable; blocks.
pub(super) fn write(cluster: &Cluster, changes: &Changes) -> Result<()> {
    if changes.0.is_empty() {
        return Ok(());
    }
    Writer::open(cluster)?.write(cluster, changes)
}

/// Writes to the topic; after an error it is not to be used any more.
pub(super) struct Writer {
    producer: BaseProducer<Reports>,
    reports: Reports,
}

impl Writer {
    pub(super) fn open(cluster: &Cluster) -> Result<Self> {
        let reports = Reports::default();
        let mut config = cluster.client("dbevent-control");
        config.set("enable.idempotence", "true").set("acks", "all");
        let producer = BaseProducer::from_config_and_context(&config, reports.clone());
        let producer =
            producer.map_err(|error| cluster.error("cannot write", &error, &reports.voice))?;
        Ok(Self { producer, reports })
    }

    /// Writes changes, in order, and waits until all are durable; blocks.
    pub(super) fn write(&self, cluster: &Cluster, changes: &Changes) -> Result<()> {
        self.write_to(cluster, &topic_name(cluster), changes)
    }

    /// The same for another topic that keeps values by key.
    pub(super) fn write_to(&self, cluster: &Cluster, topic: &str, changes: &Changes) -> Result<()> {
        let Self { producer, reports } = self;
        let doing = format!("cannot write the topic {topic}");
        let failed = |error| cluster.error(&doing, &error, &reports.voice);
        for (key, value) in &changes.0 {
            let mut record = BaseRecord::<str, [u8]>::to(topic).partition(0).key(key.as_str());
            record.payload = value.as_deref();
            producer.send(record).map_err(|(error, _)| failed(error))?;
        }
        producer.flush(PATIENCE).map_err(failed)?;
        reports.undelivered().map_or(Ok(()), |error| Err(failed(error)))
    }
}

/// Hears of records that did not arrive.
#[derive(Clone, Default)]
pub(super) struct Reports {
    pub(super) voice: Voice,
    undelivered: Arc<Mutex<Option<KafkaError>>>,
}

impl Reports {
    /// Takes why a record did not arrive, if one did not.
    pub(super) fn undelivered(&self) -> Option<KafkaError> {
        self.undelivered.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.voice.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let mut undelivered = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
            *undelivered = Some(error.clone());
        }
    }
}
