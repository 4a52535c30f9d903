//! The handlers of listeners: what each kind does with a batch.

mod exec;
mod http;
mod print;
pub(crate) mod program;

use std::collections::BTreeSet;

pub(crate) use ::handler::HandlerAnswer;
pub use ::handler::{Batch, Event, Failure, Handler, Outcome, json_array};

use self::exec::Environment;
use crate::config::{HandlerConfig, ListenerConfig};

/// Makes the handler of each lane.
pub(crate) type MakeHandler<'a> = dyn Fn(usize) -> Box<dyn Handler> + Send + Sync + 'a;

/// Gives a function that makes the handlers of the listener `id`; `None` when a program brings its
/// own handlers. Handler processes do not get the `hidden` variables of our environment.
///
/// # Errors
///
/// When the machine has no usable trust store for HTTPS.
pub(crate) fn maker(
    (id, config): (&str, &ListenerConfig),
    hidden: &BTreeSet<String>,
) -> Result<Option<Box<MakeHandler<'static>>>, reqwest::Error> {
    Ok(Some(match &config.handler {
        HandlerConfig::Http(http) => {
            let http = http::HttpHandler::new(http.clone(), id)?;
            Box::new(move |_| Box::new(http.clone()))
        }
        HandlerConfig::Exec(exec) => {
            let environment = Environment::new((id, config), exec, hidden);
            let exec = exec.clone();
            Box::new(move |lane| {
                Box::new(exec::ExecHandler::new(exec.clone(), environment.clone(), lane))
            })
        }
        HandlerConfig::Print => Box::new(|_| Box::new(print::PrintHandler)),
        HandlerConfig::Program => return Ok(None),
    }))
}
