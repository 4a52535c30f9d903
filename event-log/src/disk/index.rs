//! The sparse index of a day: made from the records, used to find one.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Buf;

use super::{
    change,
    data_files::{Segment, SegmentId},
    scan::Scan,
};
use crate::Error;

pub(crate) const ENTRY_BYTES: usize = 32;
/// An entry for about so much data.
const STEP_BYTES: u64 = 64 << 10;

/// Where a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) file: u32,
    pub(crate) offset: u64,
    pub(crate) time_ms: u64,
    pub(crate) position: u64,
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sought {
    /// The record with this offset or the next one.
    Offset(u64),
    /// The first record of this time or later.
    Time(u64),
}

/// Chooses the records that get an entry; the same for the writer, for recovery and for a mirror.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Steps {
    last: Option<(u32, u64)>,
}

impl Steps {
    pub(crate) fn wants(&mut self, file: u32, position: u64) -> bool {
        let wanted = match self.last {
            Some((last_file, last)) if last_file == file => position >= last + STEP_BYTES,
            _ => true,
        };
        if wanted {
            self.last = Some((file, position));
        }
        wanted
    }
}

impl IndexEntry {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.file.to_le_bytes());
        for field in [self.offset, self.time_ms, self.position] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }

    pub(crate) fn decode(mut from: &[u8]) -> Option<Self> {
        let crc = from.try_get_u32_le().ok()?;
        if crc != crc32c::crc32c(from) {
            return None;
        }
        Some(Self {
            file: from.try_get_u32_le().ok()?,
            offset: from.try_get_u64_le().ok()?,
            time_ms: from.try_get_u64_le().ok()?,
            position: from.try_get_u64_le().ok()?,
        })
    }

    /// Whether reading from here on meets what is sought in this data file, or nothing earlier can.
    fn is_before(&self, file: u32, sought: Sought) -> bool {
        match self.file.cmp(&file) {
            std::cmp::Ordering::Equal => match sought {
                Sought::Offset(offset) => self.offset <= offset,
                Sought::Time(time_ms) => self.time_ms < time_ms,
            },
            order => order.is_lt(),
        }
    }
}

/// A position in the data file from which reading on meets what is sought; 0 when the index does
/// not help.
pub(crate) fn seek(stream: &Path, segment: SegmentId, sought: Sought) -> u64 {
    find(stream, segment, sought).map_or(0, |entry| entry.position)
}

/// The last entry of the data file from which reading on meets what is sought, when the index
/// helps.
pub(crate) fn find(stream: &Path, segment: SegmentId, sought: Sought) -> Option<IndexEntry> {
    search(&segment.index(stream), segment.number, sought).ok().flatten()
}

/// Binary search over the file itself: opened seldom, so not worth keeping in memory.
fn search(index: &Path, file: u32, sought: Sought) -> io::Result<Option<IndexEntry>> {
    let entries = File::open(index)?;
    let (mut low, mut high) = (0, entries.metadata()?.len() / ENTRY_BYTES as u64);
    let mut found = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let mut bytes = [0; ENTRY_BYTES];
        entries.read_exact_at(&mut bytes, middle * ENTRY_BYTES as u64)?;
        let Some(entry) = IndexEntry::decode(&bytes) else { return Ok(None) };
        if entry.is_before(file, sought) {
            found = (entry.file == file).then_some(entry);
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(found)
}

/// The index of a day as it must be.
#[derive(Debug)]
pub(crate) struct RightIndex {
    path: PathBuf,
    entries: Vec<u8>,
}

impl RightIndex {
    /// Of the last day: what its data files say. `last` are the right entries of its last file;
    /// those of the others are read from the data only when the index lacks them.
    pub(crate) fn of(
        stream: &Path,
        segments: &[Segment],
        last: &[u8],
    ) -> Result<Option<Self>, Error> {
        let Some((open, closed)) = segments.split_last() else { return Ok(None) };
        let path = open.id.index(stream);
        let old = fs::read(&path).unwrap_or_default();
        let mut entries = Vec::with_capacity(old.len());
        for segment in closed.iter().filter(|segment| segment.id.day == open.id.day) {
            match kept_entries(&old, segment.id.number) {
                Some(kept) => entries.extend_from_slice(kept),
                None => entries.extend(entries_of(stream, segment)?),
            }
        }
        entries.extend_from_slice(last);
        Ok(Some(Self { path, entries }))
    }

    /// Writes and syncs it. Also when it looks right: a sync that failed can leave it so, and not
    /// on the disk. The writer may begin the next file before it opens this index: it must be
    /// durable then.
    pub(crate) fn write(&self) -> Result<(), Error> {
        let index = change::open(&self.path)?;
        change::write_at(&index, &self.path, &self.entries, 0)?;
        change::cut(&index, &self.path, self.entries.len() as u64)?;
        change::sync_all(&index, &self.path)?;
        self.path.parent().map_or(Ok(()), change::sync_directory)
    }
}

/// The entries of one file, if none is damaged and those of a later file follow them: else some may
/// not have been written.
fn kept_entries(index: &[u8], file: u32) -> Option<&[u8]> {
    let (mut from, mut to) = (None, None);
    for (number, bytes) in index.chunks_exact(ENTRY_BYTES).enumerate() {
        let entry = IndexEntry::decode(bytes)?;
        if entry.file == file && entry.position == 0 {
            from = Some(number * ENTRY_BYTES);
        }
        if entry.file > file && to.is_none() {
            to = Some(number * ENTRY_BYTES);
        }
    }
    index.get(from?..to?)
}

fn entries_of(stream: &Path, segment: &Segment) -> Result<Vec<u8>, Error> {
    let mut scan = Scan::open(&segment.id.data(stream), 0)?;
    let (mut steps, mut entries) = (Steps::default(), Vec::new());
    while let Some((position, record)) = scan.next(segment.bytes)? {
        let file = segment.id.number;
        if steps.wants(file, position) {
            let entry =
                IndexEntry { file, offset: record.offset, time_ms: record.time_ms, position };
            entry.encode(&mut entries);
        }
    }
    Ok(entries)
}
