//! The `handler` of a listener: what the listener calls with the events.

use handlers::{ExecConfig, HttpConfig};
use serde_json::Value;
use service::config::Section;
use sinks::{SINKS, SinkConfig};

const FORMS: &str = r#"write { http = "http://…" }, { exec = ["program", "argument"] }, the name of a sink with its table, or "print""#;

/// What the listener calls with the events.
#[derive(Clone, Debug, PartialEq)]
pub enum HandlerConfig {
    /// POST to a URL.
    Http(HttpConfig),
    /// A process of the user that keeps running.
    Exec(ExecConfig),
    /// Prints one line per event on standard output.
    Print,
    /// Brings the changes to a target.
    Sink(SinkConfig),
    /// A Rust program that calls [`run`](crate::run) itself. The supervisor does not run this
    /// listener.
    Program,
}

impl HandlerConfig {
    /// Reads the key `handler` of a listener.
    pub(super) fn read(listener: &Section) -> Self {
        let problem = match listener.raw("handler") {
            Some(Value::String(word)) if word == "print" => return Self::Print,
            Some(Value::String(word)) if word == "program" => return Self::Program,
            Some(Value::Object(_)) => return Self::read_table(&listener.section("handler")),
            Some(_) => "is not known",
            None => "is missing",
        };
        listener.note("handler", problem, FORMS);
        Self::Print
    }

    fn read_table(section: &Section) -> Self {
        let kinds = ["http", "exec"].into_iter().chain(SINKS);
        let named: Vec<&str> = kinds.filter(|kind| section.raw(kind).is_some()).collect();
        let config = match named[..] {
            ["http"] => HttpConfig::read(section).map(Self::Http),
            ["exec"] => Some(Self::Exec(ExecConfig::read(section))),
            [sink] => SinkConfig::read(sink, &section.section(sink)).map(Self::Sink),
            [] => {
                section.note("", &format!("names none of http, exec, {}", SINKS.join(", ")), FORMS);
                None
            }
            [first, second, ..] => {
                section.note("", &format!("has both {first} and {second}"), "keep one of them");
                None
            }
        };
        config.unwrap_or(Self::Print)
    }
}
