//! A consumer over Kafka: what the owner of a member sees.
//!
//! The member itself reads on a thread of its own (`member`), and sends batches through a short
//! channel. One batch lies in the channel, one is being filled, and one is with the owner.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::ready,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, Sender as Working},
    },
    thread,
    time::Duration,
};

use async_trait::async_trait;
use rdkafka::{
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
};
use tokio::{
    sync::{mpsc as inbox, oneshot},
    task::spawn_blocking,
};

use super::{
    Cluster, begin,
    client::Voice,
    control,
    desk::{Desk, Out},
    kept::KafkaTable,
    member::{self, Command, MemberCallbacks},
    offsets::Offsets,
    saving,
};
use crate::{
    Committing, Consumer, Delivery, Error, KeptChange, LookingUp, Partition, Polled, Result,
    Subscription,
};

/// How many batches wait for the owner.
const MAX_WAITING: usize = 1;

/// How long leaving the group may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct KafkaConsumer {
    inbox: inbox::Receiver<Out>,
    commands: mpsc::Sender<Command>,
    reading: thread::Thread,
    left: oneshot::Receiver<()>,
    /// Whether no place is to be kept for us.
    leaves: Arc<AtomicBool>,
    member: Weak<BaseConsumer<MemberCallbacks>>,
    address: String,
    table: Option<Arc<KafkaTable>>,
    /// What the owner was told to be its own, with the generation of each.
    owned: HashMap<Partition, u64>,
    /// Dropped when the work on partitions that are given up is done.
    revoking: Option<(Vec<Partition>, Working<()>)>,
    paused: HashSet<Partition>,
    /// What had come for partitions before they were paused.
    held: HashMap<Partition, HeldPartition>,
    ready: VecDeque<Polled>,
    over: Option<Error>,
}

#[derive(Default)]
struct HeldPartition {
    deliveries: Vec<Delivery>,
    scanned: Option<u64>,
}

impl KafkaConsumer {
    /// Resolves where the group begins, if it is new, and joins it.
    pub(super) async fn join(cluster: &Cluster, wanted: Subscription) -> Result<Self> {
        control::make_topic(cluster).await?;
        let cluster = cluster.clone();
        let joined = spawn_blocking(move || {
            let offsets = Offsets::open(&cluster, &wanted.group)?;
            begin::begin(&offsets, &wanted)?;
            Self::start(&cluster, wanted, offsets)
        });
        joined.await.map_err(|panic| Error::Internal(panic.to_string()))?
    }

    fn start(cluster: &Cluster, wanted: Subscription, offsets: Offsets) -> Result<Self> {
        let (send, inbox) = inbox::channel(MAX_WAITING);
        let (commands, obeyed) = mpsc::channel();
        let (leave, left) = oneshot::channel();
        let voice = Voice::default();
        let instance = wanted.instance.as_deref();
        let table = wanted.table.clone().map(|table| KafkaTable::new(cluster, table, instance));
        let config = settings(cluster, &wanted);
        let member =
            MemberCallbacks { wanted, offsets, desk: Desk::new(send), voice: voice.clone() };
        let consumer = BaseConsumer::from_config_and_context(&config, member)
            .map_err(|error| cluster.error("cannot join the group", &error, &voice))?;
        let consumer = Arc::new(consumer);
        let leaves = Arc::new(AtomicBool::new(false));
        let for_good = Arc::clone(&leaves);
        let member = Arc::downgrade(&consumer);
        let reading = thread::Builder::new().name("kafka-consumer".to_owned()).spawn(move || {
            member::run(&consumer, &obeyed);
            if for_good.load(Relaxed) {
                member::leave(&consumer);
            }
            // Leaves the group, which takes a while.
            drop(consumer);
            let _ = leave.send(());
        });
        let reading = reading.map_err(|error| Error::Internal(format!("no thread: {error}")))?;
        Ok(Self {
            inbox,
            commands,
            reading: reading.thread().clone(),
            left,
            leaves,
            member,
            address: cluster.config.address.clone(),
            table: table.map(Arc::new),
            owned: HashMap::new(),
            revoking: None,
            paused: HashSet::new(),
            held: HashMap::new(),
            ready: VecDeque::new(),
            over: None,
        })
    }

    /// The work on partitions that are given up has ended.
    fn finish_revoking(&mut self) {
        if let Some((partitions, _working)) = self.revoking.take() {
            self.forget(&partitions);
        }
    }

    fn take(&mut self, out: Out) -> Result<Option<Polled>> {
        match out {
            Out::Assigned(assigned) => {
                let generations =
                    assigned.iter().map(|(one, generation)| (one.partition.clone(), *generation));
                self.owned.extend(generations);
                let assigned = assigned.into_iter().map(|(assignment, _)| assignment).collect();
                Ok(Some(Polled::Assigned(assigned)))
            }
            Out::Revoking(partitions, working) => {
                self.drop_held(&partitions);
                self.revoking = Some((partitions.clone(), working));
                Ok(Some(Polled::Revoking(partitions)))
            }
            Out::Polled(Polled::Lost(partitions)) => {
                self.forget(&partitions);
                Ok(Some(Polled::Lost(partitions)))
            }
            Out::Polled(polled) => Ok(self.hold(polled)),
            Out::Trouble(error) => Err(error),
            Out::Failed(error) => {
                self.over = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Keeps back what is for paused partitions.
    fn hold(&mut self, polled: Polled) -> Option<Polled> {
        let Polled::Records { mut deliveries, mut scanned } = polled else { return Some(polled) };
        // It says that the brokers answer again.
        let is_news = deliveries.is_empty() && scanned.is_empty();
        if !self.paused.is_empty() {
            let (paused, held) = (&self.paused, &mut self.held);
            let kept = deliveries.extract_if(.., |one| paused.contains(&one.partition));
            for delivery in kept {
                held.entry(delivery.partition.clone()).or_default().deliveries.push(delivery);
            }
            for (partition, offset) in scanned.extract_if(.., |(one, _)| paused.contains(one)) {
                held.entry(partition).or_default().scanned = Some(offset);
            }
        }
        let is_empty = deliveries.is_empty() && scanned.is_empty();
        (is_news || !is_empty).then_some(Polled::Records { deliveries, scanned })
    }

    /// Throws away what is no longer to be delivered.
    fn drop_held(&mut self, partitions: &[Partition]) {
        self.held.retain(|partition, _| !partitions.contains(partition));
        for polled in &mut self.ready {
            if let Polled::Records { deliveries, scanned } = polled {
                deliveries.retain(|delivery| !partitions.contains(&delivery.partition));
                scanned.retain(|(partition, _)| !partitions.contains(partition));
            }
        }
    }

    fn forget(&mut self, partitions: &[Partition]) {
        self.drop_held(partitions);
        for partition in partitions {
            self.owned.remove(partition);
            self.paused.remove(partition);
        }
    }
}

/// What the promises of a consumer rest on.
fn settings(cluster: &Cluster, wanted: &Subscription) -> rdkafka::ClientConfig {
    // A larger record still comes: it is then the only one of its answer.
    let defaults = [
        ("queued.max.messages.kbytes", "4096"),
        ("fetch.max.bytes", "4194304"),
        // After a full queue the library waits this long: a second, if it is not told.
        ("fetch.queue.backoff.ms", "10"),
        ("reconnect.backoff.max.ms", "1000"),
        ("session.timeout.ms", "10000"),
        ("heartbeat.interval.ms", "300"),
    ];
    let mut config = cluster.client_with(&wanted.client, &defaults);
    config
        .set("group.id", &wanted.group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("allow.auto.create.topics", "false")
        .set("statistics.interval.ms", "1000");
    if let Some(instance) = &wanted.instance {
        // Who comes back under a name is given what it had, whatever it asks for now (KIP-345): so
        // one that asks for other topics is another member.
        let name = format!("{instance}.{}", wanted.topics.digest());
        config.set("group.instance.id", name);
    }
    config
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn poll(&mut self) -> Result<Polled> {
        self.finish_revoking();
        loop {
            while let Some(polled) = self.ready.pop_front() {
                if let Some(polled) = self.hold(polled) {
                    return Ok(polled);
                }
            }
            if let Some(error) = &self.over {
                return Err(error.clone());
            }
            let Some(out) = self.inbox.recv().await else {
                return Err(Error::Internal("the reading thread is gone".to_owned()));
            };
            self.reading.unpark();
            if let Some(polled) = self.take(out)? {
                return Ok(polled);
            }
        }
    }

    fn commit_with(
        &mut self,
        offsets: &[(Partition, u64)],
        changes: Vec<KeptChange>,
    ) -> Committing {
        let is_changed = |partition: &Partition| changes.iter().any(|c| c.partition == *partition);
        let (mut with_changes, mut alone) = (Vec::new(), Vec::with_capacity(offsets.len()));
        for (partition, offset) in offsets {
            let Some(generation) = self.owned.get(partition) else {
                return Box::pin(ready(Err(Error::PartitionLost(partition.clone()))));
            };
            let list = if is_changed(partition) { &mut with_changes } else { &mut alone };
            list.push((partition.clone(), *offset, *generation));
        }
        let (member, address) = (Weak::clone(&self.member), self.address.clone());
        let table = self.table.clone().filter(|_| !changes.is_empty());
        Box::pin(async move {
            if let Some(table) = &table {
                table.make().await?;
            }
            let done = spawn_blocking(move || {
                if let Some(table) = table {
                    saving::commit_changes(&member, &with_changes, (&table, changes))?;
                }
                saving::commit(&member, &alone, &address)
            });
            done.await.map_err(|panic| Error::Internal(panic.to_string()))?
        })
    }

    fn kept(&mut self, partitions: &[Partition]) -> LookingUp {
        let Some(table) = self.table.clone() else { return Box::pin(ready(Ok(Vec::new()))) };
        let (member, partitions) = (Weak::clone(&self.member), partitions.to_vec());
        Box::pin(async move {
            let found = spawn_blocking(move || {
                let Some(member) = member.upgrade() else {
                    return Err(Error::Internal("the reading thread is gone".to_owned()));
                };
                table.entries(&member.context().offsets, &partitions)
            });
            let found = found.await;
            found.map_err(|panic| Error::Internal(panic.to_string()))?
        })
    }

    fn pause(&mut self, partitions: &[Partition]) {
        self.paused.extend(partitions.iter().cloned());
        // A thread that is gone has nothing to pause.
        let _ = self.commands.send(Command::Pause(partitions.to_vec()));
    }

    fn resume(&mut self, partitions: &[Partition]) {
        let (mut deliveries, mut scanned) = (Vec::new(), Vec::new());
        for partition in partitions {
            self.paused.remove(partition);
            if let Some(held) = self.held.remove(partition) {
                deliveries.extend(held.deliveries);
                scanned.extend(held.scanned.map(|offset| (partition.clone(), offset)));
            }
        }
        if !deliveries.is_empty() || !scanned.is_empty() {
            self.ready.push_back(Polled::Records { deliveries, scanned });
        }
        let _ = self.commands.send(Command::Resume(partitions.to_vec()));
    }

    fn topics_are(&mut self, topics: u64) {
        let _ = self.commands.send(Command::Topics(topics));
    }

    async fn close(self: Box<Self>) {
        let Self { inbox, revoking, left, reading, .. } = *self;
        drop((inbox, revoking));
        reading.unpark();
        if tokio::time::timeout(CLOSE_PATIENCE, left).await.is_err() {
            tracing::warn!(
                "leaving the group takes long; the brokers will notice that we are gone"
            );
        }
    }

    async fn leave(self: Box<Self>) {
        self.leaves.store(true, Relaxed);
        self.close().await;
    }
}
