//! Why a call about full syncs is refused.

use full_sync::{Refusal, Task};

use crate::error::Error;

/// A call that is not carried out.
#[derive(Debug)]
pub(crate) enum RefusedCall {
    /// `dts` says why.
    ByDts(Refusal),
    /// None of these has answered; empty where there was never one.
    Unanswered(Vec<String>),
    /// The listener takes none: its config says so.
    NotTaken(String),
    /// The request could not be taken back in time: `dts` may carry it out yet.
    Unknown,
    /// The listener does not subscribe to it.
    NotSubscribed { listener: String, table: String },
    /// No task has this id.
    NoSuchTask(String),
    /// It has ended already.
    Ended(Box<Task>),
    /// The bus was asked in vain.
    Failed(Error),
    /// A bug.
    Broken(String),
}

impl From<Error> for RefusedCall {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<event_bus::Error> for RefusedCall {
    fn from(error: event_bus::Error) -> Self {
        Self::Failed(error.into())
    }
}
