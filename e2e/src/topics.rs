//! What a reader at `read_committed` finds on Kafka's topics, and what must be true of the events
//! there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};

use crate::{
    mysqlbinlog,
    recording::{Call, Event, Outcome, Recording},
};

/// How long the broker may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// All committed events of some topics, in the order of each partition.
#[derive(Debug)]
pub struct Topics {
    events: Vec<Event>,
}

impl Topics {
    /// Reads all that is committed now on the topics whose names begin with `prefix`; blocks.
    ///
    /// # Errors
    ///
    /// When the broker does not answer, or a record is not a change event.
    pub fn read(address: &str, prefix: &str) -> Result<Self> {
        let mut events = Vec::new();
        read_records(address, prefix, |record| {
            events.push(event(record)?);
            Ok(())
        })?;
        Ok(Self { events })
    }

    /// The same without blocking.
    ///
    /// # Errors
    ///
    /// As [`Topics::read`].
    pub async fn read_aside(address: String, prefix: &'static str) -> Result<Self> {
        tokio::task::spawn_blocking(move || Self::read(&address, prefix)).await?
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Each of the ids, and no other, is there; none is there twice.
    ///
    /// # Errors
    ///
    /// Shows some that are missing, invented or repeated.
    pub fn check_once(&self, expected: &BTreeSet<String>) -> Result<()> {
        let mut seen: HashMap<&str, &Event> = HashMap::new();
        for event in &self.events {
            if let Some(first) = seen.insert(&event.ev_id, event) {
                anyhow::bail!("{} is there twice: {:?}, {:?}", event.ev_id, first.bus, event.bus);
            }
        }
        let found: BTreeSet<&str> =
            seen.keys().map(|id| mysqlbinlog::without_split_mark(id)).collect();
        let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
        let lost: Vec<_> = expected.difference(&found).take(5).collect();
        let invented: Vec<_> = found.difference(&expected).take(5).collect();
        ensure!(
            lost.is_empty() && invented.is_empty(),
            "{} expected, {} found: lost {lost:?}, invented {invented:?}",
            expected.len(),
            found.len()
        );
        Ok(())
    }

    /// The events of each key are in the order in which MySQL committed them, which is that of the
    /// numbers of their transactions.
    ///
    /// # Errors
    ///
    /// Names the first event that comes after a later one.
    pub fn check_order(&self) -> Result<()> {
        let mut last: HashMap<(&str, &str), &Event> = HashMap::new();
        for event in &self.events {
            if let Some(before) = last.insert(event.key(), event) {
                ensure!(before.bus.partition == event.bus.partition, "{:?} moved", event.key());
                let in_order = place(&before.ev_id)? < place(&event.ev_id)?;
                ensure!(in_order, "{} comes after {}", event.ev_id, before.ev_id);
            }
        }
        Ok(())
    }

    /// The same events as a recording of one handler call.
    pub fn into_recording(self) -> Recording {
        let call = Call { began: 0, at: 0, outcome: Outcome::Done, events: self.events, count: 0 };
        Recording { calls: vec![call], torn: 0 }
    }
}

/// Gives every committed record of some topics, in the order of each partition; blocks.
///
/// # Errors
///
/// When the broker does not answer, or `take` fails.
pub fn read_records(
    address: &str,
    prefix: &str,
    mut take: impl FnMut(&dyn RecordView) -> Result<()>,
) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "oracle")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    for topic in consumer.fetch_metadata(None, PATIENCE)?.topics() {
        for partition in topic.partitions().iter().filter(|_| topic.name().starts_with(prefix)) {
            partitions.add_partition_offset(topic.name(), partition.id(), Offset::Beginning)?;
        }
    }
    consumer.assign(&partitions)?;
    let mut open = partitions.count();
    while open > 0 {
        match consumer.poll(PATIENCE).context("the broker does not answer")? {
            Ok(message) => take(&message)?,
            Err(KafkaError::PartitionEOF(_)) => open -= 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Gives the committed records of a topic's first partition as they come, until `take` has enough;
/// waits until the topic is there. Blocks.
///
/// # Errors
///
/// When nothing comes for long, or `take` fails.
pub fn follow(
    address: &str,
    topic: &str,
    mut take: impl FnMut(&dyn RecordView) -> Result<bool>,
) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "follower")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("topic.metadata.refresh.fast.interval.ms", "100")
        .set("allow.auto.create.topics", "false")
        .create()?;
    let has_topic = || -> Result<bool> {
        let listed = consumer.fetch_metadata(None, PATIENCE)?;
        Ok(listed.topics().iter().any(|listed| listed.name() == topic))
    };
    while !has_topic()? {
        // Nothing is assigned yet: this only waits.
        let _ = consumer.poll(Duration::from_millis(20));
    }
    let mut partition = TopicPartitionList::new();
    partition.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&partition)?;
    while !take(&consumer.poll(PATIENCE).context("nothing comes")??)? {}
    Ok(())
}

/// What of a record is looked at.
pub trait RecordView {
    /// Its topic.
    fn topic(&self) -> &str;
    /// Its partition and offset there.
    fn place(&self) -> (u32, u64);
    /// Its key.
    fn key(&self) -> &[u8];
    /// Its value.
    fn value(&self) -> &[u8];
}

impl<M: Message> RecordView for M {
    fn topic(&self) -> &str {
        Message::topic(self)
    }

    fn place(&self) -> (u32, u64) {
        (self.partition().cast_unsigned(), self.offset().cast_unsigned())
    }

    fn key(&self) -> &[u8] {
        Message::key(self).unwrap_or_default()
    }

    fn value(&self) -> &[u8] {
        self.payload().unwrap_or_default()
    }
}

/// Adds what a handler is given too: where the event lies.
fn event(record: &dyn RecordView) -> Result<Event> {
    let value = std::str::from_utf8(record.value())?;
    let (partition, offset) = record.place();
    let object = value.strip_suffix('}').context("not an object")?;
    let topic = record.topic();
    let text = format!(
        r#"{object},"Bus":{{"topic":"{topic}","partition":{partition},"offset":{offset}}}}}"#
    );
    serde_json::from_str(&text).with_context(|| text)
}

/// The number of the transaction, that of the row, and which half of a changed key it is.
fn place(id: &str) -> Result<(u64, u64, &str)> {
    let (gtid, row) = id.split_once('#').context("no row in the id")?;
    let number = gtid.rsplit(':').next().context("no number in the id")?;
    let plain = mysqlbinlog::without_split_mark(row);
    Ok((number.parse()?, plain.parse()?, &row[plain.len()..]))
}

/// How many committed records each topic has whose name begins with `prefix`; blocks.
///
/// # Errors
///
/// As [`read_records`].
pub fn count(address: &str, prefix: &str) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    read_records(address, prefix, |record| {
        *counts.entry(record.topic().to_owned()).or_default() += 1;
        Ok(())
    })?;
    Ok(counts)
}
