//! What can go wrong in the log, at its server and at its client.

use std::{io, path::PathBuf};

/// An error of the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be reached, or is stopping.
    #[error("the event log is not available: {0}")]
    Unavailable(String),
    /// Nobody has appended to the stream; or its name is wrong.
    #[error("{0}")]
    NoStream(String),
    /// The disk or the log's own limit is reached; nothing of the append was kept.
    #[error("the event log is full: {0}")]
    Full(String),
    /// Another opened the same producer since.
    #[error("fenced: producer {0} was opened again by another process")]
    Fenced(String),
    /// A sequence number was left out.
    #[error("producer {producer} sent sequence {sent}, expected {expected}")]
    SequenceGap {
        /// The producer.
        producer: String,
        /// What came.
        sent: u64,
        /// What comes next.
        expected: u64,
    },
    /// What the log will not take, now or later.
    #[error("{0}")]
    Rejected(String),
    /// The offset was deleted by retention.
    #[error("offset {offset} is gone: the oldest record kept is {first}")]
    OffsetGone {
        /// What was asked for.
        offset: u64,
        /// The oldest offset that is still there.
        first: u64,
    },
    /// For a reader of files: records that it gave were never acknowledged, and are not there now.
    #[error(
        "the log took back an append that it had not acknowledged, after it was read from {}: read \
         again from an earlier offset", .file.display()
    )]
    TakenBack {
        /// The file where they stood.
        file: PathBuf,
    },
    /// A copy has other records than the stream that it shall follow.
    #[error("{0}")]
    Diverged(String),
    /// Another member of the group is the active one now.
    #[error("this member of group {0} is no longer the active one")]
    NotMember(String),
    /// What needs a group without members.
    #[error("group {group} has a member: stop {client} first")]
    GroupActive {
        /// The group.
        group: String,
        /// What the active member calls itself.
        client: String,
    },
    /// The token is missing or wrong.
    #[error("the event log refused us: {0}")]
    Refused(String),
    /// A file is not what was written.
    #[error(
        "{} is damaged at byte {position}: {problem}; nothing was changed: restore the file from \
         a copy, or move the stream's directory away to begin an empty one", .file.display()
    )]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Where in it the first thing stands that is wrong.
        position: u64,
        /// What is wrong.
        problem: String,
    },
    /// Another process has the directory open.
    #[error("the directory {} is in use by another process: stop that, or name another directory", .0.display())]
    Held(PathBuf),
    /// The log's directory cannot be made, or not be written in.
    #[error(
        "the directory {} cannot be used ({source}): make it a directory that this user may write \
         in, or name another", .directory.display()
    )]
    Unusable {
        /// The log's directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A write or sync failed so that the file cannot be trusted until it is read again.
    #[error("the event log stopped after a failed write ({0}): repair the disk and start again")]
    Poisoned(String),
    /// What a server says about itself: it is damaged, or stopped after a failed write.
    #[error("{0}")]
    Failed(String),
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
    /// The address of the server cannot be used.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Where.
        address: String,
        /// Why not, and what to do.
        reason: String,
    },
}

impl Error {
    /// Whether the same call can succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::NoStream(_) | Self::Full(_))
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Whether it says that there is no room on the disk.
    pub(crate) fn is_out_of_room(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let Self::Io { source, .. } = self else { return false };
        matches!(source.kind(), FileTooLarge | QuotaExceeded | StorageFull)
    }
}
