//! What can go wrong on a bus.

use crate::Partition;

/// An error of the bus.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The bus cannot be reached or did not answer; try again later.
    #[error("the bus at {address} is not available: {reason}")]
    Unavailable {
        /// Where it was looked for.
        address: String,
        /// What was seen.
        reason: String,
    },
    /// The bus has no room; try again later.
    #[error("the bus is full: {0}")]
    Full(String),
    /// Another process took over what only one may be, a producer or a member of this instance
    /// name; this one must not go on.
    #[error("fenced: {0} is no longer ours, another process may have taken over")]
    Fenced(String),
    /// What needs a group that nobody is in.
    #[error("members of group {group} are active: stop the listener first")]
    GroupActive {
        /// The group.
        group: String,
    },
    /// A commit for a partition that is not ours.
    #[error("partition {} of {} is no longer ours: another member took over", .0.number, .0.topic)]
    PartitionLost(Partition),
    /// Offsets of partitions that are ours and that the bus did not save, while it saved those of
    /// all others; try again later.
    #[error("offsets in {} are not saved: {reason}", listed(partitions))]
    Unsaved {
        /// Those that were not saved.
        partitions: Vec<Partition>,
        /// What the bus said.
        reason: String,
    },
    /// Records that the group has not seen were deleted.
    #[error(
        "group {group} is at offset {committed} of {}, but the oldest record there has offset \
         {first}: the records between were deleted by retention before the group had read them",
        .partition.topic
    )]
    OffsetGone {
        /// The group.
        group: String,
        /// Where.
        partition: Partition,
        /// Where the group is.
        committed: u64,
        /// The oldest offset that is still there.
        first: u64,
    },
    /// A topic was deleted, and one of the same name was made.
    #[error(
        "topic {topic} was deleted and made again since group {group} read it: what the group had \
         not read of the old topic is lost; set with `event-worker listener reset` where the group \
         begins in the new topic"
    )]
    TopicReplaced {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
    },
    /// The end of a partition is gone with records that the group had read.
    #[error(
        "partition {} of {} lost its end, with records that group {group} had read, and new \
         records may have the same offsets: the brokers lost records (an unclean election of a \
         leader, or a restored disk); set with `event-worker listener reset` where the group goes \
         on",
        .partition.number, .partition.topic
    )]
    Truncated {
        /// The group.
        group: String,
        /// Where.
        partition: Partition,
    },
    /// The bus has forgotten how far the group was.
    #[error(
        "the bus has forgotten how far group {group} was in topic {topic}: the group was away for \
         longer than offsets are kept; set with `event-worker listener reset` where the group goes \
         on"
    )]
    OffsetsExpired {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
    },
    /// A record that the bus will not take, now or later.
    #[error("{0}")]
    Rejected(String),
    /// The bus refuses us: a wrong token, a missing right, a wrong setting.
    #[error("the bus at {address} refused us: {reason}")]
    Refused {
        /// Where.
        address: String,
        /// What it said.
        reason: String,
    },
    /// The bus is damaged, or spoke in a way that we do not understand.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Whether the same call can succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Full(_) | Self::Unsaved { .. })
    }
}

fn listed(partitions: &[Partition]) -> String {
    let name = |partition: &Partition| format!("{}/{}", partition.topic, partition.number);
    partitions.iter().map(name).collect::<Vec<_>>().join(", ")
}
