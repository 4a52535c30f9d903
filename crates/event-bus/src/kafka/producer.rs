//! The one writer of a name: records and checkpoint in one transaction.
//!
//! Every leader opens its producer with the same transactional id. Then the brokers refuse whatever
//! an earlier producer still sends, and end the transaction that it left open (KIP-98). Only after
//! that we read the checkpoint: nobody can change it any more.
//!
//! The brokers may lose the end of a transaction (see `kafka_client::commit`). So a commit counts
//! when readers see it, and who takes over undoes what an earlier producer left unseen.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use kafka_client::{
    Acks, Fate, Goal, Place, Records, RefusedRecord, Sight, Unsent, is_fenced, transaction_error,
    undo_left,
};
use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ThreadedProducer},
};
use tokio::task::block_in_place;

use super::{
    Cluster, Guarantee,
    checkpoint::{self, SavedCheckpoint},
    client,
    lead::Candidacy,
    partition,
    watched_topics::{self, ProducerTopics},
};
use crate::{
    BOOK_HEADER, Batch, Book, ChangedTopic, Checkpoint, CheckpointChange, Durability, Error, Mark,
    Producer, Record, Result,
};

/// A transaction that takes all that comes is committed when it has so many bytes,
const MAX_OPEN_BYTES: usize = 128 << 20;

/// or is so old: readers wait for it.
const MAX_OPEN_TIME: Duration = Duration::from_secs(1);

/// How long the brokers may take for anything; they end a transaction themselves after 10 s.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long they may take to end the transaction of the producer before us.
const TAKE_OVER_PATIENCE: Duration = Duration::from_secs(30);

/// How often the producer looks whether the topics are still the same.
const VERIFY_EVERY: Duration = Duration::from_secs(5);

/// What a producer's client is made with, unless the user says otherwise.
const DEFAULTS: &[(&str, &str)] = &[
    ("compression.type", "lz4"),
    ("linger.ms", "0"),
    // While the brokers still end the last transaction, they refuse the next one for a moment. The
    // wait doubles each time, up to the second figure.
    ("retry.backoff.ms", "5"),
    ("retry.backoff.max.ms", "10"),
    ("queue.buffering.max.messages", "200000"),
    ("transaction.timeout.ms", "10000"),
    ("message.timeout.ms", "10000"),
];

/// The library's own limit is higher, with room for a largest row.
const MAX_QUEUED_BYTES: usize = 16 << 20;

pub(super) struct KafkaProducer {
    cluster: Cluster,
    name: String,
    /// `None` only while it is dropped.
    client: Option<ThreadedProducer<Acks>>,
    acks: Acks,
    /// Absent without transactions.
    sight: Option<Sight>,
    lead: Candidacy,
    topics: ProducerTopics,
    verified: Instant,
    open: Uncommitted,
    book: Option<Book>,
    /// After an error, or a call that was dropped half-way, nothing more is written.
    failed: bool,
}

/// What was sent and is not committed.
#[derive(Default)]
struct Uncommitted {
    since: Option<Instant>,
    bytes: usize,
    checkpoint: Vec<CheckpointChange>,
}

impl KafkaProducer {
    /// Takes over from whoever led before: none of them can write any more when it returns.
    pub(super) async fn open(
        cluster: &Cluster,
        name: &str,
        lead: Candidacy,
    ) -> Result<(Self, Checkpoint)> {
        let (Taken { client, acks, sight }, saved) = {
            let (cluster, name) = (cluster.clone(), name.to_owned());
            let opened = tokio::task::spawn_blocking(move || take_over(&cluster, &name));
            opened.await.map_err(|panic| Error::Internal(panic.to_string()))??
        };
        let producer = Self {
            cluster: cluster.clone(),
            name: name.to_owned(),
            client: Some(client),
            acks,
            sight,
            lead,
            topics: ProducerTopics::new(cluster, &saved.own)?,
            verified: Instant::now(),
            open: Uncommitted::default(),
            book: None,
            failed: false,
        };
        Ok((producer, saved.checkpoint))
    }

    /// Sends a batch; what it changes of the checkpoint waits for the commit.
    async fn add(&mut self, batch: &Batch, checkpoint: &[CheckpointChange]) -> Result<()> {
        if self.failed {
            return Err(Error::Rejected(format!("producer {} failed: open it again", self.name)));
        }
        self.failed = true;
        self.lead.check()?;
        self.learn(batch).await?;
        self.open.change(checkpoint);
        if !batch.is_empty()
            && let Err(error) = block_in_place(|| self.send(batch))
        {
            return Err(self.explain(error).await);
        }
        self.failed = false;
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        self.failed = true;
        if self.verified.elapsed() > self.topics.verify_after(VERIFY_EVERY) {
            self.topics.verify().await?;
            self.verified = Instant::now();
        }
        if let Err(error) = block_in_place(|| self.finish()) {
            return Err(self.explain(error).await);
        }
        self.open = Uncommitted::default();
        self.failed = false;
        Ok(())
    }

    /// Opens the topics that are met for the first time.
    async fn learn(&mut self, batch: &Batch) -> Result<()> {
        let mut last = "";
        for record in batch.records() {
            if record.topic != last && self.topics.partitions(record.topic).is_none() {
                let change = self.topics.open(record.topic).await?;
                self.open.change(change.as_slice());
            }
            last = record.topic;
        }
        Ok(())
    }

    fn send(&mut self, batch: &Batch) -> Result<()> {
        self.begin()?;
        let (mut topic, mut partitions) = ("", 1);
        if let Some(book) = &mut self.book {
            book.begin_append();
        }
        for record in batch.records() {
            if record.topic != topic {
                topic = record.topic;
                partitions = self.topics.partitions(topic).unwrap_or(1);
            }
            let partition = partition::of(record.order, partitions);
            let mark = self.book.as_mut().and_then(|book| book.enter(&record, partition));
            let partition = partition.cast_signed();
            let mut sent = BaseRecord::to(topic).partition(partition).payload(record.value);
            sent.headers = headers(&record, mark);
            self.send_one(sent.key(record.key))?;
        }
        self.open.bytes += batch.bytes();
        Ok(())
    }

    fn send_one(&self, record: BaseRecord<'_, [u8], [u8]>) -> Result<()> {
        let sent = kafka_client::send((self.client()?, &self.acks), record, |goal| self.wait(goal));
        sent.map_err(|unsent| match unsent {
            Unsent::Wait(error) => error,
            Unsent::Refused { error, .. } => self.error("cannot send a record", &error),
        })
    }

    fn begin(&mut self) -> Result<()> {
        if self.open.since.is_some() {
            return Ok(());
        }
        if self.is_transactional() {
            let begun = self.client()?.begin_transaction();
            begun.map_err(|error| self.error("cannot begin a transaction", &error))?;
        }
        self.open.since = Some(Instant::now());
        Ok(())
    }

    /// Makes all that was sent durable, and the checkpoint with it.
    fn finish(&mut self) -> Result<()> {
        if self.open.since.is_none() && self.open.checkpoint.is_empty() {
            return Ok(());
        }
        self.begin()?;
        if !self.is_transactional() {
            // The checkpoint must not be there before what it covers.
            self.wait(Goal::All)?;
        }
        let topic = self.cluster.checkpoint_topic(&self.name);
        let booked = self.book.as_mut().map(Book::take_changes).unwrap_or_default();
        for (key, value) in booked.into_iter().chain(std::mem::take(&mut self.open.checkpoint)) {
            let mut record = BaseRecord::to(&topic).partition(0).key(key.as_bytes());
            record.payload = value.as_deref();
            self.send_one(record)?;
        }
        let begun = Instant::now();
        self.wait(Goal::All)?;
        let answered = begun.elapsed();
        self.commit_transaction()?;
        tracing::debug!(
            bytes = self.open.bytes,
            age = ?self.open.since.map(|since| since.elapsed()),
            ?answered,
            committed = ?begun.elapsed(),
            "durable"
        );
        Ok(())
    }

    fn commit_transaction(&self) -> Result<()> {
        let Some(sight) = &self.sight else { return Ok(()) };
        match kafka_client::commit(self.client()?, sight, PATIENCE) {
            Ok(Fate::Seen) => Ok(()),
            Ok(Fate::Undone) => Err(Error::Unavailable {
                address: self.cluster.config.address.clone(),
                reason: "the brokers have lost the end of a transaction, which they do when a \
                         broker restarts whose partitions have no other replica in sync; it is \
                         written again"
                    .to_owned(),
            }),
            Err(error) => Err(self.error("cannot commit a transaction", &error)),
        }
    }

    fn wait(&self, goal: Goal) -> Result<()> {
        match self.acks.wait(goal, PATIENCE) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let late = KafkaError::MessageProduction(Code::MessageTimedOut);
                Err(self.error("the brokers do not answer", &late))
            }
            Err(refused) => Err(self.refused(&refused)),
        }
    }

    /// What an error of a batch means, where the brokers have to be asked for that.
    async fn explain(&self, error: Error) -> Error {
        let refused = self.acks.refused();
        match refused.filter(|refused| refused.code == Code::MessageSizeTooLarge) {
            Some(refused) => {
                let limit = self.topics.max_batch_bytes(&refused.topic).await;
                too_large(&self.cluster, &refused, limit)
            }
            // A leader that was asleep gets many kinds of errors; the reason is that it was fenced.
            None if error.is_transient() => self.lead.lost().await.unwrap_or(error),
            None => error,
        }
    }

    fn refused(&self, refused: &RefusedRecord) -> Error {
        let RefusedRecord { topic, code, .. } = refused;
        let doing = format!("cannot write to the topic {topic}");
        self.error(&doing, &KafkaError::MessageProduction(*code))
    }

    /// What an error means; what the brokers said last of this producer counts first.
    fn error(&self, doing: &str, error: &KafkaError) -> Error {
        let fatal = self.client().ok().and_then(|client| client.client().fatal_error());
        let code = fatal.as_ref().map(|(code, _)| *code).or_else(|| error.rdkafka_error_code());
        match (code, fatal) {
            (Some(code), _) if is_fenced(code) => Error::Fenced(self.name.clone()),
            (_, Some((code, reason))) => {
                let reason = format!("{doing}: {reason}");
                client::meaning(code, reason, &self.cluster.config.address)
            }
            (Some(Code::PurgeQueue | Code::PurgeInflight), None) => {
                let reason = self.client().ok().and_then(transaction_error);
                self.cluster.error(doing, reason.as_ref().unwrap_or(error), &self.acks.voice)
            }
            _ => self.cluster.error(doing, error, &self.acks.voice),
        }
    }

    fn client(&self) -> Result<&ThreadedProducer<Acks>> {
        self.client.as_ref().ok_or_else(|| Error::Internal("the producer is closed".to_owned()))
    }

    fn is_transactional(&self) -> bool {
        self.sight.is_some()
    }
}

impl Uncommitted {
    /// The last value of a key wins; what is changed last is written last.
    fn change(&mut self, changes: &[CheckpointChange]) {
        for (key, value) in changes {
            self.checkpoint.retain(|(known, _)| known != key);
            self.checkpoint.push((key.clone(), value.clone()));
        }
    }

    fn is_ripe(&self) -> bool {
        let age = self.since.map(|since| since.elapsed()).unwrap_or_default();
        self.bytes >= MAX_OPEN_BYTES || age >= MAX_OPEN_TIME
    }
}

#[async_trait]
impl Producer for KafkaProducer {
    async fn append(&mut self, batch: &Batch, checkpoint: &[CheckpointChange]) -> Result<()> {
        self.add(batch, checkpoint).await?;
        self.commit().await
    }

    async fn append_more(
        &mut self,
        batch: &Batch,
        checkpoint: &[CheckpointChange],
    ) -> Result<Durability> {
        self.add(batch, checkpoint).await?;
        if !self.open.is_ripe() {
            return Ok(Durability::Open);
        }
        self.commit().await?;
        Ok(Durability::Durable)
    }

    fn keep_book(&mut self, book: Book) {
        self.book = Some(if self.is_transactional() { book } else { Book::default() });
    }

    fn take_booked(&mut self) -> Vec<(String, u64)> {
        self.book.as_mut().map(Book::take_fresh).unwrap_or_default()
    }

    async fn changed_topics(&mut self) -> Result<Vec<ChangedTopic>> {
        self.topics.changed().await
    }

    async fn adopt_topics(&mut self, topics: &[ChangedTopic]) -> Result<()> {
        let changes = self.topics.adopt(topics).await?;
        self.append(&Batch::default(), &changes).await
    }

    async fn close(mut self: Box<Self>) {
        self.lead.leave().await;
    }
}

impl Drop for KafkaProducer {
    /// The client waits for its threads; nobody waits for the client.
    fn drop(&mut self) {
        let client = self.client.take();
        std::thread::spawn(move || drop(client));
    }
}

/// What follows when a topic does not take a batch because of its size; its limit is given if it is
/// known. Later batches are smaller, unless the record was alone in the batch.
fn too_large(cluster: &Cluster, refused: &RefusedRecord, limit: Option<usize>) -> Error {
    let RefusedRecord { topic, bytes, .. } = refused;
    let before = cluster.batch_bytes.load(Ordering::Relaxed);
    if *bytes >= before {
        return Error::Rejected(format!(
            "the topic {topic} takes no record of {bytes} bytes: raise its max.message.bytes \
             (and then bus.maxRowBytes, if that is smaller), or set bus.onOversize = \
             \"keys-only\" with a smaller bus.maxRowBytes"
        ));
    }
    // A batch that cannot be compressed becomes a little larger.
    let fitting = limit.map(|limit| limit - limit / 16).filter(|fitting| *fitting < before);
    let batch_bytes = fitting.unwrap_or(before / 2);
    cluster.batch_bytes.store(batch_bytes, Ordering::Relaxed);
    Error::Unavailable {
        address: cluster.config.address.clone(),
        reason: format!(
            "the topic {topic} takes no batch of {before} bytes (max.message.bytes): from now on \
             batches have {batch_bytes} at most, which is slower; better raise max.message.bytes \
             of the topic"
        ),
    }
}

fn headers(record: &Record<'_>, mark: Option<Mark>) -> Option<OwnedHeaders> {
    if record.headers.is_empty() && mark.is_none() {
        return None;
    }
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len() + 1);
    for (key, value) in record.headers {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    if let Some(mark) = mark {
        headers = headers.insert(Header { key: BOOK_HEADER, value: Some(&mark.to_string()) });
    }
    Some(headers)
}

/// A client that nobody else writes beside.
struct Taken {
    client: ThreadedProducer<Acks>,
    acks: Acks,
    sight: Option<Sight>,
}

/// Fences all earlier producers of the name, and reads what they left; blocks.
fn take_over(cluster: &Cluster, name: &str) -> Result<(Taken, SavedCheckpoint)> {
    let acks = Acks::default();
    let failed = |error| cluster.error("cannot open the producer", &error, &acks.voice);
    let client = config(cluster, name);
    let client: ThreadedProducer<Acks> =
        ThreadedProducer::from_config_and_context(&client, acks.clone()).map_err(failed)?;
    if cluster.config.guarantee == Guarantee::AtLeastOnce {
        return Ok((Taken { client, acks, sight: None }, checkpoint::read(cluster, name)?));
    }
    let id = cluster.producer_id(name);
    let doing = format!("cannot take the transactional id {id}");
    let failed = |error| cluster.error(&doing, &error, &acks.voice);
    client.init_transactions(TAKE_OVER_PATIENCE).map_err(failed)?;
    let sight = |records| Sight::open(cluster.client(&id), records, &acks.voice).map_err(failed);
    let (sight, all) = (sight(Records::Committed)?, sight(Records::All)?);
    let undo =
        |places: &[Place]| undo_left(&client, (&sight, &all), places, PATIENCE).map_err(failed);
    // The checkpoint is read up to the first transaction that is open.
    undo(&[(cluster.checkpoint_topic(name), 0)])?;
    let saved = checkpoint::read(cluster, name)?;
    undo(&watched_topics::places(&saved.own)?)?;
    Ok((Taken { client, acks, sight: Some(sight) }, saved))
}

fn config(cluster: &Cluster, name: &str) -> ClientConfig {
    let record_bytes = cluster.max_record_bytes();
    let queued_kib = MAX_QUEUED_BYTES.max(record_bytes).div_ceil(1024).to_string();
    let record_bytes = record_bytes.to_string();
    let sizes =
        [("queue.buffering.max.kbytes", &*queued_kib), ("message.max.bytes", &*record_bytes)];
    let mut client = cluster.client_with(name, &[DEFAULTS, &sizes].concat());
    client.set("acks", "all").set("enable.idempotence", "true");
    client.set("batch.size", cluster.batch_bytes.load(Ordering::Relaxed).max(1).to_string());
    if cluster.config.guarantee == Guarantee::ExactlyOnce {
        client.set("transactional.id", cluster.producer_id(name));
    }
    client
}
