//! What is called with events, until it succeeds.

mod answer;
mod exec;
mod http;
mod print;
pub(crate) mod program;

use std::time::Duration;

use async_trait::async_trait;

use crate::{config::HandlerConfig, event::Event};

pub(crate) use answer::Answer;

/// The user's work. Each lane has a handler of its own, and calls it for one batch after another.
///
/// The same events come again when a call failed, and after a crash even when it succeeded: at
/// least once. Events with the same key always come in the order of their changes. A call is
/// dropped (in the sense of Rust) when its events are taken away or the listener must stop.
#[async_trait]
pub trait Handler: Send {
    /// Does the work for a batch; it is never empty.
    async fn handle(&mut self, batch: Batch<'_>) -> Outcome;

    /// A call was dropped: returns when nothing of it runs any more, as far as that can be known,
    /// and soon in any case. Only then may another member of the group get its events.
    async fn abandon(&mut self) {}
}

/// What one call gets.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The events, in order.
    pub events: &'a [Event],
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
    /// The events with these ids failed and come again; the others are done.
    Partly(Vec<String>),
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For the log and the API. Must hold nothing of the rows.
    pub reason: String,
    /// Wait so long at least before the next try.
    pub retry_after: Option<Duration>,
}

impl Outcome {
    /// A failed call.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(Failure { reason: reason.into(), retry_after: None })
    }
}

/// Makes the handler of each lane.
pub(crate) type MakeHandler<'a> = dyn Fn(usize) -> Box<dyn Handler> + Send + Sync + 'a;

/// What makes the handlers of a config; `None` for one that a program brings itself.
///
/// # Errors
///
/// When the machine has no usable trust store for HTTPS.
pub(crate) fn maker(
    config: &HandlerConfig,
    listener: &str,
) -> Result<Option<Box<MakeHandler<'static>>>, reqwest::Error> {
    let listener = listener.to_owned();
    Ok(Some(match config.clone() {
        HandlerConfig::Http(config) => {
            let http = http::HttpHandler::new(config, &listener)?;
            Box::new(move |_| Box::new(http.clone()))
        }
        HandlerConfig::Exec(config) => {
            Box::new(move |lane| Box::new(exec::ExecHandler::new(config.clone(), &listener, lane)))
        }
        HandlerConfig::Print => Box::new(|_| Box::new(print::PrintHandler)),
        HandlerConfig::Program => return Ok(None),
    }))
}
