//! The file that keeps the place of a relay on a directory, and its lock.
//!
//! A record can be read from the files of a running server a moment before the server has synced
//! and acknowledged it. When the server then cannot sync it, other records get its offset. So the file
//! keeps *marks* beside the place: offset, time and checksum of records that were done. When the
//! log has another record at the last mark, the place goes back to the last mark that fits: nothing is
//! left out, whatever was taken back.
//!
//! The file is JSON, replaced by rename after it was synced. Its lock is a file beside it.

use std::{
    fs::{self, File, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use event_log::Record;
use serde::{Deserialize, Serialize};
use service::private;

use crate::error::Error;

/// When there are more marks, every second one of the older half goes.
const MAX_MARKS: usize = 32;
const VERSION: u32 = 1;

/// A record that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Mark {
    pub(crate) offset: u64,
    time_ms: u64,
    crc: u32,
}

impl Mark {
    pub(crate) fn of(record: &Record) -> Self {
        let parts = [record.topic().as_bytes(), &record.key, &record.payload];
        let crc = parts.iter().fold(record.kind, |crc, part| {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            crc32c::crc32c_append(crc32c::crc32c_append(crc, &length.to_le_bytes()), part)
        });
        Self { offset: record.offset, time_ms: record.time_ms, crc }
    }
}

/// Where a relay goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Place {
    /// All below this offset is done.
    pub(crate) next: u64,
    /// Records below it, the last one last.
    marks: Vec<Mark>,
}

impl Place {
    /// A place without a mark.
    pub(crate) fn at(next: u64) -> Self {
        Self { next, marks: Vec::new() }
    }

    /// The last record that was done, if it is known.
    pub(crate) fn last(&self) -> Option<Mark> {
        self.marks.last().copied()
    }

    /// Goes on to `next`; `mark` is the last record below it.
    pub(crate) fn go_on(&mut self, next: u64, mark: Option<Mark>) {
        self.next = next;
        let Some(mark) = mark.filter(|mark| self.last() != Some(*mark)) else { return };
        self.marks.push(mark);
        if self.marks.len() > MAX_MARKS {
            let mut at = 0;
            self.marks.retain(|_| {
                at += 1;
                at > MAX_MARKS / 2 || at % 2 == 1
            });
        }
    }

    /// The log has another record at the last mark: goes back to the one before. `false` when there
    /// is none.
    pub(crate) fn go_back(&mut self) -> bool {
        self.marks.pop();
        match self.last() {
            Some(mark) => {
                self.next = mark.offset + 1;
                true
            }
            None => false,
        }
    }
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Content {
    version: u32,
    relay: String,
    stream: String,
    place: Place,
}

/// The file. While this is there, no other process has it.
#[derive(Debug)]
pub(crate) struct PlaceFile {
    path: PathBuf,
    relay: String,
    stream: String,
    _lock: File,
}

impl PlaceFile {
    /// Locks the file of a relay, and reads it; `None` when there is none yet.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`], [`Error::Place`], [`Error::Io`].
    pub(crate) fn open(
        path: &Path,
        (relay, stream): (&str, &str),
    ) -> Result<(Self, Option<Place>), Error> {
        if let Some(directory) = directory_of(path) {
            private::create_dir_all(directory).map_err(Error::io("cannot make", directory))?;
        }
        let lock = lock(path, relay)?;
        let (relay, stream) = (relay.to_owned(), stream.to_owned());
        let file = Self { path: path.to_owned(), relay, stream, _lock: lock };
        let place = file.read()?;
        Ok((file, place))
    }

    fn read(&self) -> Result<Option<Place>, Error> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("cannot read", &self.path)(error)),
        };
        const ANOTHER: &str = "name another file with --state (or `state`)";
        let content: Content = serde_json::from_slice(&text).map_err(|error| {
            self.wrong(format!("it does not hold the place of a relay ({error})"), ANOTHER)
        })?;
        if content.version != VERSION {
            let problem = format!("it is of version {}, not {VERSION}", content.version);
            return Err(self.wrong(problem, "use the event-log that wrote it"));
        }
        let Content { relay, stream, place, .. } = content;
        if (&relay, &stream) != (&self.relay, &self.stream) {
            let problem = format!("it holds the place of the relay {relay} on the stream {stream}");
            return Err(self.wrong(problem, ANOTHER));
        }
        Ok(Some(place))
    }

    /// Something is wrong with the file, or with what it says.
    pub(crate) fn wrong(&self, problem: String, remedy: &'static str) -> Error {
        Error::Place { file: self.path.clone(), problem, remedy }
    }

    /// Saves the place; durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub(crate) fn save(&self, place: &Place) -> Result<(), Error> {
        let (relay, stream) = (self.relay.clone(), self.stream.clone());
        let content = Content { version: VERSION, relay, stream, place: place.clone() };
        let text = serde_json::to_vec(&content).unwrap_or_default();
        let fresh = beside(&self.path, "new");
        private::write(&fresh, &text).map_err(Error::io("cannot write", &fresh))?;
        let file = File::open(&fresh).map_err(Error::io("cannot open", &fresh))?;
        file.sync_all().map_err(Error::io("cannot sync", &fresh))?;
        fs::rename(&fresh, &self.path).map_err(Error::io("cannot replace", &self.path))?;
        let directory = directory_of(&self.path).unwrap_or(Path::new("."));
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(Error::io("cannot sync", directory))
    }
}

fn lock(path: &Path, relay: &str) -> Result<File, Error> {
    let path = beside(path, "lock");
    let file = private::create(&path).map_err(Error::io("cannot open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { name: relay.to_owned(), lock: path }),
        Err(TryLockError::Error(error)) => Err(Error::io("cannot lock", path)(error)),
    }
}

/// A file whose name has one more ending.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn directory_of(path: &Path) -> Option<&Path> {
    path.parent().filter(|directory| !directory.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(offset: u64) -> Mark {
        Mark { offset, time_ms: 1, crc: 2 }
    }

    #[test]
    fn marks_are_dense_at_the_end_few_in_all_and_go_back_to_the_first() {
        let mut place = Place::default();
        for offset in 0..10_000 {
            place.go_on(offset + 1, Some(mark(offset)));
        }
        assert!(place.marks.len() <= MAX_MARKS, "{}", place.marks.len());
        for offset in (9_990..10_000).rev() {
            assert_eq!((place.last(), place.next), (Some(mark(offset)), offset + 1));
            assert!(place.go_back());
        }
        let mut back = 0;
        while place.go_back() {
            assert_eq!(place.next, place.last().unwrap().offset + 1);
            back += 1;
        }
        assert!(back >= MAX_MARKS / 4, "{back}");
    }

    #[test]
    fn a_place_is_read_as_it_was_saved_by_its_relay_and_by_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/a.json");
        let (file, none) = PlaceFile::open(&path, ("a", "s")).unwrap();
        assert_eq!(none, None);
        let mut place = Place::at(3);
        place.go_on(9, Some(mark(7)));
        file.save(&place).unwrap();
        let refused = PlaceFile::open(&path, ("a", "s")).unwrap_err();
        assert!(refused.to_string().contains("another process is the relay a"), "{refused}");
        drop(file);
        assert_eq!(PlaceFile::open(&path, ("a", "s")).unwrap().1, Some(place));
        let other = PlaceFile::open(&path, ("b", "s")).unwrap_err().to_string();
        assert!(other.contains("the relay a on the stream s; name another"), "{other}");
        fs::write(&path, "{").unwrap();
        let damaged = PlaceFile::open(&path, ("a", "s")).unwrap_err().to_string();
        assert!(damaged.contains("does not hold the place"), "{damaged}");
    }
}
