//! What several subscribers of a stream get is read, checked and encoded once.
//!
//! Subscribers with the same filter that are at the same place take the same chunk: who comes first
//! reads it, and the others wait for that. So they stay together, where one chunk ends and the next
//! begins. The last chunks are kept for those that are a little behind.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::{disk::data_files::FilePlace, filter::FilterTerms};

/// So many bytes are kept for subscribers that are behind, per stream.
const MAX_KEPT_BYTES: usize = 4 << 20;
/// And so many chunks.
const MAX_KEPT: usize = 64;

/// A place that subscribers read on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChunkKey {
    pub(crate) offset: u64,
    pub(crate) max_bytes: usize,
    pub(crate) filter: Arc<FilterTerms>,
}

/// What comes there.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// The records that pass the filter, as `Records.records` of the protocol.
    pub(crate) records: Bytes,
    pub(crate) next_offset: u64,
    /// Where the next chunk begins in its file.
    pub(crate) place: Option<FilePlace>,
}

pub(crate) type ChunkCell = Arc<OnceCell<Chunk>>;

/// The last chunks of a stream.
#[derive(Debug, Default)]
pub(crate) struct Chunks(Mutex<ChunksState>);

#[derive(Debug, Default)]
struct ChunksState {
    /// How many subscriptions read, and how many of them have all there is.
    readers: usize,
    resting: usize,
    kept: VecDeque<(ChunkKey, ChunkCell)>,
}

impl Chunks {
    /// The chunk at this place, which somebody may be reading just now.
    pub(crate) fn at(&self, key: &ChunkKey) -> ChunkCell {
        let mut state = self.lock();
        if let Some((_, cell)) = state.kept.iter().rev().find(|(kept, _)| kept == key) {
            return Arc::clone(cell);
        }
        let cell = ChunkCell::default();
        if state.readers > 1 {
            state.kept.push_back((key.clone(), Arc::clone(&cell)));
            state.shrink();
        }
        cell
    }

    /// A subscription begins to read.
    pub(crate) fn come(&self) {
        self.change(|state| state.readers += 1);
    }

    /// A subscription that does not rest reads no more.
    pub(crate) fn go(&self) {
        self.change(|state| state.readers -= 1);
    }

    /// A subscription has all there is, or reads on.
    pub(crate) fn rest(&self, rests: bool) {
        self.change(|state| match rests {
            true => state.resting += 1,
            false => state.resting -= 1,
        });
    }

    fn change(&self, change: impl FnOnce(&mut ChunksState)) {
        let mut state = self.lock();
        change(&mut state);
        if state.readers == state.resting || state.readers < 2 {
            // Nobody is behind.
            state.kept = VecDeque::new();
        }
    }

    /// How many are kept.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.lock().kept.len()
    }

    fn lock(&self) -> MutexGuard<'_, ChunksState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChunksState {
    fn shrink(&mut self) {
        let size = |(_, cell): &(ChunkKey, ChunkCell)| cell.get().map_or(0, |c| c.records.len());
        let mut bytes: usize = self.kept.iter().map(size).sum();
        while bytes > MAX_KEPT_BYTES || self.kept.len() > MAX_KEPT {
            bytes -= self.kept.pop_front().as_ref().map_or(0, size);
        }
    }
}
