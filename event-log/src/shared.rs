//! What those that append to a stream, its writer, its readers and its groups share.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use service::clock::now_ms;
use tokio::sync::watch;

use crate::{
    Error, StorageConfig,
    chunks::Chunks,
    copy::{mark, state::CopyState},
    disk::{
        change,
        data_files::{self, Segment, SegmentId},
        day::Day,
        index::{self, Sought},
        recovery::{self, Recovered},
    },
    group::Groups,
    leader::Leaders,
    queue::Queue,
    room::DiskRoom,
    tail::WriteGroup,
};

/// What all threads and tasks of a stream share.
#[derive(Debug)]
pub(crate) struct SharedStream {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) origin: u32,
    pub(crate) queue: Queue,
    pub(crate) room: DiskRoom,
    segments: Mutex<Vec<Segment>>,
    /// Held while a data file is deleted.
    pub(crate) deleting: Mutex<()>,
    /// The durable end: readers never see past it.
    end: watch::Sender<u64>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) leaders: Arc<Leaders>,
    copy: Mutex<Option<CopyState>>,
    /// What its subscribers over the network get.
    pub(crate) chunks: Chunks,
    /// Of a copy, and of what was one: where the tables of its own consumers stand.
    pub(crate) beside: OnceLock<Arc<Self>>,
}

impl SharedStream {
    /// Opens the stream of a name, or makes one.
    pub(crate) fn open(name: &str, config: &StorageConfig, origin: u32) -> Result<Self, Error> {
        let directory = config.directory.join(name);
        data_files::create_directory(&directory)?;
        // A file that was replaced or deleted just before a crash must not come back.
        change::sync_directory(&directory)?;
        let copy_of = mark::read(&directory)?;
        let Recovered { segments, tail } =
            recovery::recover(&directory, origin, copy_of.is_some())?;
        // What a copy lacks comes again.
        let end = if copy_of.is_some() { u64::MAX } else { tail.next_offset };
        let groups = Groups::open(&directory, end)?;
        let shared = Self {
            name: name.to_owned(),
            room: DiskRoom::new(&directory),
            directory,
            origin,
            end: watch::Sender::new(tail.next_offset),
            queue: Queue::new(tail, config.segment_bytes),
            segments: Mutex::new(segments),
            deleting: Mutex::default(),
            groups: Arc::new(groups),
            leaders: Arc::default(),
            copy: Mutex::new(copy_of.map(CopyState::new)),
            chunks: Chunks::default(),
            beside: OnceLock::new(),
        };
        if let Some(last) = shared.last_segment() {
            shared.finish_days_before(last.day)?;
        }
        Ok(shared)
    }

    /// Marks the last day as complete as soon as it is over, so that nobody waits for the first
    /// record of the next. The days of a copy end when those of its original do.
    pub(crate) fn end_day(&self, now_ms: u64) -> Result<(), Error> {
        if self.copy().is_some() {
            return Ok(());
        }
        self.queue.end_day(now_ms).map_or(Ok(()), |day| self.finish_day(day))
    }

    /// Marks a day and all before it as complete, and wakes those who send copies.
    pub(crate) fn finish_day(&self, day: Day) -> Result<(), Error> {
        self.queue.mark_day_over(day);
        self.finish_days_before(day.next())?;
        self.end.send_modify(|_| {});
        Ok(())
    }

    /// How much later the last record is than the clock, in milliseconds.
    pub(crate) fn ahead_ms(&self) -> u64 {
        self.queue.with_tail(|tail| tail.time_ms).saturating_sub(now_ms())
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

    /// What the stream is a copy of, if it is one.
    pub(crate) fn copy(&self) -> MutexGuard<'_, Option<CopyState>> {
        self.copy.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Marks all days before this one as complete.
    pub(crate) fn finish_days_before(&self, first_open: Day) -> Result<(), Error> {
        let days: Vec<SegmentId> = self
            .segments()
            .chunk_by(|one, next| one.id.day == next.id.day)
            .filter_map(|day| day.first())
            .map(|segment| segment.id)
            .filter(|id| id.day < first_open)
            .collect();
        for id in days {
            let path = id.finish(&self.directory);
            if !path.exists() {
                change::create_empty(&path)?;
                change::sync_directory(&id.day_directory(&self.directory))?;
            }
        }
        Ok(())
    }
}
