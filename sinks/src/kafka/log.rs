//! Reads the topic with marks. It is compacted, and has one partition.

use std::time::{Duration, Instant};

use handler::Failure;
use kafka_client::{Voice, is_filler, remedy};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
};

use super::{
    cluster::TargetCluster,
    marks::{Marks, SIGHT},
};

const POLL: Duration = Duration::from_millis(100);

/// So long the brokers may take to send the next record. A transaction of another process, which
/// hangs, is ended by them within this time.
pub(super) const LOG_PATIENCE: Duration = Duration::from_secs(45);

/// The settings that the topic is made with.
pub(super) const LOG_SETTINGS: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    // So that who reads it whole has little to read.
    ("segment.bytes", "16777216"),
    ("min.cleanable.dirty.ratio", "0.1"),
    // What is removed was read long before.
    ("delete.retention.ms", "86400000"),
];

/// Reads the topic on and on.
pub(super) struct LogReader {
    cluster: TargetCluster,
    voice: Voice,
    consumer: BaseConsumer<Voice>,
}

impl LogReader {
    /// Begins with the first record; blocks.
    pub(super) fn open(cluster: &TargetCluster) -> Result<Self, Failure> {
        let voice = Voice::default();
        let doing = format!("cannot read the topic {}", cluster.name);
        let consumer = open(cluster, &voice);
        let consumer = consumer.map_err(|error| cluster.failure(&doing, &error, &voice))?;
        Ok(Self { cluster: cluster.clone(), voice, consumer })
    }

    /// Takes what is committed, up to the end or to a transaction that is open; blocks.
    pub(super) fn read(&self, marks: &mut Marks) -> Result<(), Failure> {
        self.read_until(marks, None)
    }

    /// Takes what is committed, up to the record that is there to be seen, and has this value:
    /// blocks until it is there.
    pub(super) fn read_to(&self, marks: &mut Marks, sight: &str) -> Result<(), Failure> {
        self.read_until(marks, Some(sight))
    }

    fn read_until(&self, marks: &mut Marks, sight: Option<&str>) -> Result<(), Failure> {
        let Self { cluster, voice, consumer } = self;
        let doing = format!("cannot read the topic {}", cluster.name);
        let mut heard = Instant::now();
        loop {
            match consumer.poll(POLL) {
                Some(Ok(message)) if is_filler(&message) => heard = Instant::now(),
                Some(Ok(message)) => {
                    let key = String::from_utf8_lossy(message.key().unwrap_or_default());
                    let at = message.timestamp().to_millis().unwrap_or_default();
                    let taken = marks.take((&key, message.payload()), at.unsigned_abs());
                    taken.map_err(|why| {
                        Failure::unclear(format!(
                            "the topic {} {why}: it keeps what this sink has written, and nothing \
                             else may be there; set `name` of the sink",
                            cluster.name
                        ))
                    })?;
                    let value = message.payload().unwrap_or_default();
                    if key == SIGHT && sight.is_some_and(|sight| sight.as_bytes() == value) {
                        return Ok(());
                    }
                    heard = Instant::now();
                }
                Some(Err(KafkaError::PartitionEOF(_))) if sight.is_none() => return Ok(()),
                Some(Err(error)) => {
                    let code = error.rdkafka_error_code();
                    if let Some(code) = code.filter(|code| remedy(*code, &doing, "").is_some()) {
                        return Err(cluster.meaning(&doing, code, &code.to_string()));
                    }
                }
                None => {}
            }
            if let Some((code, reason)) = voice.refusal() {
                return Err(cluster.meaning(&doing, code, &reason));
            }
            if heard.elapsed() > LOG_PATIENCE {
                let late = KafkaError::MessageConsumption(Code::OperationTimedOut);
                return Err(cluster.failure(&doing, &late, voice));
            }
        }
    }
}

fn open(cluster: &TargetCluster, voice: &Voice) -> KafkaResult<BaseConsumer<Voice>> {
    let mut config = cluster.client(&[]);
    config
        // The library wants a name; no group is joined.
        .set("group.id", &*cluster.name)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        // The end is told with an answer that has no records, and the brokers keep that back.
        .set("fetch.wait.max.ms", "10")
        .set("allow.auto.create.topics", "false");
    let consumer = BaseConsumer::from_config_and_context(&config, voice.clone())?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&cluster.name, 0, Offset::Beginning)?;
    consumer.assign(&from)?;
    Ok(consumer)
}
