//! What a member of a group is given, and what it can do.

use std::{pin::Pin, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Headers, Result, TopicFilter};

/// What a group member wants.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The group's full name, for example `dbevents.listener.search-index`.
    pub group: String,
    /// Which topics; those that appear later are included.
    pub topics: TopicFilter,
    /// Where a group that has never committed begins. Resolved once and committed before the first
    /// record is delivered.
    pub start: Start,
    /// Who this member is, for humans.
    pub client: String,
    /// A name that only one process has at a time. Where the bus can use this name, a member that
    /// comes back gets its partitions again without waiting for a time-out.
    pub instance: Option<String>,
    /// A header by which records are addressed, and our name in it. Where the bus can, it leaves
    /// out records whose header names somebody else.
    pub addressee: Option<(String, String)>,
    /// The table of the group, if it has one: see [`Consumer::kept`].
    pub table: Option<GroupTable>,
}

/// The table in which a group keeps entries beside its offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupTable {
    /// Its name, for example `parked.search-index`: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Whether the group may go on as if the table were empty where the bus does not let it look.
    pub is_optional: bool,
}

/// An entry of a group's table: it belongs to a partition, and moves with the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Who owns this partition may change the entry.
    pub partition: Partition,
    /// Together with the partition, what the entry is found by.
    pub key: String,
    /// What is kept.
    pub value: Bytes,
}

/// A change of a group's table: a value, or `None` to remove the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptChange {
    /// As [`Kept::partition`].
    pub partition: Partition,
    /// As [`Kept::key`].
    pub key: String,
    /// The new value.
    pub value: Option<Bytes>,
}

/// Where a new group begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first record kept.
    Earliest,
    /// With the first record that comes after now.
    Latest,
    /// With the first record appended at or after a time.
    Time(SystemTime),
}

/// The unit of order, of assignment and of commit: a Kafka partition, or a whole log stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic, or the name of the log stream.
    pub topic: Arc<str>,
    /// The partition's number; 0 in a log.
    pub number: u32,
}

/// A partition that the group gave to this member.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Which.
    pub partition: Partition,
    /// The offset that its deliveries begin at: what the group has committed.
    pub position: u64,
}

/// A delivered record. Its parts share the buffer that it came in: copy what is to stay longer.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The partition that its offset is committed in.
    pub partition: Partition,
    /// Grows within the partition; may have gaps.
    pub offset: u64,
    /// The record's own topic (in a log, several share one partition).
    pub topic: Arc<str>,
    /// As it was appended.
    pub key: Bytes,
    /// As it was appended.
    pub value: Bytes,
    /// As they were appended.
    pub headers: Headers,
}

/// What a poll brought.
#[derive(Clone, Debug)]
pub enum Polled {
    /// These partitions are ours from now on.
    Assigned(Vec<Assignment>),
    /// These go to another member. They are ours until the next call of `poll`: finish or stop the
    /// work on them and commit what is done before that.
    Revoking(Vec<Partition>),
    /// These are no longer ours, with no time to finish. A commit for them is refused.
    Lost(Vec<Partition>),
    /// Records, in order within each partition.
    Records {
        /// Those that pass the subscription's filter; may be empty.
        deliveries: Vec<Delivery>,
        /// How far each partition was scanned, when that is known to be further than the last
        /// delivery: the offset to commit once all before it is done.
        scanned: Vec<(Partition, u64)>,
    },
}

/// How far a group is in a partition.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Which.
    pub partition: Partition,
    /// The next offset that the group has not finished; `None` if it never committed.
    pub committed: Option<u64>,
    /// The offset that the next record will get, or a later one. Markers of the bus count as
    /// offsets, so a group can be caught up with a difference that is not 0.
    pub end: u64,
    /// The same, but with the records that cannot be read yet: those of open transactions. Equal to
    /// `end` where nobody looked.
    pub high: u64,
}

/// How far several groups are.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Of each group, in the order asked.
    pub groups: Vec<Result<Vec<Progress>>>,
    /// A number that stands for the topics that there are, if this survey looked at them: see
    /// [`Consumer::topics_are`].
    pub topics: Option<u64>,
}

/// A commit under way. Its consumer can be polled meanwhile. A commit that was dropped may be done,
/// or not.
pub type Committing = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// A look into a group's table under way. Its consumer can be polled meanwhile.
pub type LookingUp = Pin<Box<dyn Future<Output = Result<Vec<Kept>>> + Send>>;

/// A member of a group.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for the next thing to happen. Cancel-safe: a dropped call loses nothing.
    ///
    /// # Errors
    ///
    /// Transient: the bus is away, the call may be repeated. [`Error::OffsetGone`]: the next
    /// record was deleted before the group came to it; nothing is skipped, a human decides.
    ///
    /// [`Error::OffsetGone`]: crate::Error::OffsetGone
    async fn poll(&mut self) -> Result<Polled>;

    /// Saves how far the group is: for each partition the next offset that is not finished. The
    /// partitions must be ours at the call. What is saved is durable when the future is ready, and
    /// only then may the next commit begin.
    ///
    /// # Errors
    ///
    /// [`Error::PartitionLost`](crate::Error::PartitionLost) when one is no longer ours: then none
    /// of that partition is saved, and a poll says that it is gone. [`Error::Unsaved`] when the bus
    /// takes the offsets of some partitions only; the others stay ours.
    ///
    /// [`Error::Unsaved`]: crate::Error::Unsaved
    fn commit(&mut self, offsets: &[(Partition, u64)]) -> Committing {
        self.commit_with(offsets, Vec::new())
    }

    /// The same, with changes of the group's table. Where an offset of a partition is saved, the
    /// changes of its entries are saved, too: never the offset alone. For every partition with
    /// changes there must be an offset.
    ///
    /// # Errors
    ///
    /// As [`Consumer::commit`]. [`Error::Rejected`](crate::Error::Rejected) when the bus cannot
    /// keep an entry, for example one that is too large: then nothing is saved. After a transient
    /// error the changes may be saved, or not; they may be given again.
    fn commit_with(&mut self, offsets: &[(Partition, u64)], changes: Vec<KeptChange>)
    -> Committing;

    /// The entries of the group's table for these partitions, which must be ours. Nobody can change
    /// them any more but this member, until it loses the partitions.
    ///
    /// # Errors
    ///
    /// Transient, when the bus is away. [`Error::PartitionLost`](crate::Error::PartitionLost).
    fn kept(&mut self, partitions: &[Partition]) -> LookingUp {
        let _ = partitions;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Stops deliveries of these partitions, which stay ours. Idempotent.
    fn pause(&mut self, partitions: &[Partition]);

    /// Goes on where `pause` stopped. Idempotent.
    fn resume(&mut self, partitions: &[Partition]);

    /// Somebody looks at the topics for all members, and gives the number that stands for them now.
    /// While the same number comes again and again, this member need not look itself.
    fn topics_are(&mut self, topics: u64) {
        let _ = topics;
    }

    /// Leaves the group, so that another member takes over at once, without a time-out. A member
    /// with an [`instance`](Subscription::instance) keeps its place for its return, where the bus
    /// can do that.
    async fn close(self: Box<Self>);

    /// Leaves the group for good: no place is kept.
    async fn leave(self: Box<Self>) {
        self.close().await;
    }
}
