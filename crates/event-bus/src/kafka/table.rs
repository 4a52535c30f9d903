//! The control table on Kafka: entries of the compacted topic `{prefix}.control`.
//!
//! Each listener reads the topic from its beginning, outside of groups, on a thread of its own. It
//! begins again when its offset is gone, or the topic has another id because it was made again.
//! Then all entries come once more, and the listener folds them by key.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::{
    Message,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    Cluster,
    client::{self, Voice},
    compacted,
    control::{self, TABLE_KEYS},
    topic_id,
};
use crate::{Control, ControlChange, Error, Result};

/// How long a call into the library may take: the thread notices after it that nobody listens.
const POLL: Duration = Duration::from_millis(100);

/// How often the listener is told of trouble that ends by itself.
const TROUBLE_EVERY: Duration = Duration::from_secs(1);

/// How often the thread looks whether the topic is still the same. Each look is a request, and
/// every listener has such a thread.
const VERIFY_EVERY: Duration = Duration::from_mins(1);

/// How soon the thread looks again when there is no topic, and after how many such looks in a row
/// the topic counts as deleted: brokers hear of a topic one after the other.
const VERIFY_AGAIN: Duration = Duration::from_secs(10);
const MAX_MISSING: u32 = 2;

/// What is tried, for messages. The library wants the name of a group, also from who joins none.
fn doing(cluster: &Cluster) -> String {
    let topic = control::topic_name(cluster);
    format!("cannot read the control table, the topic {topic}, in the name of the group {topic}")
}

/// How many keys may be told at once, after the first time.
const MAX_TOLD: usize = 1000;

/// Listens. Dropping it ends its thread soon, and waits for nobody.
pub(super) struct KafkaControl {
    inbox: mpsc::Receiver<Result<Vec<ControlChange>>>,
    /// What ended the thread.
    over: Option<Error>,
}

impl KafkaControl {
    pub(super) async fn open(cluster: &Cluster) -> Result<Self> {
        control::make_topic(cluster).await?;
        let (send, inbox) = mpsc::channel(1);
        let cluster = cluster.clone();
        let opened = spawn_blocking(move || TableReading::begin(&cluster, send)).await;
        opened.map_err(|panic| Error::Internal(panic.to_string()))??;
        Ok(Self { inbox, over: None })
    }
}

#[async_trait]
impl Control for KafkaControl {
    async fn changes(&mut self) -> Result<Vec<ControlChange>> {
        if let Some(error) = &self.over {
            return Err(error.clone());
        }
        let told = self.inbox.recv().await.unwrap_or_else(|| {
            Err(Error::Internal("the thread that reads the control table has failed".to_owned()))
        });
        if let Err(error) = &told
            && !error.is_transient()
        {
            self.over = Some(error.clone());
        }
        told
    }
}

/// The thread's side.
struct TableReading {
    cluster: Cluster,
    consumer: BaseConsumer<Voice>,
    voice: Voice,
    send: mpsc::Sender<Result<Vec<ControlChange>>>,
    /// What came and was not told, by key.
    fresh: BTreeMap<String, Option<Bytes>>,
    /// Whether the topic's end was reached once, and all before it told.
    is_level: bool,
    troubled: Option<Instant>,
    /// When it was looked whether the topic is still the same.
    verified: Option<Instant>,
    /// The topic's id, once it was seen.
    id: Option<String>,
    /// Looks in a row that found no topic.
    missing: u32,
}

impl TableReading {
    fn begin(cluster: &Cluster, send: mpsc::Sender<Result<Vec<ControlChange>>>) -> Result<()> {
        let voice = Voice::default();
        let consumer = open(cluster, &voice)
            .map_err(|error| cluster.error(&doing(cluster), &error, &voice))?;
        let mut reading = Self {
            cluster: cluster.clone(),
            consumer,
            voice,
            send,
            fresh: BTreeMap::new(),
            is_level: false,
            troubled: None,
            verified: None,
            id: None,
            missing: 0,
        };
        let read = move || while reading.step().is_some() {};
        let spawned = thread::Builder::new().name("kafka-control".to_owned()).spawn(read);
        spawned.map_err(|error| Error::Internal(format!("cannot start a thread: {error}")))?;
        Ok(())
    }

    /// Takes what comes next; `None` at the end, which is when nobody listens.
    fn step(&mut self) -> Option<()> {
        if self.send.is_closed() {
            return None;
        }
        let verify_after = if self.missing == 0 { VERIFY_EVERY } else { VERIFY_AGAIN };
        if self.verified.is_none_or(|looked| looked.elapsed() > verify_after) {
            self.verify()?;
            self.verified = Some(Instant::now());
        }
        // The end is told with an answer that has no records, which the brokers keep back.
        let is_waiting = self.is_level && !self.fresh.is_empty();
        match self.consumer.poll(if is_waiting { Duration::ZERO } else { POLL }) {
            None if is_waiting => self.tell()?,
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => self.tell()?,
            Some(Err(error)) => {
                let error = match error.rdkafka_error_code() {
                    Some(
                        RDKafkaErrorCode::UnknownTopicOrPartition
                        | RDKafkaErrorCode::UnknownTopic
                        | RDKafkaErrorCode::UnknownPartition,
                    ) => self.deleted(),
                    _ => self.cluster.error(&doing(&self.cluster), &error, &self.voice),
                };
                return self.trouble(error);
            }
            Some(Ok(message)) => {
                let key = String::from_utf8_lossy(message.key().unwrap_or_default());
                if let Some(key) = key.strip_prefix(TABLE_KEYS) {
                    let value = message.payload().map(Bytes::copy_from_slice);
                    self.fresh.insert(key.to_owned(), value);
                }
                if self.is_level && self.fresh.len() >= MAX_TOLD {
                    self.tell()?;
                }
            }
        }
        match client::heard_refusal(&self.voice, &self.cluster.config.address) {
            Some(refusal) => self.trouble(refusal),
            None => Some(()),
        }
    }

    /// Begins again where the topic is another one, and says where there is none. The library
    /// notices neither by itself: it waits at the end of the old topic.
    fn verify(&mut self) -> Option<()> {
        let topic = control::topic_name(&self.cluster);
        // If the brokers are away, reading says so.
        let Ok(described) = topic_id::describe(self.consumer.client(), &[&topic]) else {
            return Some(());
        };
        let Some(now) = described.into_iter().next() else {
            self.missing += 1;
            let is_gone = self.missing >= MAX_MISSING;
            return if is_gone { self.trouble(self.deleted()) } else { Some(()) };
        };
        self.missing = 0;
        if topic_id::is_none(&now.id) {
            return Some(());
        }
        let before = self.id.replace(now.id);
        if before.is_none() || before == self.id {
            return Some(());
        }
        tracing::warn!(
            topic,
            "the topic was deleted and made again: it is read from its beginning"
        );
        match open(&self.cluster, &self.voice) {
            Ok(consumer) => {
                self.consumer = consumer;
                Some(())
            }
            Err(error) => {
                self.trouble(self.cluster.error(&doing(&self.cluster), &error, &self.voice))
            }
        }
    }

    fn deleted(&self) -> Error {
        let topic = control::topic_name(&self.cluster);
        Error::Unavailable {
            address: self.cluster.config.address.clone(),
            reason: format!("the topic {topic} is not there: was it deleted? It is made again"),
        }
    }

    /// Hands over what is new. The first time, removed keys are nothing new.
    fn tell(&mut self) -> Option<()> {
        let fresh = std::mem::take(&mut self.fresh).into_iter();
        let is_first = !std::mem::replace(&mut self.is_level, true);
        let changes: Vec<ControlChange> =
            fresh.filter(|(_, value)| !is_first || value.is_some()).collect();
        if changes.is_empty() && !is_first {
            return Some(());
        }
        self.send.blocking_send(Ok(changes)).ok()
    }

    /// Tells of trouble now and then. What does not end by itself ends the thread.
    fn trouble(&mut self, error: Error) -> Option<()> {
        if !error.is_transient() {
            let _ = self.send.blocking_send(Err(error));
            return None;
        }
        if self.troubled.is_none_or(|told| told.elapsed() > TROUBLE_EVERY) {
            self.troubled = Some(Instant::now());
            // If the channel is full, this trouble is not told; lasting trouble is told later.
            let _ = self.send.try_send(Err(error));
        }
        Some(())
    }
}

fn open(cluster: &Cluster, voice: &Voice) -> KafkaResult<BaseConsumer<Voice>> {
    let topic = control::topic_name(cluster);
    let mut config = cluster.client("dbevent-control");
    config
        // The library wants a name, and joins no group.
        .set("group.id", &topic)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        // Not "error", as elsewhere: to begin again only repeats entries, and leaves nothing out.
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .set("allow.auto.create.topics", "false");
    compacted::from_beginning(&config, &topic, voice)
}
