//! Reading for the network: from the chunks that all subscribers share.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::task::spawn_blocking;

use super::Reading;
use crate::{
    Error, Stream,
    chunks::{Chunk, ChunkKey},
    disk::data_files::FilePlace,
    filter::RecordFilter,
    reader::{ReadChunk, StreamReader},
    records,
    shared::SharedStream,
};

/// One of the subscriptions that share their chunks.
#[derive(Debug)]
pub(crate) struct SharedReading {
    stream: Arc<SharedStream>,
    filter: RecordFilter,
    key: ChunkKey,
    place: Option<FilePlace>,
    is_resting: bool,
}

impl Reading for SharedReading {
    type Records = Bytes;

    fn begin(stream: &Stream, filter: RecordFilter, offset: u64, max_bytes: usize) -> Self {
        let key = ChunkKey { offset, max_bytes, filter: Arc::clone(filter.terms()) };
        let stream = Arc::clone(&stream.shared);
        stream.chunks.come();
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
            self.stream.chunks.rest(rests);
        }
    }
}

impl Drop for SharedReading {
    fn drop(&mut self) {
        self.set_resting(false);
        self.stream.chunks.go();
    }
}

/// Reads and encodes a chunk; may wait for the disk.
fn read(mut reader: StreamReader, max_bytes: usize) -> Result<Chunk, Error> {
    let ReadChunk { records, next_offset } = reader.read(max_bytes)?;
    let mut encoded = BytesMut::with_capacity(records::encoded_len(&records));
    records::encode(&records, &mut encoded);
    Ok(Chunk { records: encoded.freeze(), next_offset, place: reader.place() })
}
