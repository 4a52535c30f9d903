//! Checks the index of a day against what its data files say.

use std::{
    fs::File,
    io::ErrorKind,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::{
    Error,
    disk::{
        data_files::SegmentId,
        index::{ENTRY_BYTES, IndexEntry},
    },
};

const ENTRY: u64 = ENTRY_BYTES as u64;

/// How far the index of a day was checked.
pub(crate) struct IndexCheck {
    path: PathBuf,
    /// `None`: it was not made yet.
    file: Option<File>,
    position: u64,
    /// Where the entries of the newest file end.
    newest_end: Option<u64>,
}

impl IndexCheck {
    /// Opens the index of the day of its first data file; `None` when it is not there. Entries of
    /// earlier files, which retention has deleted, must be in order.
    pub(crate) fn open(stream: &Path, first: SegmentId) -> Result<Option<Self>, Error> {
        let path = first.index(stream);
        let file = match File::open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("cannot open", path)(error)),
        };
        let mut check = Self { path, file, position: 0, newest_end: None };
        check.skip_deleted(first.number)?;
        Ok(Some(check))
    }

    /// The index of a day that was just begun: the writer makes it after the data file.
    pub(crate) fn not_made(stream: &Path, first: SegmentId) -> Self {
        Self { path: first.index(stream), file: None, position: 0, newest_end: None }
    }

    fn skip_deleted(&mut self, first: u32) -> Result<(), Error> {
        let mut last: Option<IndexEntry> = None;
        while let Some(bytes) = self.entry_at(self.position)? {
            let Some(entry) = IndexEntry::decode(&bytes) else {
                // One of the first file that is there; that is checked against its data.
                return Ok(());
            };
            if entry.file >= first {
                return Ok(());
            }
            let order = |entry: &IndexEntry| (entry.file, entry.position, entry.offset);
            if last.is_some_and(|last| order(&last) >= order(&entry)) {
                return Err(self.damage(self.position, "an entry is not after the one before it"));
            }
            last = Some(entry);
            self.position += ENTRY;
        }
        Ok(())
    }

    /// The next entries must be these.
    pub(crate) fn take(&mut self, right: &[u8]) -> Result<(), Error> {
        for right in right.chunks_exact(ENTRY_BYTES) {
            let Some(found) = self.entry_at(self.position)? else {
                return Err(self.damage(self.position, "an entry is missing"));
            };
            self.compare(self.position, right, &found)?;
            self.position += ENTRY;
        }
        Ok(())
    }

    /// The next entries must be these, as far as they were written: the writer does not sync those
    /// of its newest file. Says how many are not there.
    pub(crate) fn take_newest(&mut self, right: &[u8]) -> Result<u64, Error> {
        let (mut at, mut unwritten) = (self.position, 0);
        for right in right.chunks_exact(ENTRY_BYTES) {
            match self.entry_at(at)? {
                Some(found) if found != [0; ENTRY_BYTES] => self.compare(at, right, &found)?,
                _ => unwritten += 1,
            }
            at += ENTRY;
        }
        self.newest_end = Some(at);
        Ok(unwritten)
    }

    /// Nothing may follow. But when the newest file is of this day, with its number and its whole
    /// bytes, there may be entries for what was written since, or was never finished. Says how many
    /// entries are half written.
    pub(crate) fn finish(&self, newest: Option<(u32, u64)>) -> Result<u64, Error> {
        let mut at = self.newest_end.unwrap_or(self.position);
        let metadata = self.file.as_ref().map(File::metadata).transpose();
        let metadata = metadata.map_err(Error::io("cannot read", &self.path))?;
        let length = metadata.map_or(0, |metadata| metadata.len());
        let Some((file, whole_bytes)) = newest else {
            let problem = "there is more than the data files say";
            return if length > at { Err(self.damage(at, problem)) } else { Ok(0) };
        };
        let mut half_written = u64::from(length > at && !length.is_multiple_of(ENTRY));
        while let Some(found) = self.entry_at(at)? {
            match IndexEntry::decode(&found).map(|entry| (entry.file, entry.position)) {
                Some(place) if place >= (file, whole_bytes) => {}
                None if found == [0; ENTRY_BYTES] => half_written += 1,
                _ => return Err(self.damage(at, "an entry does not fit to the data files")),
            }
            at += ENTRY;
        }
        Ok(half_written)
    }

    /// How many bytes were right, without those of the newest file.
    pub(crate) fn right_bytes(&self) -> u64 {
        self.position
    }

    /// The entry at a position; `None` where the index ends, even within an entry.
    fn entry_at(&self, position: u64) -> Result<Option<[u8; ENTRY_BYTES]>, Error> {
        let Some(file) = &self.file else { return Ok(None) };
        let mut bytes = [0; ENTRY_BYTES];
        match file.read_exact_at(&mut bytes, position) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(Error::io("cannot read", &self.path)(error)),
        }
    }

    fn compare(&self, at: u64, right: &[u8], found: &[u8]) -> Result<(), Error> {
        match right.iter().zip(found).position(|(right, found)| right != found) {
            None => Ok(()),
            Some(byte) => {
                Err(self.damage(at + byte as u64, "an entry is not what the data files say"))
            }
        }
    }

    fn damage(&self, position: u64, problem: &str) -> Error {
        Error::Damaged { file: self.path.clone(), position, problem: problem.to_owned() }
    }
}
