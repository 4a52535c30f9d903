//! Whether the disk has room for what is appended.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::Error;

/// With so many bytes free, a disk that was full takes appends again, as far as can be known before
/// the next one.
const ENOUGH_BYTES: u64 = 1 << 20;

/// What came of the last write of a stream.
#[derive(Debug)]
pub(crate) struct DiskRoom {
    directory: PathBuf,
    refused: Mutex<Option<Refused>>,
}

#[derive(Clone, Debug)]
struct Refused {
    problem: String,
    /// The disk itself was full, and no limit of the user or the process reached.
    is_of_disk: bool,
}

impl DiskRoom {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), refused: Mutex::default() }
    }

    /// A write found no room.
    pub(crate) fn refused(&self, problem: &Error) {
        let is_of_disk = matches!(problem, Error::Io { source, .. }
            if source.kind() == io::ErrorKind::StorageFull);
        *self.lock() = Some(Refused { problem: problem.to_string(), is_of_disk });
    }

    /// A write succeeded.
    pub(crate) fn found(&self) {
        *self.lock() = None;
    }

    /// Why the last write found no room, unless there is some now.
    pub(crate) fn problem(&self) -> Option<String> {
        let Refused { problem, is_of_disk } = self.lock().clone()?;
        let has_room = is_of_disk
            && available_bytes(&self.directory).is_some_and(|bytes| bytes >= ENOUGH_BYTES);
        (!has_room).then(|| format!("the disk is full: {problem}; make room on that disk"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What this user can still write to the disk of a directory; `None` where the system does not say.
pub(crate) fn available_bytes(directory: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(directory).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
