//! Reading for the network: what several subscribers get is read, checked and encoded once.
//!
//! Subscribers with the same filter that are at the same place take the same chunk: who comes first
//! reads it, and the others wait for that. So they stay together, where one chunk ends and the next
//! begins. The last chunks are kept for those that are a little behind.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use tokio::{sync::OnceCell, task::spawn_blocking};

use super::Reading;
use crate::{
    Error, Stream,
    filter::{FilterTerms, RecordFilter},
    reader::{ReadChunk, ReaderPlace, StreamReader},
    records,
    shared::SharedStream,
};

/// So many bytes are kept for subscribers that are behind, per stream.
const MAX_KEPT_BYTES: usize = 4 << 20;
/// And so many chunks.
const MAX_KEPT: usize = 64;

/// A place that subscribers read on from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ChunkKey {
    offset: u64,
    max_bytes: usize,
    filter: Arc<FilterTerms>,
}

/// What comes there.
#[derive(Debug)]
struct Chunk {
    /// The records that pass the filter, as `Records.records` of the protocol.
    records: Bytes,
    next_offset: u64,
    /// Where the next chunk begins in its file.
    place: Option<ReaderPlace>,
}

type ChunkCell = Arc<OnceCell<Chunk>>;

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
    fn at(&self, key: &ChunkKey) -> ChunkCell {
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
    pub(super) fn kept(&self) -> usize {
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

/// One of the subscriptions that share their chunks.
#[derive(Debug)]
pub(crate) struct SharedReading {
    stream: Arc<SharedStream>,
    filter: RecordFilter,
    key: ChunkKey,
    place: Option<ReaderPlace>,
    is_resting: bool,
}

impl Reading for SharedReading {
    type Records = Bytes;

    fn begin(stream: &Stream, filter: RecordFilter, offset: u64, max_bytes: usize) -> Self {
        let key = ChunkKey { offset, max_bytes, filter: Arc::clone(filter.terms()) };
        let stream = Arc::clone(&stream.shared);
        stream.chunks.change(|chunks| chunks.readers += 1);
        Self { stream, filter, key, place: None, is_resting: false }
    }

    fn offset(&self) -> Option<u64> {
        Some(self.key.offset)
    }

    async fn read(&mut self) -> Result<(Bytes, u64), Error> {
        self.set_resting(false);
        let cell = self.stream.chunks.at(&self.key);
        let chunk = cell
            .get_or_try_init(async || {
                let (stream, filter) = (Arc::clone(&self.stream), self.filter.clone());
                let (offset, max_bytes) = (self.key.offset, self.key.max_bytes);
                let place = self.place;
                let read = spawn_blocking(move || {
                    read(StreamReader::at(&stream, filter, offset, place), max_bytes)
                });
                read.await.map_err(|error| Error::Unavailable(error.to_string()))?
            })
            .await?;
        (self.key.offset, self.place) = (chunk.next_offset, chunk.place);
        Ok((chunk.records.clone(), chunk.next_offset))
    }

    fn rest(&mut self) {
        self.set_resting(true);
    }
}

impl SharedReading {
    fn set_resting(&mut self, rests: bool) {
        if std::mem::replace(&mut self.is_resting, rests) != rests {
            self.stream.chunks.change(|chunks| match rests {
                true => chunks.resting += 1,
                false => chunks.resting -= 1,
            });
        }
    }
}

impl Drop for SharedReading {
    fn drop(&mut self) {
        self.set_resting(false);
        self.stream.chunks.change(|chunks| chunks.readers -= 1);
    }
}

/// Reads and encodes a chunk; may wait for the disk.
fn read(mut reader: StreamReader, max_bytes: usize) -> Result<Chunk, Error> {
    let ReadChunk { records, next_offset } = reader.read(max_bytes)?;
    let mut encoded = BytesMut::with_capacity(records::encoded_len(&records));
    records::encode(&records, &mut encoded);
    Ok(Chunk { records: encoded.freeze(), next_offset, place: reader.place() })
}
