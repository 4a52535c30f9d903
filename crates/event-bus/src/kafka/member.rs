//! A member of a group, on a thread of its own: the library runs its callbacks inside of `poll`.
//!
//! The thread polls, and puts what comes into a short queue for the consumer. While the queue is
//! full the thread does not poll, so memory stays bounded. When the consumer is gone, the thread
//! leaves the group and ends.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{self, TryRecvError},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
};

use super::{
    begin::{self, PartitionStart},
    client::{self, Voice},
    desk::{Desk, Out, RecordFate},
    looks::{Looks, TopicsSeen},
    offsets::{self, Offsets, number},
    scan,
    topic_id::Described,
};
use crate::{Error, Partition, Result, Subscription};

/// How long a call into the library waits for a record: commands are seen after it.
const POLL: Duration = Duration::from_millis(50);

/// How soon the thread looks at a full queue again, where nobody says that it has room.
pub(super) const STEP: Duration = Duration::from_millis(10);

/// How long giving up all partitions may take when the member leaves for good.
const LEAVE_PATIENCE: Duration = Duration::from_secs(4);

/// How long the brokers may take to list the topics.
const LIST_PATIENCE: Duration = Duration::from_secs(10);

/// How often the member asks what an offset error means, until it gets an answer.
const EXPLAIN_EVERY: Duration = Duration::from_secs(1);

/// How often a member asks again for what nobody was given.
const MAX_CLAIMS: u32 = 3;

/// What the consumer wants of its thread.
pub(super) enum Command {
    Pause(Vec<Partition>),
    Resume(Vec<Partition>),
    /// The number that stands for the topics, from somebody who looks at them for all members.
    Topics(u64),
}

/// What a member has joined its group for.
#[derive(Default)]
struct JoinedTopics {
    topics: Vec<String>,
    /// Some member has each of their partitions: nobody needs to look after that.
    is_settled: bool,
    /// How often it asked again, because some were not given.
    claims: u32,
}

/// What the library calls back.
pub(super) struct MemberCallbacks {
    pub(super) wanted: Subscription,
    pub(super) offsets: Offsets,
    pub(super) desk: Desk,
    pub(super) voice: Voice,
}

impl ClientContext for MemberCallbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.desk.lock().events += 1;
        self.voice.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.desk.lock().events += 1;
        self.voice.error(error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let ends = scan::ends(statistics);
        let mut desk = self.desk.lock();
        desk.events += 1;
        desk.learn(&ends);
    }
}

impl MemberCallbacks {
    /// Looks which topics there are now, and whether those that we read are still the same.
    fn look(&self, consumer: &BaseConsumer<Self>, joined: &mut JoinedTopics) -> Result<TopicsSeen> {
        // Asked by the member itself: so the library notices topics that have grown.
        let listed = consumer.fetch_metadata(None, LIST_PATIENCE);
        let topics = self.offsets.topics_of(&self.wanted.topics, listed)?;
        let ids = self.desk.lock().ids();
        let known: BTreeMap<&str, &str> = ids.iter().map(|(name, id)| (&**name, &**id)).collect();
        for topic in begin::verify(&self.wanted.group, &known, &topics)? {
            if joined.topics.iter().any(|name| name == topic) {
                tracing::warn!(group = self.wanted.group, topic, "the topic was deleted");
            }
        }
        let names: Vec<String> = topics.iter().map(|topic| topic.topic.clone()).collect();
        if names.iter().any(|name| self.desk.lock().misses(name)) {
            // The broker that we asked had not heard of it yet: joins again with the next look.
            consumer.unsubscribe();
            joined.topics.clear();
            return Ok(TopicsSeen::Open);
        }
        if names == joined.topics {
            self.claim(consumer, &topics, joined)?;
        } else {
            self.subscribe(consumer, &names)?;
            joined.is_settled = self.wanted.instance.is_none() && !names.is_empty();
            joined.topics = names;
        }
        Ok(match (topics.is_empty(), joined.is_settled) {
            (true, _) => TopicsSeen::Nothing,
            (false, true) => TopicsSeen::Settled,
            (false, false) => TopicsSeen::Open,
        })
    }

    /// Asks for partitions that nobody in the group was given.
    ///
    /// A member that comes back under its instance's name gets the partitions that it had, even if
    /// there are more topics or partitions now: the coordinator does not look at what the member
    /// wants (KIP-345). The coordinator does look when that changes. So the member first joins
    /// without these topics, and joins with them at the next look.
    fn claim(
        &self,
        consumer: &BaseConsumer<Self>,
        topics: &[Described],
        joined: &mut JoinedTopics,
    ) -> Result<()> {
        if joined.is_settled || topics.is_empty() {
            return Ok(());
        }
        let Some(given) = self.offsets.given()? else { return Ok(()) };
        let mut left_out = offsets::partitions(topics);
        left_out.retain(|partition| !given.contains(partition));
        let (group, count) = (&self.wanted.group, left_out.len());
        if left_out.is_empty() || joined.claims == MAX_CLAIMS {
            (joined.is_settled, joined.claims) = (true, 0);
            if count > 0 {
                tracing::warn!(group, count, "some partitions are given to no member");
            }
            return Ok(());
        }
        joined.claims += 1;
        joined.topics.retain(|name| left_out.iter().all(|partition| *partition.topic != **name));
        tracing::info!(group, count, "joins again: some partitions were given to no member");
        self.subscribe(consumer, &joined.topics)
    }

    fn subscribe(&self, consumer: &BaseConsumer<Self>, topics: &[String]) -> Result<()> {
        if topics.is_empty() {
            consumer.unsubscribe();
            return Ok(());
        }
        let list: Vec<&str> = topics.iter().map(String::as_str).collect();
        let done = consumer.subscribe(&list);
        done.map_err(|error| self.offsets.cluster.error("cannot join", &error, &self.voice))
    }

    /// Another process took our place in the group.
    pub(super) fn fenced(&self) -> Error {
        Error::Fenced(format!(
            "the place of {} in group {}",
            self.wanted.instance.as_deref().unwrap_or_default(),
            self.wanted.group
        ))
    }

    /// What an error from `poll` means, if it matters.
    fn judge(&self, error: &KafkaError) -> Result<()> {
        let Some(code) = error.rdkafka_error_code() else { return Ok(()) };
        let address = &self.offsets.cluster.config.address;
        match code {
            Code::FencedInstanceId => Err(self.fenced()),
            Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => {
                self.desk.lock().is_in_doubt = true;
                Ok(())
            }
            Code::AllBrokersDown => {
                Err(self.offsets.cluster.error("cannot read", error, &self.voice))
            }
            // The library does not say which.
            Code::TopicAuthorizationFailed => {
                let topics = self.desk.lock().ids();
                let names: Vec<&str> = topics.iter().map(|(name, _)| &**name).collect();
                let reason = format!("cannot read {}: {code}", client::listed(&names));
                Err(client::meaning(code, reason, address))
            }
            code => {
                let doing = format!("cannot join the group {}", self.wanted.group);
                if let Some(refusal) = client::refusal(&doing, error, address) {
                    return Err(refusal);
                }
                tracing::debug!(group = self.wanted.group, %code, "librdkafka tries again");
                Ok(())
            }
        }
    }

    /// Finds out which offset is gone: the library does not say it, and does not read on by itself.
    /// If no offset is gone, all partitions are read on.
    fn explain(&self, consumer: &BaseConsumer<Self>) -> Result<()> {
        let entries = self.desk.lock().entries();
        let ids: BTreeMap<&str, &str> =
            entries.iter().map(|entry| (&*entry.partition.topic, &*entry.note.id)).collect();
        let names: Vec<&str> = ids.keys().copied().collect();
        let there = self.offsets.describe(&names)?;
        let gone = begin::verify(&self.wanted.group, &ids, &there)?;
        let is_there = |entry: &PartitionStart| !gone.contains(&&*entry.partition.topic);
        let entries: Vec<PartitionStart> =
            entries.iter().filter(|entry| is_there(entry)).cloned().collect();
        let firsts = begin::check(&self.offsets, &entries)?;
        let partitions = entries.into_iter().map(|entry| entry.partition).zip(firsts);
        let mut desk = self.desk.lock();
        let again = desk.again(&partitions.collect::<Vec<_>>());
        desk.is_in_doubt = false;
        drop(desk);
        self.read_again(consumer, &again)
    }

    fn read_again(&self, consumer: &BaseConsumer<Self>, again: &[(Partition, u64)]) -> Result<()> {
        if again.is_empty() {
            return Ok(());
        }
        tracing::info!(group = self.wanted.group, count = again.len(), "reads on from its offsets");
        let mut list = TopicPartitionList::with_capacity(again.len());
        for (partition, offset) in again {
            let offset = rdkafka::Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
            // Only an offset below zero is refused.
            let _ = list.add_partition_offset(&partition.topic, number(partition), offset);
        }
        let done = consumer.incremental_unassign(&list);
        let done = done.and_then(|()| consumer.incremental_assign(&list));
        done.map_err(|error| self.offsets.cluster.error("cannot read on", &error, &self.voice))
    }
}

/// Reads until the consumer is gone, or nothing can be read any more.
pub(super) fn run(
    consumer: &Arc<BaseConsumer<MemberCallbacks>>,
    commands: &mpsc::Receiver<Command>,
) {
    let member = Arc::clone(consumer.context());
    let (mut joined, mut looks) = (JoinedTopics::default(), Looks::default());
    let mut next_explain = Instant::now();
    while !member.desk.is_deserted() {
        match commands.try_recv() {
            Ok(Command::Topics(topics)) => {
                looks.told(topics, Instant::now());
                continue;
            }
            Ok(Command::Pause(partitions)) => {
                pause(consumer, &partitions);
                continue;
            }
            Ok(Command::Resume(partitions)) => {
                resume(consumer, &partitions);
                continue;
            }
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {}
        }
        if looks.are_due(Instant::now()) {
            let looked = member.look(consumer, &mut joined);
            let seen = *looked.as_ref().unwrap_or(&TopicsSeen::Open);
            match looked {
                Ok(_) => member.desk.lock().well(),
                Err(_) => note(&member, looked.map(drop)),
            }
            looks.looked(seen, Instant::now());
        }
        if member.desk.lock().is_troubled {
            looks.soon(Instant::now());
        }
        if member.desk.lock().is_in_doubt && Instant::now() >= next_explain {
            note(&member, member.explain(consumer));
            next_explain = Instant::now() + EXPLAIN_EVERY;
        }
        if let Some(refusal) =
            client::heard_refusal(&member.voice, &member.offsets.cluster.config.address)
        {
            note(&member, Err(refusal));
        }
        if !member.desk.flush() {
            std::thread::park_timeout(STEP);
        } else if member.desk.lock().has_failed() {
            return;
        } else {
            fill(consumer, &member);
        }
    }
}

/// Gives up all partitions and the place in the group. The library says that it leaves only when a
/// member with a name of its own unsubscribes, and not when such a member is closed (KIP-345).
pub(super) fn leave(consumer: &BaseConsumer<MemberCallbacks>) {
    consumer.unsubscribe();
    let deadline = Instant::now() + LEAVE_PATIENCE;
    // The library leaves when it has told us, in a poll, that the partitions are gone.
    while Instant::now() < deadline {
        let _ = consumer.poll(POLL);
        if consumer.assignment().is_ok_and(|list| list.count() == 0) {
            break;
        }
    }
    let _ = consumer.poll(POLL);
}

/// Polls until something comes, and then takes all that is there already.
fn fill(consumer: &BaseConsumer<MemberCallbacks>, member: &MemberCallbacks) {
    let mut wait = POLL;
    loop {
        let before = member.desk.lock().events;
        let polled = consumer.poll(wait);
        wait = Duration::ZERO;
        match polled {
            Some(Ok(message)) => {
                let taken = member.desk.lock().take(&message);
                match taken {
                    RecordFate::More => continue,
                    RecordFate::Full => {}
                    RecordFate::Another(partition) => {
                        let group = member.wanted.group.clone();
                        note(member, Err(Error::Truncated { group, partition }));
                    }
                }
            }
            Some(Err(error)) => note(member, member.judge(&error)),
            None => {
                let mut desk = member.desk.lock();
                // Other events came in this call, so there may still be records.
                if desk.events == before {
                    desk.scanned();
                }
            }
        }
        break;
    }
    member.desk.lock().close_batch();
    member.desk.flush();
}

/// Tells the consumer what went wrong. What does not end by itself ends the member.
fn note(member: &MemberCallbacks, result: Result<()>) {
    let Err(error) = result else { return };
    let mut desk = member.desk.lock();
    if error.is_transient() { desk.put(Out::Trouble(error)) } else { desk.fail(error) }
}

fn pause(consumer: &BaseConsumer<MemberCallbacks>, partitions: &[Partition]) {
    let mut desk = consumer.context().desk.lock();
    desk.pause(partitions);
    steered(consumer.pause(&listed(partitions)), partitions);
}

fn resume(consumer: &BaseConsumer<MemberCallbacks>, partitions: &[Partition]) {
    let mut desk = consumer.context().desk.lock();
    desk.resume(partitions);
    steered(consumer.resume(&listed(partitions)), partitions);
}

fn steered(done: std::result::Result<(), KafkaError>, partitions: &[Partition]) {
    if let Err(error) = done {
        tracing::debug!(%error, ?partitions, "not all of these partitions are ours");
    }
}

fn listed(partitions: &[Partition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, number(partition));
    }
    list
}
