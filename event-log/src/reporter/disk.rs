//! A spool on disk: a log of its own, with one stream, and one group that stands for the server.
//!
//! Its format, its group commit, its recovery and its lock are those of any log. What the group has
//! committed, the server has durably: retention deletes it.

use std::{path::Path, time::Duration};

use bytesize::ByteSize;

use super::{
    chunk::{CHUNK_BYTES, Chunk},
    owner::SpoolOwner,
};
use crate::{
    Append, Error, Event, Log, NewRecord, OnFull, Record, Start, StorageConfig, Stream, Subscribe,
    Subscription,
    proto::{self, Header},
};

const STREAM: &str = "spool";
/// What it has committed, the server has.
const SERVER: &str = "server";
const MIN_SEGMENT_BYTES: u64 = 128 << 10;
const MAX_SEGMENT_BYTES: u64 = 64 << 20;

/// Records that wait on disk. Their places are offsets.
#[derive(Debug)]
pub(super) struct DiskSpool {
    stream: Stream,
    max_bytes: u64,
    /// Where it began when it was opened.
    pub(super) first: u64,
    /// Keeps the directory ours.
    _log: Log,
}

impl DiskSpool {
    pub(super) async fn open(
        (directory, owner): (&Path, &SpoolOwner),
        max_bytes: u64,
    ) -> Result<Self, Error> {
        let config = StorageConfig {
            retention: Duration::ZERO,
            max_bytes,
            on_full: OnFull::Stop,
            segment_bytes: (max_bytes / 8).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES),
            is_spool: true,
            ..StorageConfig::new(directory)
        };
        // It reads the last data file.
        let opened = tokio::task::spawn_blocking(move || Log::open(config)).await;
        let log = opened.map_err(|error| Error::Unavailable(error.to_string()))??;
        owner.check(directory)?;
        let stream = log.stream(STREAM)?;
        let committed = stream.shared.groups.committed(SERVER);
        let first = match committed {
            Some(place) => place,
            None => {
                // Nothing is deleted before the server has it.
                let first = stream.locate(Start::Earliest)?;
                stream.reset_group(SERVER, first).await?;
                first
            }
        };
        Ok(Self { stream, max_bytes, first, _log: log })
    }

    /// The id that the log chose when its directory was made.
    pub(super) fn id(&self) -> u64 {
        u64::from(self.stream.shared.origin)
    }

    pub(super) fn end(&self) -> u64 {
        self.stream.shared.end()
    }

    pub(super) fn bytes(&self, from: u64) -> u64 {
        self.stream.shared.bytes_from(from)
    }

    pub(super) async fn put(&self, records: &[proto::NewRecord]) -> Result<u64, Error> {
        let records = records.iter().map(NewRecord::from);
        let append = Append { producer: None, records, checkpoint: &[] };
        match self.stream.append(append).await {
            Ok(appended) => Ok(appended.last_offset + 1),
            Err(Error::Full(reason)) => Err(Error::Full(self.reason(reason))),
            Err(error) => Err(error),
        }
    }

    /// Why it is full: what the disk says, if the spool itself has room.
    fn reason(&self, of_disk: String) -> String {
        let directory = self.stream.shared.directory.display();
        if self.stream.state().log_bytes < self.max_bytes {
            return format!("the disk of the spool {directory} is full: {of_disk}");
        }
        let max = ByteSize::b(self.max_bytes);
        format!("the spool {directory} holds {max} at the most")
    }

    pub(super) fn forget(&self, place: u64) -> Result<(), Error> {
        self.stream.note_group(SERVER, place)
    }

    pub(super) fn reader(&self) -> Result<DiskReader, Error> {
        let subscription = self.stream.subscribe(Subscribe {
            group: String::new(),
            start: Start::Offset(self.first),
            topics: Vec::new(),
            kinds: Vec::new(),
            origins: Vec::new(),
            addressee: None,
            max_bytes: CHUNK_BYTES,
            client: String::new(),
        })?;
        Ok(DiskReader { subscription })
    }
}

/// Reads a spool from its first place on, as records become durable.
pub(super) struct DiskReader {
    subscription: Subscription,
}

impl DiskReader {
    pub(super) async fn next(&mut self) -> Result<Chunk, Error> {
        loop {
            if let Event::Records { records, next_offset, .. } = self.subscription.next().await? {
                let records = records.into_iter().map(|record| (record.offset + 1, new(record)));
                return Ok(Chunk { records: records.collect(), next: next_offset });
            }
        }
    }
}

/// The record as it was reported.
fn new(record: Record) -> proto::NewRecord {
    let headers = record.headers.iter().map(|header| {
        let (name, value) = (header.name().to_owned(), header.value.clone());
        Header { name, value }
    });
    proto::NewRecord {
        r#type: record.kind,
        topic: record.topic().to_owned(),
        headers: headers.collect(),
        key: record.key,
        payload: record.payload,
    }
}
