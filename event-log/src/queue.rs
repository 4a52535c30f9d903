//! Batches on their way to the disk: encoded as they come, written one write group after the other.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, oneshot};

use crate::{
    Error,
    copy::batches::WholeBatches,
    disk::day::Day,
    tail::{Tail, WriteGroup},
};

/// While more than this waits to be written, appends wait too.
const MAX_QUEUED_BYTES: usize = 16 << 20;
/// A write group that is larger takes no more batches.
const MAX_GROUP_BYTES: usize = 4 << 20;
/// A buffer that grew larger than this for one batch is given back.
const MAX_KEPT_BYTES: usize = 8 << 20;

/// Why nothing of a write group was kept.
#[derive(Clone, Debug)]
pub(crate) enum WriteFailure {
    Full(String),
    Poisoned(String),
    Closed,
}

impl From<WriteFailure> for Error {
    fn from(failure: WriteFailure) -> Self {
        match failure {
            WriteFailure::Full(reason) => Self::Full(reason),
            WriteFailure::Poisoned(reason) => Self::Poisoned(reason),
            WriteFailure::Closed => Self::Unavailable("it is stopping".to_owned()),
        }
    }
}

/// Says whether the write group that a caller waits for is durable.
pub(crate) type DurableAnswer = oneshot::Receiver<Result<(), WriteFailure>>;

/// Waits until a write group is durable.
pub(crate) async fn wait(
    durable: impl Future<Output = Result<Result<(), WriteFailure>, oneshot::error::RecvError>>,
) -> Result<(), Error> {
    durable.await.unwrap_or(Err(WriteFailure::Closed)).map_err(Error::from)
}

/// A write group, and the callers that wait for it.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) group: WriteGroup,
    waiting: Vec<oneshot::Sender<Result<(), WriteFailure>>>,
}

impl Pending {
    fn with(spare: Option<WriteGroup>) -> Self {
        Self { group: spare.unwrap_or_default(), ..Self::default() }
    }

    /// Whether it takes no more.
    fn is_full(&self) -> bool {
        self.group.data.len() >= MAX_GROUP_BYTES
    }

    /// Says when it is durable.
    fn wait(&mut self) -> DurableAnswer {
        let (sender, durable) = oneshot::channel();
        self.waiting.push(sender);
        durable
    }

    pub(crate) fn answer(&mut self, outcome: &Result<(), WriteFailure>) {
        for waiting in self.waiting.drain(..) {
            // A caller that stopped waiting does not want to know.
            let _ = waiting.send(outcome.clone());
        }
    }
}

/// The queue of one stream, between those that append and its writer.
#[derive(Debug)]
pub(crate) struct Queue {
    segment_bytes: u64,
    state: Mutex<QueueState>,
    filled: Condvar,
    emptied: Notify,
}

#[derive(Debug)]
struct QueueState {
    tail: Tail,
    pending: VecDeque<Pending>,
    bytes: usize,
    stopped: Option<WriteFailure>,
    spare: Option<WriteGroup>,
}

impl Queue {
    pub(crate) fn new(tail: Tail, segment_bytes: u64) -> Self {
        let (pending, spare) = (VecDeque::new(), None);
        let state = QueueState { tail, pending, bytes: 0, stopped: None, spare };
        let (filled, emptied) = (Condvar::new(), Notify::new());
        Self { segment_bytes, state: Mutex::new(state), filled, emptied }
    }

    /// Waits until another batch may be put.
    pub(crate) async fn room(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().bytes < MAX_QUEUED_BYTES {
                return;
            }
            emptied.await;
        }
    }

    /// Lets `put` encode something at the end, and says when that is durable.
    pub(crate) fn put<T>(
        &self,
        now_ms: u64,
        put: impl FnOnce(&mut Tail, &mut WriteGroup) -> Result<T, Error>,
    ) -> Result<(DurableAnswer, T), Error> {
        let mut state = self.lock();
        let QueueState { tail, pending, bytes, stopped, spare } = &mut *state;
        if let Some(failure) = stopped {
            return Err(failure.clone().into());
        }
        let opens = tail.next_segment(now_ms, self.segment_bytes);
        if opens.is_some() || pending.back().is_none_or(Pending::is_full) {
            let mut fresh = Pending::with(spare.take());
            tail.begin_group(&mut fresh.group, now_ms, opens);
            *bytes += fresh.group.data.len();
            pending.push_back(fresh);
        }
        let Some(last) = pending.back_mut() else { return Err(WriteFailure::Closed.into()) };
        let before = last.group.data.len();
        let value = put(tail, &mut last.group)?;
        *bytes += last.group.data.len() - before;
        let durable = last.wait();
        self.filled.notify_one();
        Ok((durable, value))
    }

    /// Puts what came from the original of this copy at the end; `gap` says that what is missing
    /// before it is gone for good.
    pub(crate) fn copy(&self, piece: WholeBatches, gap: bool) -> Result<DurableAnswer, Error> {
        let mut state = self.lock();
        let QueueState { tail, pending, bytes, stopped, spare } = &mut *state;
        if let Some(failure) = stopped {
            return Err(failure.clone().into());
        }
        if gap {
            tail.skip_to(&piece);
        }
        tail.check_follows(&piece)?;
        if piece.position == 0 || pending.back().is_none_or(Pending::is_full) {
            let mut fresh = Pending::with(spare.take());
            tail.begin_copy(&mut fresh.group, &piece);
            pending.push_back(fresh);
        }
        let Some(last) = pending.back_mut() else { return Err(WriteFailure::Closed.into()) };
        *bytes += piece.data.len();
        tail.copy(&mut last.group, piece);
        let durable = last.wait();
        self.filled.notify_one();
        Ok(durable)
    }

    /// Ends the day of the last file, if that is over and all is written; gives it.
    pub(crate) fn end_day(&self, now_ms: u64) -> Option<Day> {
        let mut state = self.lock();
        let is_written = state.bytes == 0 && state.stopped.is_none();
        if is_written { state.tail.end_day(now_ms) } else { None }
    }

    /// Nothing more is put into this day.
    pub(crate) fn mark_day_over(&self, day: Day) {
        let tail = &mut self.lock().tail;
        tail.is_day_over |= tail.segment.is_some_and(|last| last.day == day);
    }

    /// For the writer: the next write group; `None` when the queue is closed and all is written.
    pub(crate) fn take(&self) -> Option<Pending> {
        let mut state = self.lock();
        loop {
            if let Some(pending) = state.pending.pop_front() {
                return Some(pending);
            }
            if state.stopped.is_some() {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// For the writer: the write group is durable.
    pub(crate) fn written(&self, mut pending: Pending) {
        pending.answer(&Ok(()));
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(pending.group.data.len());
        let mut group = pending.group;
        (group.opens, group.next_offset) = (None, 0);
        group.data.clear();
        group.index.clear();
        group.data.shrink_to(MAX_KEPT_BYTES);
        state.spare = Some(group);
        drop(state);
        self.emptied.notify_waiters();
    }

    /// For the writer: this write group and all after it are not kept. `repair` gives the end that
    /// the stream then has. When it fails, the queue takes nothing more.
    pub(crate) fn failed(
        &self,
        first: Pending,
        failure: WriteFailure,
        repair: impl FnOnce() -> Result<Tail, Error>,
    ) {
        let mut state = self.lock();
        let failure = match repair() {
            Ok(tail) => {
                state.tail = tail;
                failure
            }
            Err(error) => {
                let failure = WriteFailure::Poisoned(error.to_string());
                state.stopped = Some(failure.clone());
                failure
            }
        };
        state.pending.push_front(first);
        for mut pending in std::mem::take(&mut state.pending) {
            pending.answer(&Err(failure.clone()));
        }
        state.bytes = 0;
        drop(state);
        self.emptied.notify_waiters();
    }

    /// Takes no more; what was put is still written.
    pub(crate) fn close(&self) {
        self.lock().stopped.get_or_insert(WriteFailure::Closed);
        self.filled.notify_all();
    }

    /// Why nothing more is taken, after a write that failed.
    pub(crate) fn problem(&self) -> Option<String> {
        match &self.lock().stopped {
            Some(WriteFailure::Poisoned(reason)) => Some(reason.clone()),
            _ => None,
        }
    }

    /// Looks at the end as it will be when all that was put is written.
    pub(crate) fn with_tail<T>(&self, look: impl FnOnce(&Tail) -> T) -> T {
        look(&self.lock().tail)
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
