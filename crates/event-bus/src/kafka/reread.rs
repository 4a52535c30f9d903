//! Reads one partition again, outside of any group.

use async_trait::async_trait;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{Consumer as _, StreamConsumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
};

use super::{
    Cluster,
    client::Voice,
    desk,
    groups::KafkaGroups,
    offsets::{self, Moment},
    tail,
};
use crate::{Committing, Consumer, Error, KeptChange, Partition, Polled, Result, outside};

/// How much the library may hold that nobody has taken yet: several replays may run at once.
const LIMITS: [(&str, &str); 2] =
    [("queued.max.messages.kbytes", "4096"), ("fetch.max.bytes", "4194304")];

pub(super) struct KafkaReread {
    cluster: Cluster,
    voice: Voice,
    consumer: StreamConsumer<Voice>,
    partition: Partition,
    next: u64,
    /// Where the committed records ended when it began: at the end of what is there all before this
    /// was scanned, also markers of transactions.
    end: u64,
}

impl KafkaReread {
    pub(super) async fn open(cluster: &Cluster, partition: &Partition, from: u64) -> Result<Self> {
        let end = place(cluster, partition, Moment::Latest).await?;
        let voice = Voice::default();
        let failed = |error| cluster.error("cannot read", &error, &voice);
        let consumer = assigned(cluster, (partition, from), &voice).map_err(failed)?;
        let (cluster, partition) = (cluster.clone(), partition.clone());
        Ok(Self { cluster, voice, consumer, partition, next: from, end })
    }

    /// What an error means. Of a record that is gone the library says only that it cannot read on.
    async fn meaning(&self, error: KafkaError) -> Error {
        let is_out_of_range = matches!(
            error.rdkafka_error_code(),
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation)
        );
        if is_out_of_range {
            match place(&self.cluster, &self.partition, Moment::Earliest).await {
                Ok(first) if first > self.next => {
                    return outside::gone(self.partition.clone(), self.next, first);
                }
                Ok(_) => {}
                Err(error) => return error,
            }
        }
        self.cluster.error("cannot read", &error, &self.voice)
    }
}

/// Where a moment is in one partition.
async fn place(cluster: &Cluster, partition: &Partition, moment: Moment) -> Result<u64> {
    KafkaGroups::new(cluster).place(&tail::group(cluster), partition, moment).await
}

/// A client that reads the partition from an offset on.
fn assigned(
    cluster: &Cluster,
    (partition, from): (&Partition, u64),
    voice: &Voice,
) -> KafkaResult<StreamConsumer<Voice>> {
    let mut config = cluster.client("dbevent-reread");
    config
        .set("group.id", tail::group(cluster))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        // The end is told with an answer that has no records, and the brokers keep that back.
        .set("fetch.wait.max.ms", "10")
        .set("allow.auto.create.topics", "false");
    LIMITS.iter().for_each(|(key, value)| {
        config.set(*key, *value);
    });
    let consumer = StreamConsumer::from_config_and_context(&config, voice.clone())?;
    let mut list = TopicPartitionList::with_capacity(1);
    let offset = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
    list.add_partition_offset(&partition.topic, offsets::number(partition), offset)?;
    consumer.assign(&list)?;
    Ok(consumer)
}

#[async_trait]
impl Consumer for KafkaReread {
    async fn poll(&mut self) -> Result<Polled> {
        let error = match self.consumer.recv().await {
            Ok(message) => {
                let deliveries = desk::deliveries(&self.partition, &message);
                self.next = u64::try_from(message.offset()).unwrap_or_default() + 1;
                return Ok(Polled::Records { deliveries, scanned: Vec::new() });
            }
            Err(KafkaError::PartitionEOF(_)) => {
                self.next = self.next.max(self.end);
                let scanned = vec![(self.partition.clone(), self.next)];
                return Ok(Polled::Records { deliveries: Vec::new(), scanned });
            }
            Err(error) => error,
        };
        Err(self.meaning(error).await)
    }

    fn commit_with(&mut self, offsets: &[(Partition, u64)], _: Vec<KeptChange>) -> Committing {
        outside::commit(offsets)
    }

    fn pause(&mut self, _: &[Partition]) {}

    fn resume(&mut self, _: &[Partition]) {}

    async fn close(self: Box<Self>) {}
}
