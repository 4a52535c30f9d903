//! Reading for a caller in this process.

use tokio::task::{JoinHandle, spawn_blocking};

use super::Reading;
use crate::{
    Error, Record, Stream,
    filter::RecordFilter,
    reader::{ReadChunk, StreamReader},
};

/// A reader of its own, which keeps its file open.
#[derive(Debug)]
pub(super) struct OwnReading {
    /// `None` while it reads.
    reader: Option<Box<StreamReader>>,
    under_way: Option<JoinHandle<ReadEnded>>,
    max_bytes: usize,
}

type ReadEnded = (Box<StreamReader>, Result<ReadChunk, Error>);

impl Reading for OwnReading {
    type Records = Vec<Record>;

    fn begin(stream: &Stream, filter: RecordFilter, offset: u64, max_bytes: usize) -> Self {
        let reader = StreamReader::new(&stream.shared, filter, offset);
        Self { reader: Some(Box::new(reader)), under_way: None, max_bytes }
    }

    fn offset(&self) -> Option<u64> {
        self.reader.as_ref().map(|reader| reader.offset())
    }

    /// Reads on a thread that may wait for the disk.
    async fn read(&mut self) -> Result<(Vec<Record>, u64), Error> {
        if let Some(mut reader) = self.reader.take() {
            let max_bytes = self.max_bytes;
            self.under_way = Some(spawn_blocking(move || {
                let chunk = reader.read(max_bytes);
                (reader, chunk)
            }));
        }
        let Some(under_way) = &mut self.under_way else {
            return Err(Error::Unavailable("the thread that read has ended".to_owned()));
        };
        let ended = under_way.await;
        self.under_way = None;
        let (reader, chunk) = ended.map_err(|error| Error::Unavailable(error.to_string()))?;
        self.reader = Some(reader);
        let ReadChunk { records, next_offset } = chunk?;
        Ok((records, next_offset))
    }
}
