//! The contract between a listener and its handler: what one call gets, and what its end means.
//!
//! The contract knows nothing of buses and of the wire: who calls a [`Handler`] takes the events
//! from somewhere, and what a handler does with them is its own.

mod answer;
mod event;

use std::time::Duration;

use async_trait::async_trait;

pub use self::{
    answer::{HandlerAnswer, MAX_ANSWER_BYTES, shown},
    event::{Event, Place, json_array, write_json_array},
};

/// The user's work. Each lane has a handler of its own, and calls it for one batch after another.
///
/// The same events come again when a call failed. After a crash they come again even when the call
/// succeeded: at least once. Events with the same key always come in the order of their changes. A
/// call is dropped (in the sense of Rust) when its events are taken away or the listener must stop.
#[async_trait]
pub trait Handler: Send {
    /// Does the work for a batch; it is never empty.
    async fn handle(&mut self, batch: Batch<'_>) -> Outcome;

    /// A call was dropped. Returns when nothing of the call runs any more, as far as the handler
    /// can know, and soon in any case. Only after that may another member of the group get the
    /// events.
    async fn abandon(&mut self) {}

    /// What a human can do about a failure that does not say it itself.
    fn remedy(&self) -> &'static str {
        "fix the handler; it is called again by itself"
    }

    /// The handler is not called for a while: it may free what the next call can make again.
    async fn rest(&mut self) {}
}

/// What one call gets.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The events, in order.
    pub events: &'a [&'a Event],
    /// How often these events were tried, this time included: 1, 2, 3 …
    pub attempt: u32,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All events are done.
    Done,
    /// None is done: the batch comes again.
    Failed(Failure),
    /// Events failed, and come again with every later event of their keys in the batch; the others
    /// are done.
    Partly {
        /// The ids of those that failed.
        failed: Vec<String>,
        /// Why.
        failure: Failure,
    },
}

/// Why a call failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// For the log and the API. Must hold nothing of the rows.
    pub reason: String,
    /// What the handler itself said of it: the end of its standard error, the beginning of its
    /// answer. It may hold values of rows; `showOutput` of the listener says whether it is shown.
    pub said: Option<String>,
    /// How long to wait at least before the next try.
    pub retry_after: Option<Duration>,
    /// The batch was too large: parts of it are tried at once.
    pub is_too_large: bool,
    /// The call says nothing about its events: the handler was not reached, or its answer cannot be
    /// understood. Then nobody is told how to skip an event.
    pub is_unclear: bool,
    /// What the handler works on is away: the same events are tried again, all together. It is
    /// always unclear, too.
    pub is_away: bool,
    /// What a human can do about a failure of this kind; `None`: what [`Handler::remedy`] says.
    pub remedy: Option<&'static str>,
}

impl Failure {
    /// A failure with nothing but a reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..Self::default() }
    }

    /// A failure that says nothing about the events of the call.
    pub fn unclear(reason: impl Into<String>) -> Self {
        Self { is_unclear: true, ..Self::new(reason) }
    }

    /// A failure because what the handler works on is away.
    pub fn away(reason: impl Into<String>) -> Self {
        Self { is_away: true, ..Self::unclear(reason) }
    }

    /// The same with what the handler itself said.
    pub fn saying(self, said: impl Into<String>) -> Self {
        Self { said: Some(said.into()), ..self }
    }
}

impl Outcome {
    /// A failed call.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(Failure::new(reason))
    }

    /// A call after which the handler names the events that failed, and may say why.
    pub fn partly(failed: Vec<String>, said: Option<String>) -> Self {
        let reason = format!("the handler says that {} of its events failed", failed.len());
        Self::Partly { failed, failure: Failure { said, ..Failure::new(reason) } }
    }

    /// Adds the handler's words to a failure that has none.
    #[must_use]
    pub fn or_saying(mut self, words: Option<String>) -> Self {
        if let Self::Failed(failure) | Self::Partly { failure, .. } = &mut self {
            failure.said = failure.said.take().or(words);
        }
        self
    }
}
