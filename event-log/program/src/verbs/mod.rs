//! What `event-log` can be told to do, a file each.

pub(crate) mod agent;
pub(crate) mod append;
pub(crate) mod cat;
mod connect;
pub(crate) mod export;
mod files_at;
pub(crate) mod groups;
pub(crate) mod import;
mod lines;
pub(crate) mod ls;
pub(crate) mod mirror;
mod point;
pub(crate) mod promote;
pub(crate) mod relay;
pub(crate) mod serve;
pub(crate) mod tail;
pub(crate) mod verify;

use event_log::Error;
use service::{config::Mistakes, exit::Exit};

/// Why a verb was not carried out.
pub(crate) enum Failure {
    Config(Mistakes),
    Log(Error),
    Relay(::relay::Error),
    /// What was to be checked is not right; each fault was logged.
    Wrong(String),
}

impl From<Mistakes> for Failure {
    fn from(mistakes: Mistakes) -> Self {
        Self::Config(mistakes)
    }
}

impl From<Error> for Failure {
    fn from(problem: Error) -> Self {
        Self::Log(problem)
    }
}

impl From<::relay::Error> for Failure {
    fn from(problem: ::relay::Error) -> Self {
        match problem {
            ::relay::Error::Log(problem) => Self::Log(problem),
            problem => Self::Relay(problem),
        }
    }
}

impl Failure {
    /// What a script is told.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Log(Error::Rejected(_)) => Exit::Config,
            Self::Log(
                Error::Held(_)
                | Error::Unusable { .. }
                | Error::Listen { .. }
                | Error::Refused(_)
                | Error::Diverged(_)
                | Error::OffsetGone { .. }
                | Error::Unavailable(_)
                | Error::NoStream(_)
                | Error::GroupActive { .. },
            ) => Exit::Refused,
            Self::Relay(::relay::Error::Io { .. }) => Exit::Internal,
            Self::Relay(_) => Exit::Refused,
            Self::Log(_) => Exit::Internal,
            Self::Wrong(_) => Exit::Wrong,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(mistakes) => mistakes.fmt(f),
            Self::Log(problem) => problem.fmt(f),
            Self::Relay(problem) => problem.fmt(f),
            Self::Wrong(what) => what.fmt(f),
        }
    }
}

/// What this machine calls itself.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
