//! The changes that a log makes on its disk. No other file of an open log writes, syncs, renames or
//! deletes, so a test sees every change, in order, and may refuse it (`watched`).

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use service::private;

use super::kind_of_change::Change;
use crate::Error;

fn change<T>(
    path: &Path,
    action: &'static str,
    change: Change<'_>,
    act: impl FnOnce() -> io::Result<T>,
) -> Result<T, Error> {
    #[cfg(test)]
    let act = || super::watched::make(path, change, act);
    #[cfg(not(test))]
    let _ = change;
    act().map_err(Error::io(action, path))
}

fn sync(
    path: &Path,
    change: Change<'_>,
    act: impl FnOnce() -> io::Result<()>,
) -> Result<(), Error> {
    #[cfg(test)]
    let act = || super::watched::sync(path, change, act);
    #[cfg(not(test))]
    let _ = change;
    act().map_err(Error::io("cannot sync", path))
}

/// Makes one directory; it may be there.
pub(crate) fn make_directory(path: &Path) -> Result<(), Error> {
    change(path, "cannot create the directory", Change::MakeDirectory, || {
        private::create_dir_all(path)
    })
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    sync(path, Change::SyncDirectory, || File::open(path)?.sync_all())
}

/// Opens a file to write in it; makes it where there is none.
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    change(path, "cannot create", Change::Open, || {
        private::options().write(true).create(true).truncate(false).open(path)
    })
}

/// Makes a file, which must not be there.
pub(crate) fn create_new(path: &Path) -> Result<File, Error> {
    change(path, "cannot create", Change::Open, || {
        private::options().write(true).create_new(true).open(path)
    })
}

/// Opens an empty file to write in it.
pub(crate) fn create_empty(path: &Path) -> Result<File, Error> {
    change(path, "cannot create", Change::OpenEmpty, || private::create(path))
}

pub(crate) fn write_at(file: &File, path: &Path, bytes: &[u8], at: u64) -> Result<(), Error> {
    change(path, "cannot write", Change::Write { at, bytes }, || file.write_all_at(bytes, at))
}

/// Makes a file as long as this.
pub(crate) fn cut(file: &File, path: &Path, bytes: u64) -> Result<(), Error> {
    change(path, "cannot cut", Change::Cut { bytes }, || file.set_len(bytes))
}

/// Makes what was written durable.
pub(crate) fn sync_data(file: &File, path: &Path) -> Result<(), Error> {
    sync(path, Change::Sync, || file.sync_data())
}

/// Makes what was written durable, and what the system knows about the file.
pub(crate) fn sync_all(file: &File, path: &Path) -> Result<(), Error> {
    sync(path, Change::Sync, || file.sync_all())
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    change(from, "cannot rename", Change::RenameTo(to), || fs::rename(from, to))
}

pub(crate) fn delete(path: &Path) -> Result<(), Error> {
    change(path, "cannot delete", Change::Delete, || fs::remove_file(path))
}

/// Deletes a directory with all that is in it.
pub(crate) fn delete_directory(path: &Path) -> Result<(), Error> {
    change(path, "cannot delete", Change::DeleteDirectory, || fs::remove_dir_all(path))
}
