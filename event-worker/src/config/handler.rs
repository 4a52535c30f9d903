//! The `handler` of a listener: what the listener calls with the events.

use std::{path::PathBuf, time::Duration};

use reqwest::header::{HeaderName, HeaderValue};
use serde_json::Value;
use service::{Secret, config::Section};
use sinks::{SINKS, SinkConfig};

const FORMS: &str = r#"write { http = "http://…" }, { exec = ["program", "argument"] }, the name of a sink with its table, or "print""#;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

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

/// POST to a URL.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpConfig {
    /// `http` or `https`.
    pub url: reqwest::Url,
    /// How long a call may take, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// The headers of each call.
    pub headers: Vec<(String, Secret)>,
    /// The key that signs each call, if there is one.
    pub hmac_secret: Option<Secret>,
    /// The proxy of the calls.
    pub proxy: Proxy,
    /// The certificates to trust instead of the system's, in PEM.
    pub ca: Option<Vec<u8>>,
}

/// The proxy of the calls.
#[derive(Clone, Debug, PartialEq)]
pub enum Proxy {
    /// As `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say; no proxy for this machine itself.
    Environment,
    /// No proxy.
    Off,
    /// This proxy. Its URL may contain a password.
    Url(Secret),
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

impl HttpConfig {
    fn read(section: &Section) -> Option<Self> {
        let timeout = read_timeout(section);
        let headers = read_headers(&section.section("headers"));
        let hmac_secret = section.secret("hmacSecret");
        let (proxy, ca) = (Proxy::read(section), read_ca(section));
        let text: String = section.optional("http")?;
        let url = text.parse::<reqwest::Url>().ok();
        let Some(url) = url.filter(|url| matches!(url.scheme(), "http" | "https")) else {
            let problem = format!("{text:?} is not an http or https URL");
            section.note("http", &problem, "write one, for example http://127.0.0.1:8000/events");
            return None;
        };
        if !url.username().is_empty() || url.password().is_some() {
            let remedy = r#"use headers = { Authorization = { env = "NAME" } }"#;
            section.note("http", "has a user or password in the URL", remedy);
        }
        Some(Self { url, timeout, headers, hmac_secret, proxy, ca })
    }
}

impl HttpConfig {
    /// Where calls connect to: the proxy of the config, else the handler.
    pub(crate) fn first_stop(&self) -> reqwest::Url {
        let proxy = match &self.proxy {
            Proxy::Url(url) => url.expose().parse().ok(),
            Proxy::Environment | Proxy::Off => None,
        };
        proxy.unwrap_or_else(|| self.url.clone())
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

impl Proxy {
    fn read(section: &Section) -> Self {
        let Some(url) = section.secret("proxy") else { return Self::Environment };
        if url.expose() == "off" {
            return Self::Off;
        }
        if section.fetches_secrets() && reqwest::Proxy::all(url.expose()).is_err() {
            section.note(
                "proxy",
                "is not the URL of a proxy",
                r#"write "http://host:3128" or "off""#,
            );
        }
        Self::Url(url)
    }
}

fn read_ca(section: &Section) -> Option<Vec<u8>> {
    let path: PathBuf = section.optional("caFile")?;
    if !section.fetches_secrets() {
        return None;
    }
    let remedy = "name a file with certificates in PEM";
    let pem = match std::fs::read(&path) {
        Ok(pem) => pem,
        Err(error) => {
            section.note("caFile", &format!("cannot read {}: {error}", path.display()), remedy);
            return None;
        }
    };
    let found = reqwest::Certificate::from_pem_bundle(&pem);
    if !found.is_ok_and(|found| !found.is_empty()) {
        section.note("caFile", &format!("has no certificate in {}", path.display()), remedy);
    }
    Some(pem)
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

fn read_timeout(section: &Section) -> Duration {
    let timeout = section.or("timeout", DEFAULT_TIMEOUT);
    if timeout < Duration::from_millis(1) {
        section.note("timeout", "is too short", r#"write "1ms" or more"#);
    }
    timeout
}

fn read_headers(section: &Section) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    for name in section.keys() {
        if name.parse::<HeaderName>().is_err() {
            section.note(name, "is not the name of a header", "use letters, digits and -");
        }
        let Some(value) = section.secret(name) else { continue };
        if HeaderValue::from_str(value.expose()).is_err() {
            section.note(name, "has a value that no header may have", "keep to printable ASCII");
        }
        headers.push((name.to_owned(), value));
    }
    headers
}
