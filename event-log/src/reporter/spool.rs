//! Where records wait until the server has them: in memory, or in a log of its own on disk.
//!
//! A place in a spool is a number: the server has all records below it, and none at it or after it.

use super::{
    SpoolConfig,
    chunk::Chunk,
    disk::{DiskReader, DiskSpool},
    memory::MemorySpool,
    owner::SpoolOwner,
};
use crate::{Error, proto::NewRecord};

/// A spool.
#[derive(Debug)]
pub(super) enum Spool {
    Memory(MemorySpool),
    Disk(DiskSpool),
}

/// Where the next chunk of a spool is read.
pub(super) enum SpoolReader {
    Memory { next: u64 },
    Disk(Box<DiskReader>),
}

impl Spool {
    pub(super) async fn open(config: &SpoolConfig, owner: &SpoolOwner) -> Result<Self, Error> {
        Ok(match &config.directory {
            None => Self::Memory(MemorySpool::new(config.max_bytes)),
            Some(directory) => {
                Self::Disk(DiskSpool::open((directory, owner), config.max_bytes).await?)
            }
        })
    }

    /// Names the spool among all spools: the places of another say nothing about this one.
    pub(super) fn id(&self) -> u64 {
        match self {
            Self::Memory(memory) => memory.id,
            Self::Disk(disk) => disk.id(),
        }
    }

    /// The server has all below this place, as far as the spool knows.
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Memory(_) => 0,
            Self::Disk(disk) => disk.first,
        }
    }

    /// The place after the last record.
    pub(super) fn end(&self) -> u64 {
        match self {
            Self::Memory(memory) => memory.end(),
            Self::Disk(disk) => disk.end(),
        }
    }

    /// The bytes from a place on.
    pub(super) fn bytes(&self, from: u64) -> u64 {
        match self {
            Self::Memory(memory) => memory.bytes(),
            Self::Disk(disk) => disk.bytes(from),
        }
    }

    /// Puts records at the end, all or none; gives the place after them.
    pub(super) async fn put(&self, records: &[NewRecord]) -> Result<u64, Error> {
        match self {
            Self::Memory(memory) => memory.put(records),
            Self::Disk(disk) => disk.put(records).await,
        }
    }

    /// The server has all below this place: they may go.
    pub(super) fn forget(&self, place: u64) -> Result<(), Error> {
        match self {
            Self::Memory(memory) => {
                memory.forget(place);
                Ok(())
            }
            Self::Disk(disk) => disk.forget(place),
        }
    }

    /// Reads from the first place on.
    pub(super) fn reader(&self) -> Result<SpoolReader, Error> {
        Ok(match self {
            Self::Memory(_) => SpoolReader::Memory { next: 0 },
            Self::Disk(disk) => SpoolReader::Disk(Box::new(disk.reader()?)),
        })
    }

    /// Waits for records, and gives the next chunk. A dropped call loses nothing.
    pub(super) async fn next(&self, reader: &mut SpoolReader) -> Result<Chunk, Error> {
        match (self, reader) {
            (Self::Memory(memory), SpoolReader::Memory { next }) => {
                let chunk = memory.read(*next).await;
                *next = chunk.next;
                Ok(chunk)
            }
            (_, SpoolReader::Disk(disk)) => disk.next().await,
            (Self::Disk(_), SpoolReader::Memory { .. }) => Ok(Chunk::default()),
        }
    }
}
