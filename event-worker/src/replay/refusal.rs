//! Why a call about replays is refused.

use super::entry::ReplayState;
use crate::error::Error;

/// Why a call is refused.
#[derive(Debug)]
pub(crate) enum RefusedReplay {
    /// The listener does not subscribe to the table.
    NotSubscribed { listener: String, table: String },
    /// It would begin at this time, which is in the future.
    Future(String),
    /// Retention deleted the first offset of it.
    OffsetGone { topic: String, partition: u32, offset: u64, first: u64 },
    /// The listener has done nothing yet.
    NotBegun,
    /// The listener has done no event between the bounds; it has done these that are kept.
    Empty { kept: String },
    /// Another replay of the listener has not ended.
    Running(String),
    /// No replay has this id.
    NoSuchReplay(String),
    /// The replay has ended.
    Ended(String, ReplayState),
    /// The bus did not answer, or answered with an error.
    Failed(Error),
}

impl From<Error> for RefusedReplay {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<event_bus::Error> for RefusedReplay {
    fn from(error: event_bus::Error) -> Self {
        Self::Failed(error.into())
    }
}
