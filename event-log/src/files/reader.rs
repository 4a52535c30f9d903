//! Reads the records of a stream from its directory, across files and days.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use super::follow::{self, Next};
use crate::{
    Error, Record, Start, Subscribe,
    disk::{
        data_files::{self, SegmentId},
        end_and_state,
        index::Sought,
        scan::Scan,
        walk::{Walk, Walked},
    },
    filter::RecordFilter,
    record::FIRST_DATA_TYPE,
};

/// A read that finds nothing that passes returns after so much.
const MAX_SCANNED_BYTES: usize = 8 << 20;
/// A batch that is larger is not held in memory until its END comes, but read twice.
const MAX_HELD_BYTES: usize = 4 << 20;

/// A reader of the files of one stream. It takes no lock: a server may be writing the stream, and
/// retention may be deleting from it.
pub struct FileReader {
    stream: PathBuf,
    filter: RecordFilter,
    walk: Option<Walk>,
    /// Earlier records are not wanted.
    from: Sought,
    batch: HeldBatch,
    /// Records of whole batches.
    ready: VecDeque<Record>,
    /// A whole batch that was too large to be held.
    large: Option<(Scan, u64)>,
    next_offset: u64,
    /// What the next read says.
    failed: Option<Error>,
}

/// What one read gave.
#[derive(Debug)]
pub struct FileChunk {
    /// Those that pass the filter, in order; may be empty.
    pub records: Vec<Record>,
    /// Everything below was read.
    pub next_offset: u64,
    /// There is no more for now.
    pub at_end: bool,
}

/// The data records of a batch whose END has not come yet.
#[derive(Default)]
struct HeldBatch {
    records: Vec<Record>,
    bytes: usize,
    is_large: bool,
    start: u64,
}

impl FileReader {
    /// Opens the stream whose directory this is, to be read from `start` on.
    ///
    /// # Errors
    ///
    /// [`Error::OffsetGone`] when the offset was deleted; [`Error::Io`]; [`Error::Damaged`].
    pub fn open(stream: &Path, start: Start) -> Result<Self, Error> {
        let from = match start {
            Start::Offset(offset) => Sought::Offset(offset),
            Start::Time(time_ms) => Sought::Time(time_ms),
            Start::Earliest | Start::Latest => Sought::Offset(0),
        };
        let mut reader = Self {
            stream: stream.to_owned(),
            filter: RecordFilter::default(),
            walk: start_walk(stream, start)?,
            from,
            batch: HeldBatch::default(),
            ready: VecDeque::new(),
            large: None,
            next_offset: 0,
            failed: None,
        };
        if start == Start::Latest {
            reader.go_to_end()?;
        }
        Ok(reader)
    }

    /// Gives only what passes `topics`, `kinds`, `origins` and `addressee` of this.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] for a filter that is wrong.
    pub fn filtered(mut self, wanted: &Subscribe) -> Result<Self, Error> {
        self.filter = RecordFilter::new(wanted)?;
        Ok(self)
    }

    /// The next records, about so many bytes of them; none and `at_end` when there are no more now.
    /// It reads up to about 8 MiB to find them.
    ///
    /// # Errors
    ///
    /// [`Error::OffsetGone`]: retention has deleted the next record, or a copy never got it; open
    /// again at its `first` to go on. [`Error::TakenBack`]: what was given last was never
    /// acknowledged. [`Error::Damaged`]; [`Error::Rejected`] when the offset to start at is past
    /// the end.
    pub fn read(&mut self, max_bytes: usize) -> Result<FileChunk, Error> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut records = Vec::new();
        match self.read_into(&mut records, max_bytes) {
            Err(error) if records.is_empty() => Err(error),
            Err(error) => {
                // What stands before it is given first.
                self.failed = Some(error);
                Ok(FileChunk { records, next_offset: self.next_offset, at_end: false })
            }
            Ok(at_end) => Ok(FileChunk { records, next_offset: self.next_offset, at_end }),
        }
    }

    /// Whether there is no more now.
    fn read_into(&mut self, records: &mut Vec<Record>, max_bytes: usize) -> Result<bool, Error> {
        let (mut left, mut scan_left) = (max_bytes, MAX_SCANNED_BYTES);
        while left > 0 && scan_left > 0 {
            let Some(record) = self.take_ready()? else {
                if self.advance()? {
                    continue;
                }
                self.check_start()?;
                return Ok(true);
            };
            self.next_offset = record.offset + 1;
            let bytes = weight(&record);
            scan_left = scan_left.saturating_sub(bytes);
            if self.is_wanted(&record) && self.filter.passes(&record) {
                left = left.saturating_sub(bytes);
                records.push(record);
            }
        }
        Ok(false)
    }

    /// The day that the reader cannot leave, although records of later days are there: it is not
    /// marked as finished. A log that is opened once marks it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn unfinished_day(&self) -> Result<Option<String>, Error> {
        let Some(walk) = &self.walk else { return Ok(None) };
        let day = walk.id().day;
        let has_later = data_files::list(&self.stream)?.last().is_some_and(|last| last.day > day);
        let is_stuck = has_later && !walk.id().finish(&self.stream).exists();
        Ok(is_stuck.then(|| day.to_string()))
    }

    fn is_wanted(&self, record: &Record) -> bool {
        record.kind >= FIRST_DATA_TYPE
            && match self.from {
                Sought::Offset(offset) => record.offset >= offset,
                Sought::Time(time_ms) => record.time_ms >= time_ms,
            }
    }

    /// The next record of a whole batch.
    fn take_ready(&mut self) -> Result<Option<Record>, Error> {
        if let Some((scan, end)) = &mut self.large {
            if let Some((_, record)) = scan.next(*end)? {
                return Ok(Some(record));
            }
            self.large = None;
        }
        Ok(self.ready.pop_front())
    }

    /// Reads to the end of the next batch; `false` when there is none now.
    fn advance(&mut self) -> Result<bool, Error> {
        let wanted = self.wanted_offset();
        loop {
            let Some(walk) = &mut self.walk else {
                self.walk = start_walk(&self.stream, Start::Earliest)?;
                if self.walk.is_none() {
                    return Ok(false);
                }
                continue;
            };
            match walk.next()? {
                Walked::Record { record, .. } if record.kind == end_and_state::END => {
                    self.batch_ended()?;
                    return Ok(true);
                }
                Walked::Record { record, .. } if record.kind < FIRST_DATA_TYPE => {}
                Walked::Record { record, .. } => {
                    self.batch.hold(record, walk.reading().whole_bytes());
                }
                Walked::Rewound => self.batch = HeldBatch::default(),
                Walked::End => {
                    self.batch = HeldBatch::default();
                    self.next_offset = self.next_offset.max(walk.reading().next_offset());
                    match follow::next(&self.stream, walk, wanted)? {
                        Next::Wait => return Ok(false),
                        Next::More => {}
                        Next::File(next) => self.walk = Some(*next),
                    }
                }
            }
        }
    }

    fn batch_ended(&mut self) -> Result<(), Error> {
        let Some(walk) = &self.walk else { return Ok(()) };
        let batch = std::mem::take(&mut self.batch);
        self.next_offset = self.next_offset.max(walk.reading().next_offset());
        if batch.is_large {
            let scan = walk.scan_at(batch.start)?;
            self.large = Some((scan, walk.reading().whole_bytes()));
        }
        self.ready.extend(batch.records);
        Ok(())
    }

    fn wanted_offset(&self) -> u64 {
        match self.from {
            Sought::Offset(offset) => offset,
            Sought::Time(_) => 0,
        }
    }

    /// At the end: what was to be read first must not lie behind it.
    fn check_start(&self) -> Result<(), Error> {
        let (wanted, end) = (self.wanted_offset(), self.next_offset);
        if wanted <= end {
            return Ok(());
        }
        Err(Error::Rejected(format!(
            "offset {wanted} is past the end of the stream, which is {end}"
        )))
    }

    fn go_to_end(&mut self) -> Result<(), Error> {
        while self.advance()? {
            self.ready.clear();
            self.large = None;
        }
        self.from = Sought::Offset(self.next_offset);
        Ok(())
    }
}

impl HeldBatch {
    /// Keeps a record of the batch that begins at `start`.
    fn hold(&mut self, record: Record, start: u64) {
        self.start = start;
        self.bytes = self.bytes.saturating_add(weight(&record));
        if self.bytes > MAX_HELD_BYTES {
            self.is_large = true;
            self.records = Vec::new();
        }
        if !self.is_large {
            self.records.push(record);
        }
    }
}

/// About how much memory it takes.
fn weight(record: &Record) -> usize {
    let headers = record.headers.iter().map(|header| header.name.len() + header.value.len());
    let parts = record.topic.len() + record.key.len() + record.payload.len();
    headers.fold(parts + crate::disk::frame::HEADER_BYTES, usize::saturating_add)
}

/// Where reading begins; `None` while there is no record.
fn start_walk(stream: &Path, start: Start) -> Result<Option<Walk>, Error> {
    for _ in 0..follow::MAX_TRIES {
        let ids = data_files::list(stream)?;
        let Some(&first) = ids.first() else { return Ok(None) };
        let found = match start {
            Start::Earliest => Found::File(first),
            Start::Offset(wanted) => last_before(stream, &ids, |offset, _| offset <= wanted)?,
            Start::Time(time_ms) => last_before(stream, &ids, |_, time| time < time_ms)?,
            Start::Latest => last_before(stream, &ids, |_, _| true)?,
        };
        let (id, sought) = match (found, start) {
            (Found::Gone, _) => continue,
            (Found::File(id), Start::Offset(wanted)) => (id, Sought::Offset(wanted)),
            (Found::File(id), Start::Time(time_ms)) => (id, Sought::Time(time_ms)),
            (Found::File(id), Start::Latest) => (id, Sought::Offset(u64::MAX)),
            (Found::File(id), Start::Earliest) => (id, Sought::Offset(0)),
            (Found::OnlyLater(offset), Start::Offset(wanted)) => {
                return Err(Error::OffsetGone { offset: wanted, first: offset });
            }
            (Found::OnlyLater(_) | Found::Nothing, _) => (first, Sought::Offset(0)),
        };
        if let Some(walk) = Walk::seek(stream, id, sought)? {
            return Ok(Some(walk));
        }
    }
    Ok(None)
}

/// Where something is looked for.
enum Found {
    File(SegmentId),
    /// Even the first file begins later, with this offset.
    OnlyLater(u64),
    /// No file has a record yet.
    Nothing,
    /// A file was deleted during the search.
    Gone,
}

/// The last file whose first record, its offset and its time, is as wanted.
fn last_before(
    stream: &Path,
    ids: &[SegmentId],
    is_before: impl Fn(u64, u64) -> bool,
) -> Result<Found, Error> {
    let (mut low, mut high) = (0, ids.len());
    let mut found = Found::Nothing;
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(mut walk) = Walk::open(stream, ids[middle])? else { return Ok(Found::Gone) };
        match follow::first(&mut walk)? {
            Some((offset, time_ms)) if is_before(offset, time_ms) => {
                found = Found::File(ids[middle]);
                low = middle + 1;
            }
            Some((offset, _)) => {
                if middle == 0 {
                    found = Found::OnlyLater(offset);
                }
                high = middle;
            }
            None => high = middle,
        }
    }
    Ok(found)
}
