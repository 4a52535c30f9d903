//! A spool in memory.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytesize::ByteSize;
use tokio::sync::Notify;

use super::{
    chunk::{CHUNK_BYTES, Chunk},
    spooled_bytes,
};
use crate::{Error, proto::NewRecord};

/// Records that wait in memory. Their places count them, from 0.
#[derive(Debug)]
pub(super) struct MemorySpool {
    pub(super) id: u64,
    max_bytes: u64,
    waiting: Mutex<WaitingRecords>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct WaitingRecords {
    /// The place of the first.
    first: u64,
    records: VecDeque<NewRecord>,
    bytes: u64,
}

impl MemorySpool {
    pub(super) fn new(max_bytes: u64) -> Self {
        let id = RandomState::new().build_hasher().finish();
        Self { id, max_bytes, waiting: Mutex::default(), filled: Notify::new() }
    }

    pub(super) fn put(&self, records: &[NewRecord]) -> Result<u64, Error> {
        let bytes: u64 = records.iter().map(spooled_bytes).sum();
        let mut waiting = self.lock();
        if waiting.bytes + bytes > self.max_bytes {
            let max = ByteSize::b(self.max_bytes);
            return Err(Error::Full(format!("the spool in memory holds {max} at the most")));
        }
        waiting.bytes += bytes;
        waiting.records.extend(records.iter().cloned());
        let end = waiting.end();
        drop(waiting);
        self.filled.notify_one();
        Ok(end)
    }

    /// Waits for records at a place.
    pub(super) async fn read(&self, place: u64) -> Chunk {
        loop {
            let chunk = self.lock().chunk(place);
            if !chunk.records.is_empty() {
                return chunk;
            }
            // Only one task reads, and a notice that came before is kept.
            self.filled.notified().await;
        }
    }

    pub(super) fn forget(&self, place: u64) {
        let mut waiting = self.lock();
        while waiting.first < place
            && let Some(record) = waiting.records.pop_front()
        {
            waiting.first += 1;
            waiting.bytes = waiting.bytes.saturating_sub(spooled_bytes(&record));
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.lock().end()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, WaitingRecords> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaitingRecords {
    fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// The records from a place on, up to the size of a chunk; they stay here until the server has
    /// them.
    fn chunk(&self, place: u64) -> Chunk {
        let skipped = usize::try_from(place.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let mut chunk = Chunk { next: place, ..Chunk::default() };
        let mut left = CHUNK_BYTES as u64;
        for record in self.records.iter().skip(skipped) {
            let bytes = spooled_bytes(record);
            if bytes > left && !chunk.records.is_empty() {
                break;
            }
            left = left.saturating_sub(bytes);
            chunk.next += 1;
            chunk.records.push_back((chunk.next, record.clone()));
        }
        chunk
    }
}
