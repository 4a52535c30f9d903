//! The topic that keeps a producer's checkpoint: compacted, one partition, a record for each key.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
};

use super::{
    ADMIN_TIMEOUT, Place,
    client::{self, Voice},
    topics,
};
use crate::{Checkpoint, Error, Result};

/// How long the brokers may take to send the next record of it.
const PATIENCE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(100);

/// Keys of this backend's own begin with this; the producer's own never do.
const OWN_KEYS: &str = "bus/";

/// What the topic holds.
#[derive(Debug, Default)]
pub(super) struct Saved {
    /// What the producer has saved.
    pub(super) checkpoint: Checkpoint,
    /// What this backend has saved, by keys of its own.
    pub(super) own: Checkpoint,
}

/// The key under which this backend keeps something of its own.
pub(super) fn own_key(key: &str) -> String {
    format!("{OWN_KEYS}{key}")
}

impl Saved {
    fn take(&mut self, message: &impl Message) {
        let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
        let (map, key) = match key.strip_prefix(OWN_KEYS) {
            Some(own) => (&mut self.own, own.to_owned()),
            None => (&mut self.checkpoint, key),
        };
        match message.payload() {
            Some(value) => map.insert(key, Bytes::copy_from_slice(value)),
            None => map.remove(&key),
        };
    }
}

/// Reads all of a checkpoint's topic that is committed, up to its end as it is now; blocks.
///
/// After `init_transactions` no transaction of the one writer is open any more, so that this is all
/// that will ever have been written before.
pub(super) fn read(place: &Place, name: &str) -> Result<Saved> {
    let voice = Voice::default();
    let topic = place.checkpoint_topic(name);
    let doing = format!("cannot read the topic {topic}");
    let failed = |error| place.error(&doing, &error, &voice);
    let mut config = place.client(name);
    config
        .set("group.id", place.producer_id(name))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        // The end is told with an empty answer, which the brokers hold back so long.
        .set("fetch.wait.max.ms", "10")
        .set("allow.auto.create.topics", "false");
    let consumer: BaseConsumer<Voice> =
        BaseConsumer::from_config_and_context(&config, voice.clone()).map_err(failed)?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&topic, 0, Offset::Beginning).map_err(failed)?;
    consumer.assign(&from).map_err(failed)?;

    let mut saved = Saved::default();
    let mut heard = Instant::now();
    loop {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                saved.take(&message);
                heard = Instant::now();
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(saved),
            Some(Err(error)) => {
                if let Some(refusal) = client::refusal(&doing, &error, &place.config.address) {
                    return Err(refusal);
                }
            }
            None => {}
        }
        if let Some(refusal) = voice.refusal(&place.config.address) {
            return Err(refusal);
        }
        if heard.elapsed() > PATIENCE {
            let late = KafkaError::MessageConsumption(Code::OperationTimedOut);
            return Err(failed(late));
        }
    }
}

/// Makes the topic where it is missing, and looks whether it is fit to keep a checkpoint.
pub(super) async fn make_topic(place: &Place, name: &str) -> Result<()> {
    let admin = topics::admin(place)?;
    let topic = place.checkpoint_topic(name);
    let found = topics::look(place, &admin, &[&topic]).await?.pop();
    let Some(found) = found else {
        let max_bytes = place.max_record_bytes().to_string();
        let settings = [
            ("cleanup.policy", "compact"),
            // So that a take-over has little to read.
            ("segment.bytes", "16777216"),
            ("min.cleanable.dirty.ratio", "0.1"),
            ("max.message.bytes", &*max_bytes),
        ];
        return topics::create(place, &admin, (&topic, 1, &settings)).await;
    };
    if found.partitions != 1 {
        return Err(unfit(&topic, place, &format!("has {} partitions", found.partitions)));
    }
    let policy = topics::setting(place, &admin, (&topic, "cleanup.policy")).await?;
    match policy.as_deref() {
        None | Some("compact") => Ok(()),
        Some(policy) => Err(unfit(&topic, place, &format!("has cleanup.policy={policy}"))),
    }
}

/// What a checkpoint holds now, whoever writes it.
pub(super) async fn look(place: &Place, name: &str) -> Result<Checkpoint> {
    let admin = topics::admin(place)?;
    let topic = place.checkpoint_topic(name);
    if topics::look(place, &admin, &[&topic]).await?.is_empty() {
        return Ok(Checkpoint::default());
    }
    let (place, name) = (place.clone(), name.to_owned());
    let saved = tokio::task::spawn_blocking(move || read(&place, &name)).await;
    Ok(saved.map_err(|panic| Error::Internal(panic.to_string()))??.checkpoint)
}

/// The names of all producers of this prefix.
pub(super) async fn names(place: &Place) -> Result<Vec<String>> {
    let start = place.checkpoint_topic("");
    let (place, admin) = (place.clone(), topics::admin(place)?);
    let listed = tokio::task::spawn_blocking(move || {
        let listed = admin.inner().fetch_metadata(None, ADMIN_TIMEOUT);
        let listed = listed.map_err(|error| {
            place.error("cannot list the topics", &error, admin.inner().context())
        })?;
        let names = listed.topics().iter().filter_map(|topic| topic.name().strip_prefix(&start));
        Ok(names.map(str::to_owned).collect())
    });
    listed.await.map_err(|panic| Error::Internal(panic.to_string()))?
}

fn unfit(topic: &str, place: &Place, problem: &str) -> Error {
    Error::Refused {
        address: place.config.address.clone(),
        reason: format!(
            "the topic {topic} keeps the checkpoint and {problem}: positions would be lost; give \
             it one partition and cleanup.policy=compact, or delete it if it was never used"
        ),
    }
}
