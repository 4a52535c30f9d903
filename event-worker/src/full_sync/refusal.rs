//! Why a call about full syncs is refused, and what is refused before `dts` is asked.

use full_sync::{Refusal, Task};

use super::target::Target;
use crate::error::Error;

/// Why a call is refused.
#[derive(Debug)]
pub(crate) enum RefusedCall {
    /// `dts` says why.
    ByDts(Refusal),
    /// None of these `dts` has answered; empty when there was never one.
    Unanswered(Vec<String>),
    /// The listener takes no full syncs: its config says so.
    NotTaken(String),
    /// The request could not be removed in time: `dts` may still carry it out.
    Unknown,
    /// The listener does not subscribe to the table.
    NotSubscribed { listener: String, table: String },
    /// No task has this id.
    NoSuchTask(String),
    /// The task has ended already.
    Ended(Box<Task>),
    /// The bus did not answer, or answered with an error.
    Failed(Error),
    /// A bug.
    Broken(String),
}

/// What is refused at once: a listener that takes no full syncs, and a table that it never gets.
pub(super) fn before_asking(target: &Target, tables: Option<&str>) -> Option<RefusedCall> {
    if !target.takes_full_syncs {
        return Some(RefusedCall::NotTaken(target.id.clone()));
    }
    let table = tables.filter(|table| !target.may_get(table))?;
    Some(RefusedCall::NotSubscribed { listener: target.id.clone(), table: table.to_owned() })
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
