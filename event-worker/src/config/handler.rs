//! The `handler` of a listener: what the listener calls with the events.

use std::time::Duration;

use serde_json::Value;
use service::{Secret, config::Section};
use sinks::{SINKS, SinkConfig};

use super::{http::HttpConfig, timeout::read_timeout};

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

/// A process of the user.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecConfig {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take to answer a batch.
    pub timeout: Duration,
    /// Variables of its environment, added to those that it inherits.
    pub environment: Vec<(String, Secret)>,
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

impl ExecConfig {
    fn read(section: &Section) -> Self {
        let command: Vec<String> = section.or("exec", vec!["true".to_owned()]);
        if command.first().is_none_or(String::is_empty) {
            section.note("exec", "is empty", r#"write ["program", "argument"]"#);
        }
        let environment = read_environment(&section.section("env"));
        Self { command, timeout: read_timeout(section), environment }
    }
}

fn read_environment(section: &Section) -> Vec<(String, Secret)> {
    let mut variables = Vec::new();
    for name in section.keys() {
        if name.is_empty() || name.contains(['=', '\0']) {
            section.note(name, "cannot be the name of a variable", "use letters, digits and _");
        } else if let Some(value) = section.secret(name) {
            variables.push((name.to_owned(), value));
        }
    }
    variables
}
