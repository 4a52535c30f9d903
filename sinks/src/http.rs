//! Calls over HTTP: the client of a target.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use handler::Failure;
use reqwest::{Certificate, Client, ClientBuilder, StatusCode, Url, redirect::Policy};
use serde_json::Value;
use service::config::Section;

/// Shorter than most servers keep a connection, so that we rarely use one that is being closed.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// How calls are made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpSettings {
    /// How long a call may take, from connecting to the last byte of the answer.
    pub(crate) timeout: Duration,
    /// The certificates to trust instead of the system's, in PEM.
    ca: Option<Vec<u8>>,
}

impl HttpSettings {
    pub(crate) fn read(section: &Section) -> Self {
        let timeout = section.or("timeout", Duration::from_secs(30));
        if timeout < Duration::from_millis(1) {
            section.note("timeout", "is too short", r#"write "1ms" or more"#);
        }
        Self { timeout, ca: read_ca(section) }
    }

    /// # Errors
    ///
    /// When the machine has no usable trust store.
    pub(crate) fn client(&self, url: &Url) -> reqwest::Result<Client> {
        let builder = ClientBuilder::new()
            .redirect(Policy::none())
            .timeout(self.timeout)
            .connect_timeout(CONNECT_DEADLINE.min(self.timeout))
            .pool_idle_timeout(IDLE_CONNECTION)
            .user_agent(concat!("dbevent/", env!("CARGO_PKG_VERSION")));
        // A call to this machine never goes through a proxy of the environment.
        let builder = if is_loopback(url) { builder.no_proxy() } else { builder };
        match &self.ca {
            Some(pem) => builder.tls_certs_only(Certificate::from_pem_bundle(pem)?).build(),
            None => builder.build(),
        }
    }
}

/// Reads the key `url`: one or several of `http` or `https`, without a password. Mistakes are
/// noted; then there may be none.
pub(crate) fn read_urls(section: &Section) -> Vec<Url> {
    let texts: Vec<String> = match section.raw("url") {
        Some(Value::Array(_)) => section.or("url", Vec::new()),
        _ => vec![section.required("url", String::new())],
    };
    if texts.is_empty() {
        section.note("url", "is empty", "write one, for example http://127.0.0.1:9200");
    }
    let given = texts.iter().filter(|text| !text.is_empty());
    given.filter_map(|text| read_url(section, text)).collect()
}

fn read_url(section: &Section, text: &str) -> Option<Url> {
    let url = text.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    if url.is_none() {
        let problem = format!("{text:?} is not an http or https URL");
        section.note("url", &problem, "write one, for example http://127.0.0.1:9200");
    }
    if url.as_ref().is_some_and(|url| !url.username().is_empty() || url.password().is_some()) {
        section.note("url", "has a user or password in it", "use user and password");
    }
    url
}

/// Reads the key `caFile`: the certificates to trust instead of the system's, in PEM. Mistakes are
/// noted.
pub fn read_ca(section: &Section) -> Option<Vec<u8>> {
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
    if !Certificate::from_pem_bundle(&pem).is_ok_and(|found| !found.is_empty()) {
        section.note("caFile", &format!("has no certificate in {}", path.display()), remedy);
    }
    Some(pem)
}

/// Whether a URL leads to this machine.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match address {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Whether the same call may succeed later, without anybody changing anything.
pub(crate) fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// A call that brought no answer.
pub(crate) fn no_answer(url: &Url, error: &reqwest::Error) -> Failure {
    Failure::unclear(format!("{}: {}", address(url), causes(error)))
}

/// Host and port.
pub(crate) fn address(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    format!("{host}:{}", url.port_or_known_default().unwrap_or_default())
}

/// An error with all its causes, without the URL, which may have a password in it.
fn causes(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it has not answered in time (`timeout`)".to_owned();
    }
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() { "the call failed".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_names_and_addresses() {
        let is_loopback = |url: &str| is_loopback(&url.parse().unwrap());
        for url in
            ["http://127.0.0.1:8/x", "http://localhost/", "http://[::1]:9/", "http://127.9.9.9"]
        {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://example.com", "http://10.0.0.1", "http://localhost.example.com"] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
