//! A reader outside of groups. It also reads partitions that come later.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{Consumer as _, ConsumerContext, StreamConsumer},
    error::KafkaError,
};
use tokio::{sync::watch, time::Instant};

use super::{
    Cluster,
    client::Voice,
    control, desk,
    groups::KafkaGroups,
    offsets,
    scan::{self, PartitionEnd},
};
use crate::{
    Committing, Consumer, Error, KeptChange, Partition, Polled, Reset, ResetTo, Result,
    TopicFilter, outside,
};

/// How often it looks for topics and partitions that are new.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub(super) struct KafkaTail {
    cluster: Cluster,
    voice: Voice,
    consumer: StreamConsumer<TailContext>,
    /// The ends that the library has reached.
    ends: watch::Receiver<Vec<(Partition, u64)>>,
    /// The same, while records before them may still be in the library.
    reached: Option<Vec<(Partition, u64)>>,
    groups: KafkaGroups,
    topics: TopicFilter,
    /// Where it begins in the partitions that it finds next.
    from: ResetTo,
    known: HashMap<String, HashMap<u32, Partition>>,
    look_at: Instant,
}

/// Hears what the library says, and the ends that it has reached.
struct TailContext {
    voice: Voice,
    ends: watch::Sender<Vec<(Partition, u64)>>,
}

impl ClientContext for TailContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.voice.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.error(error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let end = |PartitionEnd { topic, number, offset }: PartitionEnd| {
            Some((Partition { topic: topic.into(), number }, offset?))
        };
        let ends: Vec<(Partition, u64)> =
            scan::ends(statistics).into_iter().filter_map(end).collect();
        self.ends.send_if_modified(|known| {
            let is_new = *known != ends;
            *known = ends;
            is_new
        });
    }
}

impl ConsumerContext for TailContext {}

/// What happens next.
enum TailStep {
    LookDue,
    EndsCame,
    EndsReached,
    Came(std::result::Result<Polled, KafkaError>),
}

impl KafkaTail {
    pub(super) async fn open(
        cluster: &Cluster,
        topics: &TopicFilter,
        from: ResetTo,
    ) -> Result<Self> {
        let voice = Voice::default();
        let mut config = cluster.client("dbevent-tail");
        config
            .set("group.id", group(cluster))
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("allow.auto.create.topics", "false")
            .set("statistics.interval.ms", "1000");
        let (sender, ends) = watch::channel(Vec::new());
        let context = TailContext { voice: voice.clone(), ends: sender };
        let consumer = StreamConsumer::from_config_and_context(&config, context)
            .map_err(|error| cluster.error("cannot reach the brokers", &error, &voice))?;
        let mut tail = Self {
            cluster: cluster.clone(),
            voice,
            consumer,
            ends,
            reached: None,
            groups: KafkaGroups::new(cluster),
            topics: topics.clone(),
            from,
            known: HashMap::new(),
            look_at: Instant::now(),
        };
        tail.look().await?;
        Ok(tail)
    }

    /// Takes in the partitions that are new.
    async fn look(&mut self) -> Result<()> {
        self.look_at = Instant::now() + LOOK_EVERY;
        let found = self.groups.plan_reset(&group(&self.cluster), &self.topics, self.from).await?;
        let is_new = |reset: &Reset| {
            let of_topic = self.known.get(&*reset.partition.topic);
            !of_topic.is_some_and(|known| known.contains_key(&reset.partition.number))
        };
        let fresh: Vec<Reset> = found.into_iter().filter(is_new).collect();
        // A partition that comes later is read from its beginning.
        self.from = ResetTo::Earliest;
        if fresh.is_empty() {
            return Ok(());
        }
        let assigned = assignment(&fresh).and_then(|list| self.consumer.incremental_assign(&list));
        assigned.map_err(|error| self.error(&error))?;
        for Reset { partition, .. } in fresh {
            let of_topic = self.known.entry(partition.topic.to_string()).or_default();
            of_topic.insert(partition.number, partition);
        }
        Ok(())
    }

    async fn next(&mut self) -> TailStep {
        let (consumer, known) = (&self.consumer, &self.known);
        let came = async {
            let message = consumer.recv().await?;
            let number = u32::try_from(message.partition()).unwrap_or_default();
            let known = known.get(message.topic()).and_then(|known| known.get(&number));
            let partition = known
                .cloned()
                .unwrap_or_else(|| Partition { topic: Arc::from(message.topic()), number });
            let deliveries = desk::deliveries(&partition, &message);
            Ok(Polled::Records { deliveries, scanned: Vec::new() })
        };
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(self.look_at) => TailStep::LookDue,
            came = came => TailStep::Came(came),
            // Statistics overtake records: these ends count when no record is left.
            () = std::future::ready(()), if self.reached.is_some() => TailStep::EndsReached,
            Ok(()) = self.ends.changed() => TailStep::EndsCame,
        }
    }

    fn error(&self, error: &KafkaError) -> Error {
        self.cluster.error("cannot read", error, &self.voice)
    }
}

/// The library wants a name. This is one for which every event-worker has the right; nothing is
/// committed under it.
pub(super) fn group(cluster: &Cluster) -> String {
    control::topic_name(cluster)
}

fn assignment(resets: &[Reset]) -> std::result::Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(resets.len());
    for Reset { partition, to, .. } in resets {
        let offset = Offset::Offset(i64::try_from(*to).unwrap_or(i64::MAX));
        list.add_partition_offset(&partition.topic, offsets::number(partition), offset)?;
    }
    Ok(list)
}

#[async_trait]
impl Consumer for KafkaTail {
    async fn poll(&mut self) -> Result<Polled> {
        loop {
            match self.next().await {
                TailStep::LookDue => self.look().await?,
                TailStep::Came(Ok(polled)) => return Ok(polled),
                TailStep::EndsCame => self.reached = Some(self.ends.borrow_and_update().clone()),
                TailStep::EndsReached => {
                    let scanned = self.reached.take().unwrap_or_default();
                    return Ok(Polled::Records { deliveries: Vec::new(), scanned });
                }
                TailStep::Came(Err(error)) => return Err(self.error(&error)),
            }
        }
    }

    fn commit_with(&mut self, offsets: &[(Partition, u64)], _: Vec<KeptChange>) -> Committing {
        outside::commit(offsets)
    }

    fn pause(&mut self, _: &[Partition]) {}

    fn resume(&mut self, _: &[Partition]) {}

    async fn close(self: Box<Self>) {}
}
