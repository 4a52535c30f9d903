//! Walks a data file batch by batch, without any lock: its log may be written at the same time.

use std::{
    fs::{self, Metadata},
    io::ErrorKind,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::{
    data_files::{self, SegmentId},
    end_and_state::{self, End},
    file_reading::FileReading,
    frame::HEADER_BYTES,
    index::{self, IndexEntry, Sought},
    recovery,
    scan::Scan,
};
use crate::{Error, record::Record};

/// A data file, read from a place where a batch begins.
///
/// The end of the newest file may be half written, or torn by a crash. That is the end for now:
/// the unfinished batch is read again later. What a crash cannot have made is damage; the rule is
/// in the doc of `disk`. Since the file can grow between two looks, a place is called damaged only
/// when it was read again after the proof that it had been synced.
pub(crate) struct Walk {
    stream: PathBuf,
    scan: Scan,
    reading: FileReading,
    /// The length of the file, as it was last asked for.
    length: u64,
    /// The last END that was read: where it stands, and how it begins.
    last_end: Option<(u64, [u8; HEADER_BYTES])>,
    /// The record that could not be read, and how often it was tried.
    broken: Option<(u64, u32)>,
    is_at_end: bool,
}

/// The next thing in a data file.
pub(crate) enum Walked {
    /// A record that stands at `position`; it counts when the END of its batch has come.
    Record { position: u64, record: Record },
    /// The unfinished batch is read again from its beginning.
    Rewound,
    /// There is no more whole batch, now. As for `Rewound`, an unfinished one is read again.
    End,
}

/// Why a record cannot be read.
enum Broken {
    /// Its bytes are wrong or missing: they may not have been written yet.
    Bytes(Error),
    /// It is whole and does not belong there, or the disk fails.
    Other(Error),
}

impl Walk {
    /// From the beginning of a file; `None` when it is not there.
    pub(crate) fn open(stream: &Path, id: SegmentId) -> Result<Option<Self>, Error> {
        Self::open_at(stream, FileReading::new(id))
    }

    /// From the beginning of a batch, so that all is met that is sought; `None` when the file is
    /// not there.
    pub(crate) fn seek(
        stream: &Path,
        id: SegmentId,
        sought: Sought,
    ) -> Result<Option<Self>, Error> {
        let reading = match batch_start(stream, id, sought) {
            Some((position, offset)) => FileReading::at(id, position, offset),
            None => FileReading::new(id),
        };
        Self::open_at(stream, reading)
    }

    fn open_at(stream: &Path, reading: FileReading) -> Result<Option<Self>, Error> {
        let scan = match Scan::open(&reading.id().data(stream), reading.whole_bytes()) {
            Ok(scan) => scan,
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let length = scan.file_bytes()?;
        Ok(Some(Self {
            stream: stream.to_owned(),
            scan,
            reading,
            length,
            last_end: None,
            broken: None,
            is_at_end: false,
        }))
    }

    /// What the whole batches say that were read.
    pub(crate) fn reading(&self) -> &FileReading {
        &self.reading
    }

    pub(crate) fn into_reading(self) -> FileReading {
        self.reading
    }

    pub(crate) fn id(&self) -> SegmentId {
        self.reading.id()
    }

    /// How many bytes stand after the last whole batch.
    pub(crate) fn unfinished_bytes(&self) -> u64 {
        self.length.saturating_sub(self.reading.whole_bytes())
    }

    /// Whether the file is longer now than its whole batches that were read.
    pub(crate) fn has_more(&mut self) -> Result<bool, Error> {
        self.look_again()?;
        Ok(self.unfinished_bytes() > 0)
    }

    /// Another reader of the same file, even if that is deleted by now.
    pub(crate) fn scan_at(&self, position: u64) -> Result<Scan, Error> {
        self.scan.again_at(position)
    }

    pub(crate) fn damage(&self, position: u64, problem: &str) -> Error {
        self.scan.damage(position, problem)
    }

    /// The next record, or that there is none for now.
    pub(crate) fn next(&mut self) -> Result<Walked, Error> {
        if self.is_at_end {
            self.look_again()?;
            if self.length == self.reading.whole_bytes() {
                return Ok(Walked::End);
            }
            self.is_at_end = false;
        }
        match self.step() {
            Ok(Some((position, record))) => {
                if record.kind == end_and_state::END {
                    self.last_end = Some((position, self.header_at(position)?));
                }
                self.broken = self.broken.filter(|(broken, _)| position < *broken);
                Ok(Walked::Record { position, record })
            }
            Ok(None) => self.ended(),
            Err(broken) => self.try_again(broken),
        }
    }

    fn step(&mut self) -> Result<Option<(u64, Record)>, Broken> {
        let next = self.scan.next(self.length).map_err(|error| match error {
            Error::Io { ref source, .. } if source.kind() != ErrorKind::UnexpectedEof => {
                Broken::Other(error)
            }
            error => Broken::Bytes(error),
        })?;
        let Some((position, record)) = next else { return Ok(None) };
        match self.reading.take(position, self.scan.position(), &record) {
            Ok(()) => Ok(Some((position, record))),
            Err(problem) => Err(Broken::Other(self.damage(position, problem))),
        }
    }

    /// The file ends where a record ends.
    fn ended(&mut self) -> Result<Walked, Error> {
        self.look_again()?;
        if self.scan.position() < self.length {
            return Ok(self.rewound());
        }
        if self.unfinished_bytes() == 0 {
            self.is_at_end = true;
            return Ok(Walked::End);
        }
        let at = self.scan.position();
        self.try_again(Broken::Bytes(self.damage(at, "the file ends within a batch")))
    }

    /// A record cannot be read: is that damage, or the end for now?
    fn try_again(&mut self, broken: Broken) -> Result<Walked, Error> {
        let at = self.scan.position();
        let tried =
            self.broken.filter(|(position, _)| *position == at).map_or(0, |(_, times)| times);
        self.broken = Some((at, tried + 1));
        match broken {
            // What stood in the buffer may be older than what stands in the file.
            _ if tried == 0 => {
                self.look_again()?;
                Ok(self.rewound())
            }
            Broken::Bytes(_) if tried == 1 => {
                if self.was_synced(at)? {
                    self.look_again()?;
                    return Ok(self.rewound());
                }
                self.rewound();
                (self.broken, self.is_at_end) = (None, true);
                Ok(Walked::End)
            }
            Broken::Bytes(error) | Broken::Other(error) => Err(error),
        }
    }

    /// Whether what is written at a place was synced before anything that is there now.
    fn was_synced(&mut self, position: u64) -> Result<bool, Error> {
        let has_later =
            data_files::list(&self.stream)?.last().is_some_and(|last| *last > self.id());
        if has_later || position >= self.length {
            return Ok(has_later);
        }
        let offset = match self.reading.expected_offset() {
            Some(offset) => Some(offset),
            None => recovery::offset_before(&self.stream, self.id())?,
        };
        self.scan.was_synced(position, offset, self.length)
    }

    fn rewound(&mut self) -> Walked {
        self.reading.rewind();
        self.scan.go_to(self.reading.whole_bytes());
        Walked::Rewound
    }

    /// Asks for the length of the file, and whether what was read is still there.
    fn look_again(&mut self) -> Result<(), Error> {
        self.length = self.scan.file_bytes()?;
        let is_there = match self.last_end {
            _ if self.length < self.reading.whole_bytes() => false,
            Some((position, header)) => self.header_at(position)? == header,
            None => true,
        };
        if is_there && !self.was_replaced()? { Ok(()) } else { Err(self.taken_back()) }
    }

    /// Whether another file has its name now, or none and it was the newest.
    fn was_replaced(&self) -> Result<bool, Error> {
        let path = self.id().data(&self.stream);
        let identity = |file: &Metadata| (file.dev(), file.ino());
        let open = self.scan.file().metadata().map_err(Error::io("cannot read", &path))?;
        match fs::metadata(&path) {
            Ok(named) => Ok(identity(&named) != identity(&open)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Retention deletes only files that another one follows.
                Ok(data_files::list(&self.stream)?.last().is_none_or(|last| *last < self.id()))
            }
            Err(error) => Err(Error::io("cannot read", path)(error)),
        }
    }

    fn taken_back(&self) -> Error {
        Error::TakenBack { file: self.id().data(&self.stream) }
    }

    fn header_at(&self, position: u64) -> Result<[u8; HEADER_BYTES], Error> {
        let mut header = [0; HEADER_BYTES];
        match self.scan.file().read_exact_at(&mut header, position) {
            Ok(()) => Ok(header),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(self.taken_back()),
            Err(error) => Err(Error::io("cannot read", self.id().data(&self.stream))(error)),
        }
    }
}

/// A place where a batch begins, and the offset of its first record, from which reading on meets
/// what is sought; `None` when only the beginning of the file is known to be one.
fn batch_start(stream: &Path, id: SegmentId, mut sought: Sought) -> Option<(u64, u64)> {
    loop {
        let entry = index::find(stream, id, sought).filter(|entry| entry.position > 0)?;
        let (batch_first, end) = batch_around(stream, id, entry)?;
        if end.is_before(sought) {
            return Some((end.position, end.next_offset));
        }
        if entry.offset == batch_first {
            return Some((entry.position, entry.offset));
        }
        sought = Sought::Offset(batch_first);
    }
}

/// Where a batch ends.
struct BatchEnd {
    position: u64,
    next_offset: u64,
    time_ms: u64,
}

impl BatchEnd {
    fn is_before(&self, sought: Sought) -> bool {
        match sought {
            Sought::Offset(offset) => self.next_offset <= offset,
            Sought::Time(time_ms) => self.time_ms < time_ms,
        }
    }
}

/// The offset of the first record of the batch that an entry of the index stands in, and its end.
fn batch_around(stream: &Path, id: SegmentId, entry: IndexEntry) -> Option<(u64, BatchEnd)> {
    let mut scan = Scan::open(&id.data(stream), entry.position).ok()?;
    let length = scan.file_bytes().ok()?;
    while let Some((position, record)) = scan.next(length).ok()? {
        let is_entry = (record.offset, record.time_ms) == (entry.offset, entry.time_ms);
        if position == entry.position && !is_entry {
            return None;
        }
        if record.kind == end_and_state::END {
            let batch = End::decode(record.payload)?;
            let next_offset = record.offset.checked_add(1)?;
            let end = BatchEnd { position: scan.position(), next_offset, time_ms: record.time_ms };
            return Some((record.offset.checked_sub(batch.records.into())?, end));
        }
    }
    None
}
