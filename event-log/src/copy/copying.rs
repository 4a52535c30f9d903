//! What a stream that is a copy takes and tells, and how it becomes a stream of its own.

use service::clock::now_ms;

use super::{
    batches::WholeBatches,
    epoch,
    mark::{self, CopyOf},
    source::CopyEnd,
    state::CopyState,
};
use crate::{
    Error, Stream,
    disk::{
        index::{self, Sought},
        scan::Scan,
    },
    queue::{self, DurableAnswer},
    shared::SharedStream,
};

impl SharedStream {
    /// Refuses what would make a copy differ from its original.
    pub(crate) fn check_own(&self) -> Result<(), Error> {
        let copy = self.copy();
        let Some(CopyState { of: CopyOf { address, stream }, .. }) = &*copy else { return Ok(()) };
        Err(Error::Rejected(format!(
            "stream {} is a copy of stream {stream} of {address}, and takes nothing else: append \
             there; or, if that server is gone for good, run: event-log promote --stream {}",
            self.name, self.name
        )))
    }
}

impl Stream {
    /// What this is a copy of, and how that gets on.
    pub fn copy_state(&self) -> Option<CopyState> {
        self.shared.copy().clone()
    }

    /// 1, and one more each time that a copy of the stream was made the original.
    pub fn epoch(&self) -> u64 {
        self.shared.queue.with_tail(|tail| epoch::of(&tail.producers))
    }

    /// Says how the connection to the original is.
    pub(crate) fn tell_copy(&self, problem: Option<String>) {
        if let Some(state) = &mut *self.shared.copy() {
            if state.problem.is_some() != problem.is_some() {
                state.since_ms = now_ms();
            }
            state.problem = problem;
        }
    }

    /// Notes where the original ends.
    pub(crate) fn tell_source_end(&self, end: u64) {
        if let Some(state) = &mut *self.shared.copy() {
            state.source_end = Some(end);
        }
    }

    /// Puts what came from the original at the end. `has_gap`: what is missing before it is gone
    /// for good.
    pub(crate) async fn put_copy(
        &self,
        piece: WholeBatches,
        has_gap: bool,
    ) -> Result<DurableAnswer, Error> {
        self.shared.queue.room().await;
        self.make_room()?;
        let copy = self.shared.copy();
        match &*copy {
            Some(state) if !state.is_promoted => self.shared.queue.copy(piece, has_gap),
            _ => Err(Error::Rejected(format!("stream {} is no copy any more", self.shared.name))),
        }
    }

    /// Where this copy ends; `None` when it is empty. All that was put must be written.
    pub(crate) fn copy_end(&self) -> Result<Option<CopyEnd>, Error> {
        let look = |tail: &crate::tail::Tail| {
            (tail.segment, tail.position, tail.next_offset, epoch::of(&tail.producers))
        };
        let (segment, position, next_offset, epoch) = self.shared.queue.with_tail(look);
        let Some(file) = segment else { return Ok(None) };
        let directory = &self.shared.directory;
        let last = Sought::Offset(next_offset.saturating_sub(1));
        let mut scan = Scan::open(&file.data(directory), index::seek(directory, file, last))?;
        let mut last_position = scan.position();
        while let Some((at, _)) = scan.next(position)? {
            last_position = at;
        }
        let (last_crc, ..) = Scan::open(&file.data(directory), last_position)?.peek(position)?;
        Ok(Some(CopyEnd { file, position, next_offset, last_position, last_crc, epoch }))
    }

    /// Makes this copy a stream of its own, which takes appends, in a new epoch: that it gives.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] when it is no copy; [`Error::Full`] and [`Error::Io`]: it is a copy
    /// still, and the call can be made again.
    pub async fn promote(&self) -> Result<u64, Error> {
        // Whoever asked may go away: what has begun is brought to its end.
        let stream = self.clone();
        let promoted = tokio::spawn(async move { stream.promote_to_end().await }).await;
        promoted.map_err(|error| Error::Failed(error.to_string()))?
    }

    async fn promote_to_end(&self) -> Result<u64, Error> {
        let shared = &self.shared;
        match &mut *shared.copy() {
            Some(state) => state.is_promoted = true,
            // It was promoted before.
            None if mark::promoted_from(&shared.directory)?.is_some() => return Ok(self.epoch()),
            None => {
                let name = &shared.name;
                return Err(Error::Rejected(format!("stream {name} is no copy: it is its own")));
            }
        }
        let promoted = self.begin_epoch().await;
        match (&promoted, &mut *shared.copy()) {
            (Ok(_), copy) => *copy = None,
            (Err(_), Some(state)) => state.is_promoted = false,
            (Err(_), None) => {}
        }
        promoted
    }

    /// The record of the epoch comes first: after a crash between the two, a copy with a record
    /// that its original has not refuses to go on, and is promoted again.
    async fn begin_epoch(&self) -> Result<u64, Error> {
        let shared = &self.shared;
        let put = shared.queue.put(now_ms(), |tail, group| Ok(tail.begin_epoch(group)));
        let (durable, epoch) = put?;
        queue::wait(durable).await?;
        mark::promote(&shared.directory)?;
        Ok(epoch)
    }
}
