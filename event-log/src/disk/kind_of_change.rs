//! What an open log can do to its disk.

use std::path::Path;

/// What is done to a path.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "only tests look at it"))]
pub(crate) enum Change<'a> {
    MakeDirectory,
    /// Opens a file, which may be there.
    Open,
    /// Opens a file, which is empty then.
    OpenEmpty,
    Write {
        at: u64,
        bytes: &'a [u8],
    },
    Cut {
        bytes: u64,
    },
    Sync,
    SyncDirectory,
    RenameTo(&'a Path),
    Delete,
    DeleteDirectory,
}
