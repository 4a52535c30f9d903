//! The bus in memory, for tests: several partitions to a topic, groups that hand partitions over
//! as Kafka does, and nothing durable.

mod control;
mod group;
mod tail;

use std::{
    collections::{BTreeMap, HashMap},
    future::ready,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    Assignment, Batch, Book, Bus, Checkpoint, CheckpointChange, Committing, Consumer, Control,
    ControlChange, Delivery, Error, Kept, KeptChange, KnownGroup, LookingUp, Partition, Polled,
    Producer, Progress, Record, Reset, ResetTo, Result, Room, Standing, Start, Subscription,
    TopicFilter, book, kept,
};
use control::MemoryControl;
use group::{MemberStep, MemoryGroup};
use tail::MemoryTail;

/// How many records one poll gives at most.
const MAX_POLLED_RECORDS: usize = 500;

/// A bus in memory. Clones are the same bus.
#[derive(Clone, Debug)]
pub struct MemoryBus {
    shared: Arc<SharedBus>,
}

#[derive(Debug)]
struct SharedBus {
    partitions: u32,
    state: Mutex<MemoryState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct MemoryState {
    records: BTreeMap<Partition, Vec<StoredRecord>>,
    groups: HashMap<String, MemoryGroup>,
    producers: HashMap<String, Leader>,
    control: Checkpoint,
    /// The entries of each group's table, by their names.
    tables: HashMap<String, Checkpoint>,
    next_member: u64,
}

#[derive(Debug)]
struct StoredRecord {
    at: SystemTime,
    delivery: Delivery,
}

#[derive(Debug, Default)]
struct Leader {
    epoch: u64,
    lives: bool,
    checkpoint: Checkpoint,
}

impl MemoryBus {
    /// An empty bus whose topics have so many partitions.
    pub fn new(partitions: u32) -> Self {
        let shared = SharedBus { partitions, state: Mutex::default(), changed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Takes all partitions from the members that call themselves `client`, as a bus does that has
    /// not heard from them: their next poll gives [`Polled::Lost`], and after it they join again.
    pub fn expel(&self, client: &str) {
        for group in self.shared.lock().groups.values_mut() {
            group.expel(client);
        }
        self.shared.changed.notify_waiters();
    }
}

impl SharedBus {
    fn lock(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryState {
    fn append(&mut self, record: Record<'_>, partition: Partition) {
        let records = self.records.entry(partition.clone()).or_default();
        let delivery = Delivery {
            offset: records.len() as u64,
            topic: Arc::clone(&partition.topic),
            partition,
            key: Bytes::copy_from_slice(record.key),
            value: Bytes::copy_from_slice(record.value),
            headers: record.headers.into(),
        };
        records.push(StoredRecord { at: SystemTime::now(), delivery });
    }

    fn kept(&self, table: &str) -> Vec<Kept> {
        let entries = self.tables.get(table).into_iter().flatten();
        entries.filter_map(|(name, value)| kept::entry(name, value.clone())).collect()
    }

    fn end(&self, partition: &Partition) -> u64 {
        self.records.get(partition).map_or(0, |records| records.len() as u64)
    }

    fn resolve(&self, partition: &Partition, start: Start) -> u64 {
        match start {
            Start::Earliest => 0,
            Start::Latest => self.end(partition),
            Start::Time(time) => self
                .records
                .get(partition)
                .map_or(0, |records| records.partition_point(|record| record.at < time) as u64),
        }
    }

    fn place(&self, partition: &Partition, to: ResetTo) -> u64 {
        match to {
            ResetTo::Earliest => self.resolve(partition, Start::Earliest),
            ResetTo::Latest => self.resolve(partition, Start::Latest),
            ResetTo::Time(time) => self.resolve(partition, Start::Time(time)),
            ResetTo::Offset(offset) => offset.min(self.end(partition)),
        }
    }

    /// The partitions of all topics that pass.
    fn matching(&self, topics: &TopicFilter) -> Vec<Partition> {
        let passes = topics.matcher();
        self.records.keys().filter(|partition| passes(&partition.topic)).cloned().collect()
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn lead(
        &self,
        name: &str,
        standing: &Standing,
    ) -> Result<(Box<dyn Producer>, Checkpoint)> {
        loop {
            standing.hear();
            let changed = self.shared.changed.notified();
            {
                let mut state = self.shared.lock();
                let leader = state.producers.entry(name.to_owned()).or_default();
                if !leader.lives {
                    leader.lives = true;
                    leader.epoch += 1;
                    let producer = MemoryProducer {
                        shared: Arc::clone(&self.shared),
                        name: name.to_owned(),
                        epoch: leader.epoch,
                        book: None,
                    };
                    return Ok((Box::new(producer), leader.checkpoint.clone()));
                }
            }
            changed.await;
        }
    }

    async fn checkpoint(&self, name: &str) -> Result<Checkpoint> {
        let state = self.shared.lock();
        Ok(state.producers.get(name).map(|leader| leader.checkpoint.clone()).unwrap_or_default())
    }

    async fn producers(&self) -> Result<Vec<String>> {
        Ok(self.shared.lock().producers.keys().cloned().collect())
    }

    async fn put_control(&self, entries: &[ControlChange]) -> Result<()> {
        change(&mut self.shared.lock().control, entries);
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn control(&self) -> Result<Box<dyn Control>> {
        Ok(Box::new(MemoryControl::new(&self.shared)))
    }

    async fn consumer(&self, subscription: Subscription) -> Result<Box<dyn Consumer>> {
        let mut state = self.shared.lock();
        if !state.groups.contains_key(&subscription.group) {
            let present = state.matching(&subscription.topics);
            let places = present.into_iter().map(|partition| {
                let place = state.resolve(&partition, subscription.start);
                (partition, place)
            });
            let group = MemoryGroup::new(places.collect());
            state.groups.insert(subscription.group.clone(), group);
        }
        let member = state.next_member;
        state.next_member += 1;
        if let Some(group) = state.groups.get_mut(&subscription.group) {
            group.join(member, &subscription.client);
        }
        self.shared.changed.notify_waiters();
        Ok(Box::new(MemoryConsumer { shared: Arc::clone(&self.shared), subscription, member }))
    }

    async fn kept(&self, table: &str) -> Result<Vec<Kept>> {
        Ok(self.shared.lock().kept(table))
    }

    async fn clear_kept(&self, table: &str) -> Result<()> {
        self.shared.lock().tables.remove(table);
        Ok(())
    }

    async fn progress(&self, group: &str, topics: &TopicFilter) -> Result<Vec<Progress>> {
        let state = self.shared.lock();
        let group = state.groups.get(group);
        let progress = state.matching(topics).into_iter().map(|partition| Progress {
            committed: group.and_then(|group| group.committed(&partition)),
            end: state.end(&partition),
            high: state.end(&partition),
            partition,
        });
        Ok(progress.collect())
    }

    async fn plan_reset(
        &self,
        group: &str,
        topics: &TopicFilter,
        to: ResetTo,
    ) -> Result<Vec<Reset>> {
        let state = self.shared.lock();
        let group = state.groups.get(group);
        let resets = state.matching(topics).into_iter().map(|partition| Reset {
            from: group.and_then(|group| group.committed(&partition)),
            to: state.place(&partition, to),
            partition,
        });
        Ok(resets.collect())
    }

    async fn reset(&self, group: &str, resets: &[Reset]) -> Result<()> {
        let mut state = self.shared.lock();
        let places = state.groups.entry(group.to_owned()).or_default();
        if places.reset(resets) {
            return Ok(());
        }
        Err(Error::GroupActive { group: group.to_owned() })
    }

    async fn groups(&self) -> Result<Vec<KnownGroup>> {
        let state = self.shared.lock();
        let known = state.groups.iter().map(|(name, group)| KnownGroup {
            name: name.clone(),
            members: group.clients(),
            waiting: 0,
            held_bytes: None,
        });
        Ok(known.collect())
    }

    async fn forget_group(&self, group: &str) -> Result<()> {
        let mut state = self.shared.lock();
        match state.groups.get(group).map(|known| known.clients().is_empty()) {
            Some(true) => drop(state.groups.remove(group)),
            Some(false) => return Err(Error::GroupActive { group: group.to_owned() }),
            None => return Err(Error::Rejected(format!("there is no group {group}"))),
        }
        Ok(())
    }

    async fn room(&self) -> Result<Option<Room>> {
        Ok(None)
    }

    async fn tail(&self, topics: &TopicFilter, from: ResetTo) -> Result<Box<dyn Consumer>> {
        let topics = topics.clone();
        Ok(Box::new(MemoryTail::new(&self.shared, topics, from)))
    }

    async fn reread(
        &self,
        partition: &Partition,
        _: &TopicFilter,
        from: u64,
    ) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(MemoryTail::of_one(&self.shared, partition.clone(), from)))
    }
}

/// Puts and removes values.
fn change(table: &mut Checkpoint, changes: &[(String, Option<Bytes>)]) {
    for (key, value) in changes {
        match value {
            Some(value) => table.insert(key.clone(), value.clone()),
            None => table.remove(key),
        };
    }
}

struct MemoryProducer {
    shared: Arc<SharedBus>,
    name: String,
    epoch: u64,
    book: Option<Book>,
}

/// The number of the partition that a record belongs to.
fn partition_of(record: &Record<'_>, partitions: u32) -> u32 {
    let mut hasher = DefaultHasher::new();
    record.key.hash(&mut hasher);
    u32::try_from(hasher.finish() % u64::from(partitions)).unwrap_or_default()
}

#[async_trait]
impl Producer for MemoryProducer {
    async fn append(&mut self, batch: &Batch, checkpoint: &[CheckpointChange]) -> Result<()> {
        let partition = |record: &Record<'_>| partition_of(record, self.shared.partitions);
        let (mut marks, mut changes) = (Vec::new(), Vec::new());
        if let Some(book) = &mut self.book {
            marks = book.enter_all(batch, partition);
            changes = book.take_changes();
        }
        let mut state = self.shared.lock();
        for record in book::marked(batch, &marks) {
            for number in 0..self.shared.partitions {
                let partition = Partition { topic: record.topic.into(), number };
                state.records.entry(partition).or_default();
            }
            let number = partition(&record);
            state.append(record, Partition { topic: record.topic.into(), number });
        }
        let leader = state.producers.entry(self.name.clone()).or_default();
        change(&mut leader.checkpoint, &changes);
        change(&mut leader.checkpoint, checkpoint);
        self.shared.changed.notify_waiters();
        Ok(())
    }

    fn keep_book(&mut self, book: Book) {
        self.book = Some(book);
    }

    fn take_booked(&mut self) -> Vec<(String, u64)> {
        self.book.as_mut().map(Book::take_fresh).unwrap_or_default()
    }
}

impl Drop for MemoryProducer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(leader) = state.producers.get_mut(&self.name)
            && leader.epoch == self.epoch
        {
            leader.lives = false;
        }
        self.shared.changed.notify_waiters();
    }
}

struct MemoryConsumer {
    shared: Arc<SharedBus>,
    subscription: Subscription,
    member: u64,
}

impl MemoryConsumer {
    /// What a poll can give at once.
    fn step(&self) -> Option<Polled> {
        let mut state = self.shared.lock();
        let partitions = state.matching(&self.subscription.topics);
        let group = state.groups.get_mut(&self.subscription.group)?;
        match group.step(self.member, &partitions) {
            MemberStep::Nothing => self.records(&mut state),
            MemberStep::Released => {
                self.shared.changed.notify_waiters();
                self.records(&mut state)
            }
            MemberStep::Assigned(assigned) => {
                let assignments = assigned
                    .into_iter()
                    .map(|(partition, position)| Assignment { partition, position });
                Some(Polled::Assigned(assignments.collect()))
            }
            MemberStep::Revoking(partitions) => Some(Polled::Revoking(partitions)),
            MemberStep::Lost(partitions) => Some(Polled::Lost(partitions)),
        }
    }

    fn records(&self, state: &mut MemoryState) -> Option<Polled> {
        let group = state.groups.get_mut(&self.subscription.group)?;
        let mut deliveries = Vec::new();
        for (partition, position) in group.readable(self.member) {
            let records = state.records.get(partition).map_or(&[][..], Vec::as_slice);
            let from = usize::try_from(*position).unwrap_or(usize::MAX).min(records.len());
            let room = MAX_POLLED_RECORDS - deliveries.len();
            let fresh = records[from..].iter().take(room);
            deliveries.extend(fresh.map(|stored| stored.delivery.clone()));
            *position += (records.len() - from).min(room) as u64;
        }
        let scanned = Vec::new();
        (!deliveries.is_empty()).then_some(Polled::Records { deliveries, scanned })
    }

    fn with_group<T: Default>(&self, act: impl FnOnce(&mut MemoryGroup) -> T) -> T {
        let mut state = self.shared.lock();
        let answer = state.groups.get_mut(&self.subscription.group).map(act).unwrap_or_default();
        self.shared.changed.notify_waiters();
        answer
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn poll(&mut self) -> Result<Polled> {
        loop {
            let changed = self.shared.changed.notified();
            if let Some(polled) = self.step() {
                return Ok(polled);
            }
            changed.await;
        }
    }

    fn commit_with(
        &mut self,
        offsets: &[(Partition, u64)],
        changes: Vec<KeptChange>,
    ) -> Committing {
        let mut state = self.shared.lock();
        let group = state.groups.get_mut(&self.subscription.group);
        let lost = group.and_then(|group| group.commit(self.member, offsets));
        if let (None, Some(table)) = (&lost, &self.subscription.table) {
            let entries = state.tables.entry(table.name.clone()).or_default();
            change(entries, &kept::named(changes));
        }
        drop(state);
        self.shared.changed.notify_waiters();
        Box::pin(ready(lost.map_or(Ok(()), |partition| Err(Error::PartitionLost(partition)))))
    }

    fn kept(&mut self, partitions: &[Partition]) -> LookingUp {
        let table = self.subscription.table.as_ref();
        let mut kept = table.map_or_else(Vec::new, |table| self.shared.lock().kept(&table.name));
        kept.retain(|entry| partitions.contains(&entry.partition));
        Box::pin(ready(Ok(kept)))
    }

    fn pause(&mut self, partitions: &[Partition]) {
        self.with_group(|group| group.pause(self.member, partitions));
    }

    fn resume(&mut self, partitions: &[Partition]) {
        self.with_group(|group| group.resume(self.member, partitions));
    }

    async fn close(self: Box<Self>) {}
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.with_group(|group| group.leave(self.member));
    }
}
