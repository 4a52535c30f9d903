//! What every backend does.

use async_trait::async_trait;

use crate::{
    Checkpoint, Consumer, Control, ControlChange, Kept, KnownGroup, Partition, Producer, Progress,
    Reset, ResetTo, Result, Room, Standing, Subscription, Survey, TopicFilter,
};

/// A backend: Kafka, the event log, or memory.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Becomes the one writer of `name`: waits while another leads, fences it when it is gone, and
    /// gives what was saved.
    ///
    /// # Errors
    ///
    /// As [`Producer::append`].
    async fn producer(&self, name: &str) -> Result<(Box<dyn Producer>, Checkpoint)> {
        self.lead(name, &Standing::default()).await
    }

    /// The same. Meanwhile `standing` says whether the bus is reached, and when it answered last.
    ///
    /// # Errors
    ///
    /// As [`Producer::append`].
    async fn lead(
        &self,
        name: &str,
        standing: &Standing,
    ) -> Result<(Box<dyn Producer>, Checkpoint)>;

    /// What a producer has saved. Does not take its place.
    ///
    /// # Errors
    ///
    /// Transient, when the bus is away.
    async fn checkpoint(&self, name: &str) -> Result<Checkpoint>;

    /// The names of all producers that this bus has ever had.
    ///
    /// # Errors
    ///
    /// Transient, when the bus is away.
    async fn producers(&self) -> Result<Vec<String>>;

    /// Puts values into the control table, or removes them with `None`. Anybody may, several
    /// processes at once; of one key the last value stays. Durable when it returns. After an error
    /// it is not known which entries are there; they may be put again.
    ///
    /// # Errors
    ///
    /// Transient, when the bus is away or full.
    async fn put_control(&self, entries: &[ControlChange]) -> Result<()>;

    /// Listens to the control table.
    ///
    /// # Errors
    ///
    /// Transient, when the bus is away.
    async fn control(&self) -> Result<Box<dyn Control>>;

    /// Joins a group. Partitions come later, by [`Consumer::poll`].
    ///
    /// # Errors
    ///
    /// As [`Consumer::poll`].
    async fn consumer(&self, subscription: Subscription) -> Result<Box<dyn Consumer>>;

    /// All entries of a group's table, for those who look; a table that was never written to is
    /// empty.
    ///
    /// # Errors
    ///
    /// Transient, when the bus is away.
    async fn kept(&self, table: &str) -> Result<Vec<Kept>>;

    /// Removes all entries of a group's table, when nobody is in the group any more. Durable when
    /// it returns.
    ///
    /// # Errors
    ///
    /// Transient, when the bus is away.
    async fn clear_kept(&self, table: &str) -> Result<()>;

    /// How far a group is, in every partition of the topics that it has met.
    ///
    /// # Errors
    ///
    /// Transient, when the bus is away.
    async fn progress(&self, group: &str, topics: &TopicFilter) -> Result<Vec<Progress>>;

    /// How far several groups are, each in the topics of its filter. Asks as little as the bus
    /// allows: for callers that look again and again.
    async fn survey(&self, groups: &[(String, TopicFilter)]) -> Survey {
        let mut surveyed = Vec::with_capacity(groups.len());
        for (group, topics) in groups {
            surveyed.push(self.progress(group, topics).await);
        }
        Survey { groups: surveyed, topics: None }
    }

    /// What [`Bus::reset`] would have to set, in every partition of the topics. Changes nothing,
    /// and works also while the group has members.
    ///
    /// # Errors
    ///
    /// Transient, when the bus is away.
    async fn plan_reset(
        &self,
        group: &str,
        topics: &TopicFilter,
        to: ResetTo,
    ) -> Result<Vec<Reset>>;

    /// Sets how far a group is in these partitions, whatever it committed before; a group that was
    /// never there is made. Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`Error::GroupActive`](crate::Error::GroupActive) when the group has a member, or had one
    /// that the bus still waits for; then nothing is set. Transient, when the bus is away.
    async fn reset(&self, group: &str, resets: &[Reset]) -> Result<()>;

    /// All groups of this bus that have committed or have members.
    ///
    /// # Errors
    ///
    /// Transient, when the bus is away.
    async fn groups(&self) -> Result<Vec<KnownGroup>>;

    /// Forgets how far a group is, so that nothing is kept for it any more. Durable when it
    /// returns. A later group of that name begins as a new one.
    ///
    /// # Errors
    ///
    /// [`Error::GroupActive`](crate::Error::GroupActive) when it has a member,
    /// [`Error::Rejected`](crate::Error::Rejected) when there is none of this name. Transient, when
    /// the bus is away.
    async fn forget_group(&self, group: &str) -> Result<()>;

    /// How much lies here, and how much may; `None` on a bus whose limits are not ours.
    ///
    /// # Errors
    ///
    /// Transient, when the bus is away.
    async fn room(&self) -> Result<Option<Room>>;

    /// Reads topics from `from` on, outside of any group; also topics that come later. Nobody else
    /// notices, and nothing is kept. The consumer commits nothing, and gets nothing but records.
    /// After a transient error the next poll goes on where the last one stopped.
    ///
    /// # Errors
    ///
    /// Transient, when the bus is away.
    async fn tail(&self, topics: &TopicFilter, from: ResetTo) -> Result<Box<dyn Consumer>>;

    /// Reads the records of topics in one partition from an offset on, in the way of
    /// [`Bus::tail`]. Says with the records how far it has scanned, also at the end of what is
    /// there.
    ///
    /// # Errors
    ///
    /// Transient, when the bus is away. [`Error::OffsetGone`](crate::Error::OffsetGone) of a poll:
    /// the next record was deleted.
    async fn reread(
        &self,
        partition: &Partition,
        topics: &TopicFilter,
        from: u64,
    ) -> Result<Box<dyn Consumer>>;
}
