//! The handler `http` in a config file.

use std::{sync::Arc, time::Duration};

use reqwest::header::{HeaderName, HeaderValue};
use serde_json::Value;
use service::{Secret, config::Section};
use sinks::{RequestForm, Selection, is_template, read_ca};

use crate::timeout::read_timeout;

/// Calls of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpConfig {
    /// `http` or `https`. Where each event has a URL of its own, the beginning that all have.
    pub url: reqwest::Url,
    /// How requests are made of events; `None`: a POST of the events as they are.
    pub form: Option<Arc<RequestForm>>,
    /// Which events requests are made of; `None`: of all.
    pub selection: Option<Arc<Selection>>,
    /// How long a call may take, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// The headers of each call, but for those that the form makes.
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

impl HttpConfig {
    /// Reads `http`: a URL beside which the other keys stand, or a table with `url` and all keys.
    pub fn read(handler: &Section) -> Option<Self> {
        match handler.raw("http") {
            Some(Value::Object(_)) => Self::read_keys(&handler.section("http"), "url"),
            _ => Self::read_keys(handler, "http"),
        }
    }

    fn read_keys(section: &Section, url_key: &str) -> Option<Self> {
        let timeout = read_timeout(section);
        let selection = Selection::read(section).map(Arc::new);
        let has_form = RequestForm::is_meant_by(section, url_key);
        let form = has_form.then(|| RequestForm::read(section, url_key));
        let headers = read_headers(&section.section("headers"), has_form);
        let hmac_secret = section.secret("hmacSecret");
        let (proxy, ca) = (Proxy::read(section), read_ca(section));
        let (url, form) = match form {
            Some(form) => form.map(|form| (form.origin().clone(), Some(Arc::new(form))))?,
            None => (read_url(section, url_key)?, None),
        };
        if !url.username().is_empty() || url.password().is_some() {
            let remedy = r#"use headers = { Authorization = { env = "NAME" } }"#;
            section.note(url_key, "has a user or password in the URL", remedy);
        }
        Some(Self { url, form, selection, timeout, headers, hmac_secret, proxy, ca })
    }

    /// Where calls connect to: the proxy of the config, else the handler.
    pub fn first_stop(&self) -> reqwest::Url {
        let proxy = match &self.proxy {
            Proxy::Url(url) => url.expose().parse().ok(),
            Proxy::Environment | Proxy::Off => None,
        };
        proxy.unwrap_or_else(|| self.url.clone())
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

fn read_url(section: &Section, key: &str) -> Option<reqwest::Url> {
    let text: String = section.required(key, String::new());
    let url = text.parse::<reqwest::Url>().ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    if url.is_none() && section.has(key) {
        let problem = format!("{text:?} is not an http or https URL");
        section.note(key, &problem, "write one, for example http://127.0.0.1:8000/events");
    }
    url
}

fn read_headers(section: &Section, has_form: bool) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    for name in section.keys() {
        if name.parse::<HeaderName>().is_err() {
            section.note(name, "is not the name of a header", "use letters, digits and -");
        }
        if has_form && section.raw(name).is_some_and(is_template) {
            continue;
        }
        let Some(value) = section.secret(name) else { continue };
        if HeaderValue::from_str(value.expose()).is_err() {
            section.note(name, "has a value that no header may have", "keep to printable ASCII");
        }
        headers.push((name.to_owned(), value));
    }
    headers
}
