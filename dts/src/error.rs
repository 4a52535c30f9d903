//! The errors of `dts`, and what follows from each: try again, or stop and ask a human.

use service::exit::Exit;

use crate::checkpoint::InvalidCheckpoint;

/// An error of `dts`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// MySQL is away, or the connection broke: tried again, for ever.
    #[error("MySQL at {address}: {reason}")]
    SourceAway {
        /// The host and port.
        address: String,
        /// What happened.
        reason: String,
    },
    /// MySQL lets us in, but does not answer or stops sending. `dts` tries again, for ever, but
    /// another host first.
    #[error("MySQL at {address}: {reason}")]
    SourceSilent {
        /// The host and port.
        address: String,
        /// What was not answered, and for how long.
        reason: String,
    },
    /// MySQL refuses us, or is not configured as we need it, until somebody changes something.
    #[error("{problem}; {remedy}")]
    Refused {
        /// What was found.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// MySQL has let us in before, and does not any more: its password was changed, for example,
    /// and ours follows in a moment. Tried again, for ever, with what the password's file holds
    /// then.
    #[error("{problem}; {remedy}")]
    NotLetIn {
        /// What MySQL says.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// Another replica with our id connected, so the server ended our stream. It may be gone soon.
    #[error(
        "MySQL at {address} ended our connection, because another replica connected with our id, \
         {server_id}: stop that one, or set source.serverId to a number that nobody else uses"
    )]
    IdTaken {
        /// The host and port.
        address: String,
        /// The id.
        server_id: u32,
    },
    /// An event that is damaged: its checksum or its framing is wrong.
    #[error("the binlog event after {file}:{pos} is damaged: {reason}")]
    Damaged {
        /// The binlog file.
        file: String,
        /// Where the event before it ended.
        pos: u64,
        /// What is wrong.
        reason: String,
    },
    /// A binlog file that ends in the middle of an event, because the server crashed while it wrote
    /// that.
    #[error("the binlog file {file} ends in the middle of the event after position {pos}")]
    Torn {
        /// The binlog file.
        file: String,
        /// Where the event before it ended.
        pos: u64,
    },
    /// An event that we do not understand. It is never skipped.
    #[error("{0}")]
    Event(#[from] binlog::Error),
    /// The bus.
    #[error("{0}")]
    Bus(#[from] event_bus::Error),
    /// The saved position cannot be read.
    #[error("{0}")]
    Checkpoint(#[from] InvalidCheckpoint),
    /// A part of this program ended that should not have ended.
    #[error("{0}")]
    Internal(String),
}

/// A result of `dts`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A refusal, with its remedy.
    pub fn refused(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused { problem: problem.into(), remedy: remedy.into() }
    }

    /// Whether the same can succeed later without a change by anybody.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::SourceAway { .. }
            | Self::NotLetIn { .. }
            | Self::Damaged { .. }
            | Self::Torn { .. } => true,
            // A writer that was fenced becomes a stand-by.
            Self::SourceSilent { .. }
            | Self::IdTaken { .. }
            | Self::Bus(event_bus::Error::Fenced(_)) => true,
            Self::Bus(error) => error.is_transient(),
            Self::Refused { .. } | Self::Event(_) | Self::Checkpoint(_) | Self::Internal(_) => {
                false
            }
        }
    }

    /// Whether the connection to MySQL broke, or brought damaged data that another one may bring
    /// intact.
    pub fn is_lost_connection(&self) -> bool {
        matches!(
            self,
            Self::SourceAway { .. }
                | Self::SourceSilent { .. }
                | Self::IdTaken { .. }
                | Self::Damaged { .. }
                | Self::Torn { .. }
        )
    }

    /// What is waited for when the bus is full.
    pub(crate) const ROOM: &'static str = "room on the bus";

    /// What `dts` waits for after this error, and what to do about it.
    pub(crate) fn waits_for(&self) -> (&'static str, &'static str) {
        match self {
            Self::SourceAway { .. } => {
                ("MySQL", "start it, or correct source.hosts; dts goes on by itself")
            }
            Self::SourceSilent { .. } => (
                "an answer of MySQL",
                "see what the server is doing, and whether its disk is full; dts tries again by \
                 itself",
            ),
            Self::NotLetIn { .. } => (
                "its user at MySQL",
                "put the right password where source.password takes it from: a file is read anew at \
                 each try, and dts goes on by itself; after a change of the config or of a variable \
                 start dts again",
            ),
            Self::IdTaken { .. } => ("its id as a replica", "stop the other replica"),
            Self::Damaged { .. } | Self::Torn { .. } => (
                "an intact binlog",
                "dts reads it again; if this lasts, see the error log and the disks of MySQL",
            ),
            Self::Bus(event_bus::Error::Full(_)) => {
                (Self::ROOM, "make room as this says; dts goes on by itself then")
            }
            Self::Bus(event_bus::Error::Fenced(_)) => (
                "the lead",
                "nothing, if another dts of this name runs; else wait: the bus gives the lead back \
                 within some ten seconds",
            ),
            Self::Bus(_) => ("the bus", "start it; dts goes on by itself"),
            Self::Refused { .. } | Self::Event(_) | Self::Checkpoint(_) | Self::Internal(_) => {
                ("a human", "see the log")
            }
        }
    }

    /// The exit code of the process if this error ends it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::SourceAway { .. }
            | Self::SourceSilent { .. }
            | Self::NotLetIn { .. }
            | Self::IdTaken { .. }
            | Self::Refused { .. }
            | Self::Damaged { .. }
            | Self::Torn { .. } => Exit::Refused,
            Self::Bus(event_bus::Error::Internal(_)) => Exit::Internal,
            Self::Bus(_) => Exit::Refused,
            Self::Event(error) if error.is_for_operator() => Exit::Refused,
            Self::Event(_) | Self::Checkpoint(_) | Self::Internal(_) => Exit::Internal,
        }
    }
}
