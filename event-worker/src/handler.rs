//! The handlers of listeners: what each kind does with a batch.

mod exec;
mod http;
mod print;
pub(crate) mod program;

use std::{collections::BTreeSet, sync::Arc};

use event_bus::Bus;
use sinks::Sink;

pub(crate) use ::handler::HandlerAnswer;
pub use ::handler::{Batch, Event, Failure, Handler, Outcome, Place, json_array};

use self::exec::Environment;
use crate::{
    config::{HandlerConfig, ListenerConfig},
    error::Error,
    table_facts::TableFacts,
};

/// Makes the handler of each lane.
pub(crate) type MakeHandler<'a> = dyn Fn(usize) -> Box<dyn Handler> + Send + Sync + 'a;

/// What makes the handlers of a listener.
pub(crate) struct HandlerMaker {
    pub(crate) make: Box<MakeHandler<'static>>,
    /// Set when the handlers are those of a sink.
    pub(crate) sink: Option<Sink>,
}

/// Gives what makes the handlers of the listener `id`; `None` when a program brings its own
/// handlers. Handler processes do not get the `hidden` variables of our environment.
///
/// # Errors
///
/// When the machine lacks what the handler needs: a usable trust store for HTTPS.
pub(crate) fn maker(
    (id, config): (&str, &ListenerConfig),
    hidden: &BTreeSet<String>,
    bus: &Arc<dyn Bus>,
) -> Result<Option<HandlerMaker>, Error> {
    let make: Box<MakeHandler<'static>> = match &config.handler {
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
        HandlerConfig::Sink(config) => {
            let sink = Sink::new(config, id, Arc::new(TableFacts::new(Arc::clone(bus))));
            let sink = sink.map_err(Error::Sink)?;
            let shown = Some(sink.clone());
            return Ok(Some(HandlerMaker { make: Box::new(move |_| sink.handler()), sink: shown }));
        }
        HandlerConfig::Program => return Ok(None),
    };
    Ok(Some(HandlerMaker { make, sink: None }))
}
