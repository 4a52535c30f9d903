//! What those that append to a stream, its writer, its readers and its groups share.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use service::private;
use tokio::sync::watch;

use crate::{
    Error, StorageConfig,
    disk::{
        data_files::{self, Segment, SegmentId},
        index::{self, Sought},
        recovery::{self, Recovered},
    },
    group::Groups,
    leader::Leaders,
    queue::Queue,
    tail::WriteGroup,
};

/// What all threads and tasks of a stream share.
#[derive(Debug)]
pub(crate) struct SharedStream {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) origin: u32,
    pub(crate) queue: Queue,
    segments: Mutex<Vec<Segment>>,
    /// Held while a data file is deleted.
    pub(crate) deleting: Mutex<()>,
    /// The durable end: readers never see past it.
    end: watch::Sender<u64>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) leaders: Arc<Leaders>,
}

impl SharedStream {
    /// Opens the stream of a name, or makes one.
    pub(crate) fn open(name: &str, config: &StorageConfig, origin: u32) -> Result<Self, Error> {
        let directory = config.directory.join(name);
        data_files::create_directory(&directory)?;
        let Recovered { segments, tail } = recovery::recover(&directory, origin)?;
        let groups = Groups::open(&directory, tail.next_offset)?;
        let shared = Self {
            name: name.to_owned(),
            directory,
            origin,
            end: watch::Sender::new(tail.next_offset),
            queue: Queue::new(tail, config.segment_bytes),
            segments: Mutex::new(segments),
            deleting: Mutex::default(),
            groups: Arc::new(groups),
            leaders: Arc::default(),
        };
        if let Some(last) = shared.last_segment() {
            shared.finish_days_before(last)?;
        }
        Ok(shared)
    }

    /// The durable end.
    pub(crate) fn end(&self) -> u64 {
        *self.end.borrow()
    }

    pub(crate) fn watch_end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    pub(crate) fn segments(&self) -> MutexGuard<'_, Vec<Segment>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of the data files that a group still needs which has finished all below
    /// `committed`.
    pub(crate) fn held_by(&self, committed: u64) -> u64 {
        if committed >= self.end() {
            return 0;
        }
        let segments = self.segments();
        let before = segments.partition_point(|segment| segment.first_offset <= committed);
        segments.iter().skip(before.saturating_sub(1)).map(|segment| segment.bytes).sum()
    }

    /// The bytes from an offset on, and those of some records before it.
    pub(crate) fn bytes_from(&self, offset: u64) -> u64 {
        let files = self.held_by(offset);
        let segments = self.segments();
        let at = segments.partition_point(|segment| segment.first_offset <= offset);
        let first = at.checked_sub(1).and_then(|at| segments.get(at)).copied();
        drop(segments);
        let before = first.filter(|_| files > 0).map_or(0, |first| {
            index::seek(&self.directory, first.id, Sought::Offset(offset)).min(first.bytes)
        });
        files.saturating_sub(before)
    }

    pub(crate) fn last_segment(&self) -> Option<SegmentId> {
        self.segments().last().map(|last| last.id)
    }

    /// A write group is durable: shows it to readers.
    pub(crate) fn publish(&self, group: &WriteGroup) {
        if group.data.is_empty() {
            return;
        }
        let mut segments = self.segments();
        let after = group.segment_after(segments.last());
        if group.opens.is_none() {
            segments.pop();
        }
        segments.extend(after);
        drop(segments);
        self.end.send_replace(group.next_offset);
    }

    /// Marks all days before the day of `last` as complete.
    pub(crate) fn finish_days_before(&self, last: SegmentId) -> Result<(), Error> {
        let days: Vec<SegmentId> = self
            .segments()
            .chunk_by(|one, next| one.id.day == next.id.day)
            .filter_map(|day| day.first())
            .map(|segment| segment.id)
            .filter(|id| id.day < last.day)
            .collect();
        for id in days {
            let path = id.finish(&self.directory);
            if !path.exists() {
                private::create(&path).map_err(Error::io("cannot create", &path))?;
                data_files::sync_directory(&id.day_directory(&self.directory))?;
            }
        }
        Ok(())
    }
}
