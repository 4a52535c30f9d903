//! Why a relay ends.

use std::{io, path::PathBuf};

/// An error of a relay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log, or its server.
    #[error(transparent)]
    Log(#[from] event_log::Error),
    /// The next records are not there any more.
    #[error(
        "the relay's next record, at offset {offset}, is gone: the oldest that is there is {first}; \
         to go on with that one, without those between, start it once with --on-gone earliest \
         (onGone = \"earliest\")"
    )]
    Gone {
        /// What comes next.
        offset: u64,
        /// What is there.
        first: u64,
    },
    /// Another process is this relay.
    #[error(
        "another process is the relay {name} already: it has locked {}; stop that one, or give this \
         one another name (or another file with --state)", .lock.display()
    )]
    InUse {
        /// The relay.
        name: String,
        /// What is locked.
        lock: PathBuf,
    },
    /// The file with the place belongs to something else, or is not what was written.
    #[error("{}: {problem}; {remedy}", .file.display())]
    Place {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The operating system refused something.
    #[error("{action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
