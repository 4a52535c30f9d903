//! What a human wants of events that wait aside.

use serde::{Deserialize, Serialize};

/// What to do with the events of one queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParkedCommand {
    /// The queue's name.
    pub(crate) queue: String,
    pub(crate) wish: ParkedWish,
}

/// What to do with events that wait aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ParkedWish {
    /// Call the handler now, once. What fails again stays parked.
    Retry,
    /// Unpark them: they are given again from now on, as if they had never failed.
    Replay,
    /// Drop these events, by the keys of their entries.
    Drop(Vec<String>),
}
