//! The handlers of listeners: which each has, and what it is told of its listener.

mod print;

use std::{collections::BTreeSet, sync::Arc};

use event_bus::Bus;
use sinks::Sink;

pub use ::handler::{Batch, Event, Failure, Handler, Outcome, Place, json_array};
use handlers::{Caller, Environment, ExecHandler, HttpHandler};

use crate::{
    config::{HandlerConfig, ListenerConfig},
    error::Error,
    table_facts::TableFacts,
};

/// The header of a call that says whose it is.
pub(crate) const LISTENER_HEADER: &str = "dbevent-listener";

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
            let http =
                HttpHandler::new(http.clone(), Caller { header: LISTENER_HEADER, name: id })?;
            Box::new(move |_| Box::new(http.clone()))
        }
        HandlerConfig::Exec(exec) => {
            let own = [
                ("DBEVENT_LISTENER", id.to_owned()),
                ("DBEVENT_FULL_SYNC", config.full_sync.to_string()),
            ];
            let environment = Environment::new(exec, own, hidden);
            let exec = exec.clone();
            Box::new(move |lane| {
                Box::new(ExecHandler::new(exec.clone(), environment.clone(), lane))
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
