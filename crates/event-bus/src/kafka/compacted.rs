//! Topics that keep values by key: they are compacted, have one partition, and are read whole.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
};

use super::{
    Cluster,
    client::{self, Voice},
    make_topics,
};
use crate::{Error, Result};

/// How long the brokers may take to send the next record.
const PATIENCE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(100);

/// Makes the topic where it is missing, and checks that it can keep values: `what` it keeps is for
/// messages.
pub(super) async fn make_topic(cluster: &Cluster, (topic, what): (&str, &str)) -> Result<()> {
    let admin = make_topics::client(cluster)?;
    let unfit = |problem: &str| Error::Refused {
        address: cluster.config.address.clone(),
        reason: format!(
            "the topic {topic} keeps {what} and {problem}: values would be lost; give it one \
             partition and cleanup.policy=compact, or delete it if it was never used"
        ),
    };
    let Some(found) = make_topics::look(cluster, &admin, &[topic]).await?.pop() else {
        let max_bytes = cluster.max_record_bytes().to_string();
        let settings = [
            ("cleanup.policy", "compact"),
            // So that who reads the topic whole has little to read.
            ("segment.bytes", "16777216"),
            ("min.cleanable.dirty.ratio", "0.1"),
            ("max.message.bytes", &*max_bytes),
        ];
        return make_topics::create(cluster, &admin, (topic, 1, &settings)).await;
    };
    if found.partitions != 1 {
        return Err(unfit(&format!("has {} partitions", found.partitions)));
    }
    let policy = make_topics::setting(cluster, &admin, (topic, "cleanup.policy")).await?;
    match policy.as_deref() {
        None | Some("compact") => Ok(()),
        Some(policy) => Err(unfit(&format!("has cleanup.policy={policy}"))),
    }
}

/// Gives all that is committed on a topic, up to its end as it is now: keys, and values or `None`
/// where the key was removed. Reads in the name of a group, but does not join it. Blocks.
pub(super) fn read(
    cluster: &Cluster,
    (topic, group): (&str, &str),
    mut take: impl FnMut(&str, Option<&[u8]>) -> Result<()>,
) -> Result<()> {
    let voice = Voice::default();
    let doing = format!("cannot read the topic {topic} as the group {group}");
    let failed = |error| cluster.error(&doing, &error, &voice);
    let consumer = open(cluster, (topic, group), &voice).map_err(failed)?;
    let mut heard = Instant::now();
    loop {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                let key = String::from_utf8_lossy(message.key().unwrap_or_default());
                take(&key, message.payload())?;
                heard = Instant::now();
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => {
                if let Some(refusal) = client::refusal(&doing, &error, &cluster.config.address) {
                    return Err(refusal);
                }
            }
            None => {}
        }
        if let Some(refusal) = client::heard_refusal(&voice, &cluster.config.address) {
            return Err(refusal);
        }
        if heard.elapsed() > PATIENCE {
            return Err(failed(KafkaError::MessageConsumption(Code::OperationTimedOut)));
        }
    }
}

fn open(
    cluster: &Cluster,
    (topic, group): (&str, &str),
    voice: &Voice,
) -> KafkaResult<BaseConsumer<Voice>> {
    let mut config = cluster.client(group);
    config
        .set("group.id", group)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        // The end is told with an answer that has no records, and the brokers keep that back.
        .set("fetch.wait.max.ms", "10")
        .set("allow.auto.create.topics", "false");
    from_beginning(&config, topic, voice)
}

/// A client that reads the one partition of a topic from its beginning, alone.
pub(super) fn from_beginning(
    config: &ClientConfig,
    topic: &str,
    voice: &Voice,
) -> KafkaResult<BaseConsumer<Voice>> {
    let consumer = BaseConsumer::from_config_and_context(config, voice.clone())?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&from)?;
    Ok(consumer)
}
