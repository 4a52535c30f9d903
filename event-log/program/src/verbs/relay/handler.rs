//! The handler of a relay.

use std::{collections::BTreeSet, sync::Arc};

use event_log::Error;
use handler::Handler;
use handlers::{
    Caller, Environment, ExecConfig, ExecHandler, HttpConfig, HttpHandler, find_program,
};
use relay::{ByHandler, RecordForm, RelayConfig};
use serde_json::Value;
use service::config::Section;
use sinks::{NoTables, Sink, SinkConfig};

use super::super::{Failure, connect::TOKEN_VARIABLE};

const FORMS: &str = r#"write { exec = ["program", "argument"] }, { http = "http://…" }, or the name of a sink with its table"#;

/// Sinks that need nothing but the records. The others make tables from what `dts` tells listeners.
const SINKS: [&str; 3] = ["elasticsearch", "redis", "file"];

/// How many records a call gets by default.
const BATCH_SIZE: usize = 128;
/// The same of a sink: a call is a request, which costs more than its rows.
const SINK_BATCH_SIZE: usize = 1000;

/// What is called with the records.
#[derive(Debug)]
pub(super) enum RelayHandler {
    Exec(ExecConfig, BTreeSet<String>),
    Http(HttpConfig),
    Sink(SinkConfig),
}

impl RelayHandler {
    /// Reads a `handler`, which has one of the known kinds as a key; mistakes are noted there.
    pub(super) fn read(relay: &Section) -> Option<Self> {
        match relay.raw("handler") {
            Some(Value::Object(_)) => Self::read_table(&relay.section("handler")),
            Some(_) => {
                relay.note("handler", "is not known", FORMS);
                None
            }
            None => {
                relay.note("handler", "is missing", FORMS);
                None
            }
        }
    }

    pub(super) fn read_table(section: &Section) -> Option<Self> {
        let kinds = ["http", "exec"].into_iter().chain(sinks::SINKS);
        let named: Vec<&str> = kinds.filter(|kind| section.raw(kind).is_some()).collect();
        match named[..] {
            ["http"] => HttpConfig::read(section).map(Self::Http),
            ["exec"] => {
                let exec = ExecConfig::read(section);
                let program = exec.command.first().map_or("", String::as_str);
                if find_program(program).is_none() && !program.is_empty() {
                    let problem = format!("{program:?} is not an executable file here or in PATH");
                    section.note("exec", &problem, "install it, or correct the name");
                }
                Some(Self::Exec(exec, BTreeSet::new()))
            }
            [sink] if SINKS.contains(&sink) => {
                SinkConfig::read(sink, &section.section(sink)).map(Self::Sink)
            }
            [sink] => {
                section.entries();
                let remedy = "use a listener of event-worker";
                section.note(sink, "needs what only dts tells about tables", remedy);
                None
            }
            [] => {
                let all = SINKS.join(", ");
                section.note("", &format!("names none of exec, http, {all}"), FORMS);
                None
            }
            [first, second, ..] => {
                section.note("", &format!("has both {first} and {second}"), "keep one of them");
                None
            }
        }
    }

    /// The same, which keeps these variables of our environment from a process.
    pub(super) fn hiding(self, secrets: BTreeSet<String>) -> Self {
        match self {
            Self::Exec(exec, _) => Self::Exec(exec, secrets),
            other => other,
        }
    }

    pub(super) fn batch_size(&self) -> usize {
        match self {
            Self::Sink(_) => SINK_BATCH_SIZE,
            Self::Exec(..) | Self::Http(_) => BATCH_SIZE,
        }
    }

    /// What the relay calls.
    pub(super) fn callback(self, relay: &RelayConfig) -> Result<ByHandler, Failure> {
        let RelayConfig { name, stream, .. } = relay;
        let (handler, form): (Box<dyn Handler>, RecordForm) = match self {
            Self::Exec(exec, mut hidden) => {
                hidden.insert(TOKEN_VARIABLE.to_owned());
                let own = [("DBEVENT_RELAY", name.clone()), ("DBEVENT_STREAM", stream.clone())];
                let environment = Environment::new(&exec, own, &hidden);
                // A condition sees the members of a change event.
                let form = match exec.selection {
                    None => RecordForm::Printed,
                    Some(_) => RecordForm::Insert,
                };
                (Box::new(ExecHandler::new(exec, environment, 0)), form)
            }
            Self::Http(http) => {
                // A template and a condition see the members of a change event.
                let is_plain = http.form.is_none() && http.selection.is_none();
                let form = if is_plain { RecordForm::Printed } else { RecordForm::Insert };
                let caller = Caller { header: "dbevent-relay", name };
                let handler = HttpHandler::new(http, caller).map_err(|error| {
                    Error::Failed(format!("cannot prepare calls over HTTP: {error}"))
                })?;
                (Box::new(handler), form)
            }
            Self::Sink(sink) => {
                let sink = Sink::new(&sink, name, Arc::new(NoTables)).map_err(Error::Failed)?;
                (sink.handler(), RecordForm::Insert)
            }
        };
        Ok(ByHandler::new(handler, form, stream))
    }
}
