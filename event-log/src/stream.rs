//! A stream: appending to it, opening producers, and how far its groups are.

use std::{
    sync::{Arc, Weak},
    thread::JoinHandle,
};

use service::clock::now_ms;

use crate::{
    Append, Appended, Checkpoint, CheckpointChange, Error, Start,
    copy::{epoch, state::CopyState},
    keeper::Keeper,
    leader::ProducerLead,
    queue::{self, DurableAnswer},
    reader,
    record::NewRecord,
    shared::SharedStream,
    tail::Tail,
    writer,
};

/// A stream of a log. Clones are the same stream.
#[derive(Clone, Debug)]
pub struct Stream {
    pub(crate) shared: Arc<SharedStream>,
    keeper: Weak<Keeper>,
}

/// A producer that was opened; it leads until this is dropped.
#[derive(Debug)]
pub struct OpenedProducer {
    /// Every append must carry it.
    pub epoch: u64,
    /// All that it saved.
    pub checkpoint: Checkpoint,
    /// While this lives, others that open the producer wait.
    pub lead: ProducerLead,
}

/// What a stream holds.
#[derive(Clone, Debug)]
pub struct StreamState {
    /// The id of this log.
    pub origin: u32,
    /// The oldest offset kept.
    pub first_offset: u64,
    /// The durable end.
    pub next_offset: u64,
    /// The bytes of its data files.
    pub bytes: u64,
    /// The bytes of the data files of all streams of the log.
    pub log_bytes: u64,
    /// The limit of `log_bytes`.
    pub max_bytes: u64,
    /// Every group that has committed or has a member.
    pub groups: Vec<crate::GroupState>,
    /// Name, epoch and sequence of every producer.
    pub producers: Vec<(String, u64, u64)>,
    /// Why it takes no more appends, if a write has failed.
    pub problem: Option<String>,
    /// Why there is no room for appends, if there is none.
    pub full: Option<String>,
    /// How much later its last record is than the clock, in milliseconds.
    pub ahead_ms: u64,
    /// What it is a copy of, if it is one.
    pub copy: Option<CopyState>,
    /// 1, and one more each time that a copy of the stream was made the original.
    pub epoch: u64,
}

impl Stream {
    pub(crate) fn new(shared: Arc<SharedStream>, keeper: &Arc<Keeper>) -> Self {
        Self { shared, keeper: Arc::downgrade(keeper) }
    }

    /// Opens the stream of a name, or makes one, and starts its writer.
    pub(crate) fn open(name: &str, keeper: &Arc<Keeper>) -> Result<(Self, JoinHandle<()>), Error> {
        let shared = Arc::new(SharedStream::open(name, &keeper.config, keeper.origin)?);
        let written = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("log {name:.10}"))
            .spawn(move || writer::run(&written))
            .map_err(Error::io("cannot start the writer of", &shared.directory))?;
        Ok((Self::new(shared, keeper), thread))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Appends a batch, whole or not at all. It is durable, and readers see it, when this returns.
    /// Dropping the call does not take the batch back.
    ///
    /// # Errors
    ///
    /// [`Error::Full`]: nothing was kept, try again later; `maxBytes` holds up no append without
    /// records. [`Error::Fenced`], [`Error::SequenceGap`], [`Error::Rejected`]: nothing was kept,
    /// and will not be.
    pub async fn append<'a>(
        &self,
        append: Append<'_, impl IntoIterator<Item = NewRecord<'a>>>,
    ) -> Result<Appended, Error> {
        self.append_at(append, now_ms()).await
    }

    pub(crate) async fn append_at<'a>(
        &self,
        append: Append<'_, impl IntoIterator<Item = NewRecord<'a>>>,
        now_ms: u64,
    ) -> Result<Appended, Error> {
        let (durable, appended) = self.queue_at(append, now_ms).await?;
        queue::wait(durable).await?;
        Ok(appended)
    }

    /// Puts a batch into the queue, and says when it is durable.
    pub(crate) async fn queue<'a>(
        &self,
        append: Append<'_, impl IntoIterator<Item = NewRecord<'a>>>,
    ) -> Result<(DurableAnswer, Appended), Error> {
        self.queue_at(append, now_ms()).await
    }

    pub(crate) async fn queue_at<'a>(
        &self,
        append: Append<'_, impl IntoIterator<Item = NewRecord<'a>>>,
        now_ms: u64,
    ) -> Result<(DurableAnswer, Appended), Error> {
        let Append { producer, records, checkpoint } = append;
        let home = self.shared.home_to_append(producer.map_or("", |producer| producer.name))?;
        home.queue.room().await;
        let mut records = records.into_iter().peekable();
        // What programs tell each other in checkpoints takes little, and helps a full log to empty.
        if records.peek().is_some() {
            self.make_room()?;
        }
        let append = Append { producer, records, checkpoint };
        home.queue.put(now_ms, |tail, group| tail.append(group, now_ms, append))
    }

    /// Refuses an epoch that is not the last one opened.
    pub(crate) fn check_epoch(&self, producer: &str, epoch: u64) -> Result<(), Error> {
        let known = |tail: &Tail| tail.producers.get(producer).map(|state| state.epoch);
        match self.shared.home_of(producer).queue.with_tail(known) {
            Some(known) if known == epoch => Ok(()),
            _ => Err(Error::Fenced(producer.to_owned())),
        }
    }

    /// Becomes the leader of a producer: waits while another holds its [`ProducerLead`], then opens
    /// the producer.
    ///
    /// # Errors
    ///
    /// As [`Stream::append`].
    pub async fn open_producer(&self, name: &str) -> Result<OpenedProducer, Error> {
        let home = self.shared.home_to_append(name)?;
        let lead = self.shared.leaders.lead(name).await;
        home.queue.room().await;
        let put = home.queue.put(now_ms(), |tail, group| tail.open_producer(group, name));
        let (durable, (epoch, checkpoint)) = put?;
        queue::wait(durable).await?;
        Ok(OpenedProducer { epoch, checkpoint, lead })
    }

    /// What a producer has saved; nothing when there was never one. Does not take its place.
    pub fn checkpoint(&self, producer: &str) -> Checkpoint {
        self.shared.home_of(producer).queue.with_tail(|tail| {
            tail.producers.get(producer).map(|state| state.checkpoint.clone()).unwrap_or_default()
        })
    }

    /// What the stream holds now.
    pub fn state(&self) -> StreamState {
        let shared = &self.shared;
        let producers = shared.queue.with_tail(|tail| {
            let named = tail.producers.iter().filter(|(name, _)| *name != epoch::EPOCH);
            named.map(|(name, state)| (name.clone(), state.epoch, state.sequence)).collect()
        });
        let keeper = self.keeper.upgrade();
        let refusal = keeper.as_ref().and_then(|keeper| keeper.refusal(&shared.name));
        let full = refusal.map(|full| full.to_string()).or_else(|| shared.room.problem());
        let (log_bytes, max_bytes) =
            keeper.map_or((0, 0), |keeper| (keeper.bytes(), keeper.config.max_bytes));
        let mut groups = shared.groups.states();
        for group in &mut groups {
            group.held_bytes = group.committed.map_or(0, |committed| shared.bytes_from(committed));
        }
        let next_offset = shared.end();
        let segments = shared.segments();
        StreamState {
            origin: shared.origin,
            first_offset: segments.first().map_or(next_offset, |first| first.first_offset),
            next_offset,
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
            log_bytes,
            max_bytes,
            groups,
            producers,
            problem: shared.queue.problem(),
            full,
            ahead_ms: shared.ahead_ms(),
            copy: self.copy_state(),
            epoch: self.epoch(),
        }
    }

    /// Forgets a group, so that retention does not wait for it any more.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] when it is not known, [`Error::GroupActive`] when it has a member.
    pub async fn remove_group(&self, group: &str) -> Result<(), Error> {
        let saved = self.shared.groups.remove(group)?;
        self.poke_keeper();
        queue::wait(saved).await
    }

    /// What offset a start means now. An offset that is not there becomes the nearest one that is.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn locate(&self, start: Start) -> Result<u64, Error> {
        let first = || {
            let first = self.shared.segments().first().map(|first| first.first_offset);
            first.unwrap_or_else(|| self.shared.end())
        };
        match start {
            Start::Earliest => Ok(first()),
            Start::Latest => Ok(self.shared.end()),
            Start::Offset(offset) => Ok(offset.min(self.shared.end()).max(first())),
            Start::Time(time_ms) => reader::offset_at(&self.shared, time_ms),
        }
    }

    /// Sets how far a group is, known or new, while nobody is in it; durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::GroupActive`]; [`Error::Rejected`] for an offset past the end, or a name that is
    /// not allowed; [`Error::Full`].
    pub async fn reset_group(&self, group: &str, offset: u64) -> Result<(), Error> {
        self.check_end(offset)?;
        let saved = self.shared.groups.reset(group, offset)?;
        self.poke_keeper();
        queue::wait(saved).await
    }

    /// As [`Stream::reset_group`], and does not wait for the disk.
    pub(crate) fn note_group(&self, group: &str, offset: u64) -> Result<(), Error> {
        drop(self.shared.groups.reset(group, offset)?);
        self.poke_keeper();
        Ok(())
    }

    /// Ends the membership of a group's active member; the next one takes over.
    pub fn expel(&self, group: &str) {
        self.shared.groups.expel(group);
    }

    /// Saves how far a group is; durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::NotMember`] when `member` is not the active one; [`Error::Full`].
    pub async fn commit(&self, group: &str, member: u64, offset: u64) -> Result<(), Error> {
        self.check_end(offset)?;
        let saved = self.shared.groups.commit(group, member, offset)?;
        self.poke_keeper();
        queue::wait(saved).await
    }

    /// Changes the table of a group: a checkpoint that only the active member may change. Durable
    /// when this returns, with all earlier changes; [`Stream::checkpoint`] gives the entries.
    ///
    /// # Errors
    ///
    /// [`Error::NotMember`] when `member` is not the active one; [`Error::Rejected`] for a table
    /// that would be too large, [`Error::Full`]: nothing was changed.
    pub async fn change_table(
        &self,
        (group, member): (&str, u64),
        table: &str,
        changes: &[CheckpointChange],
    ) -> Result<(), Error> {
        let home = self.shared.home_to_append(table)?;
        home.queue.room().await;
        let put = || {
            let change = |tail: &mut Tail, group: &mut _| tail.change_table(group, table, changes);
            home.queue.put(now_ms(), change)
        };
        let (durable, ()) = self.shared.groups.while_active((group, member), put)?;
        queue::wait(durable).await
    }

    /// Deletes what may go when the log is full.
    pub(crate) fn make_room(&self) -> Result<(), Error> {
        self.keeper.upgrade().map_or(Ok(()), |keeper| keeper.room(&self.shared.name))
    }

    fn poke_keeper(&self) {
        if let Some(keeper) = self.keeper.upgrade() {
            keeper.poke();
        }
    }

    fn check_end(&self, offset: u64) -> Result<(), Error> {
        let end = self.shared.end();
        if offset <= end {
            return Ok(());
        }
        let reason = format!("cannot commit offset {offset}: the stream ends at {end}");
        Err(Error::Rejected(reason))
    }
}

#[cfg(test)]
mod tests;
