//! Requests to the hosts of a cluster: to the one that answered last, and when that does not answer
//! to the next.

use std::{
    io::Write as _,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use handler::Failure;
use reqwest::{
    Client, Method, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use tracing::warn;

use super::config::{Access, ElasticsearchConfig};
use crate::{
    host_look::{HostLook, look_at_each},
    http::{address, no_answer},
};

pub(super) struct Hosts {
    hosts: Vec<Host>,
    /// The one that answered last.
    current: AtomicUsize,
    headers: HeaderMap,
    gzip: bool,
}

struct Host {
    url: Url,
    client: Client,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Request<'r> {
    pub(super) method: Method,
    /// The parts of the path, without the slashes between them.
    pub(super) path: &'r [&'r str],
    pub(super) query: Option<&'r str>,
    /// Empty for none.
    pub(super) body: &'r str,
}

/// What a host answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl<'r> Request<'r> {
    pub(super) fn new(method: Method, path: &'r [&'r str]) -> Self {
        Self { method, path, query: None, body: "" }
    }
}

impl Answer {
    /// At most so much is told of an answer that is no success.
    const MAX_TOLD_CHARS: usize = 300;

    /// The beginning of its text.
    pub(super) fn told(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.chars().take(Self::MAX_TOLD_CHARS).collect()
    }
}

impl Hosts {
    /// # Errors
    ///
    /// When the machine has no usable trust store, or a header cannot be made.
    pub(super) fn new(config: &ElasticsearchConfig) -> Result<Self, String> {
        let hosts = config.urls.iter().map(|url| {
            let client = config.http.client(url).map_err(|error| error.to_string())?;
            Ok(Host { url: url.clone(), client })
        });
        Ok(Self {
            hosts: hosts.collect::<Result<_, String>>()?,
            current: AtomicUsize::new(0),
            headers: headers(&config.access)?,
            gzip: config.gzip,
        })
    }

    /// Host and port of the first one.
    pub(super) fn address(&self) -> String {
        self.hosts.first().map_or_else(String::new, |host| address(&host.url))
    }

    /// # Errors
    ///
    /// What the last host said, when none answers.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let body = match self.gzip {
            true => zipped(request.body.as_bytes()),
            false => request.body.as_bytes().to_vec(),
        };
        let (first, count) = (self.current.load(Relaxed), self.hosts.len());
        let mut failure = Failure::unclear("no host is named");
        for at in (0..count).map(|step| (first + step) % count) {
            let Some(host) = self.hosts.get(at) else { continue };
            match self.ask(host, request, body.clone()).await {
                Ok(answer) => {
                    self.current.store(at, Relaxed);
                    return Ok(answer);
                }
                Err(error) => {
                    failure = no_answer(&host.url, &error);
                    if count > 1 {
                        let reason = &failure.reason;
                        warn!(error = reason, "a host does not answer; the next one is asked");
                    }
                }
            }
        }
        Err(failure)
    }

    /// How each host is.
    pub(super) async fn each(&self) -> Vec<HostLook> {
        let root = Request::new(Method::GET, &[]);
        let looks = self.hosts.iter().map(|host| {
            let root = &root;
            let look = async move {
                let asked = self.ask(host, root, Vec::new()).await;
                let answer = asked.map_err(|error| no_answer(&host.url, &error).reason)?;
                match answer.status.is_server_error() {
                    true => Err(format!("it answers with {}", answer.status)),
                    false => Ok("answers"),
                }
            };
            (address(&host.url), look)
        });
        look_at_each(looks).await
    }

    async fn ask(
        &self,
        host: &Host,
        request: &Request<'_>,
        body: Vec<u8>,
    ) -> reqwest::Result<Answer> {
        let mut call = host.client.request(request.method.clone(), request.url(&host.url));
        call = call.headers(self.headers.clone());
        if !request.body.is_empty() {
            call = call.header(CONTENT_TYPE, request.content_type());
            if self.gzip {
                call = call.header(CONTENT_ENCODING, "gzip");
            }
            call = call.body(body);
        }
        let response = call.send().await?;
        let status = response.status();
        let seconds =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.bytes().await?.to_vec();
        Ok(Answer { status, retry_after: seconds.map(Duration::from_secs), body })
    }
}

impl Request<'_> {
    fn url(&self, host: &Url) -> Url {
        let mut url = host.clone();
        if !self.path.is_empty()
            && let Ok(mut path) = url.path_segments_mut()
        {
            path.pop_if_empty().extend(self.path);
        }
        url.set_query(self.query);
        url
    }

    fn content_type(&self) -> &'static str {
        match self.path {
            ["_bulk"] => "application/x-ndjson",
            _ => "application/json",
        }
    }
}

fn headers(access: &Access) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let text = match access {
        Access::Everybody => return Ok(headers),
        Access::ApiKey(key) => format!("ApiKey {}", key.expose()),
        Access::Basic { user, password } => {
            let pair = format!("{user}:{}", password.expose());
            format!("Basic {}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, pair))
        }
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| "the password or apiKey cannot be sent in a header".to_owned())?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    Ok(headers)
}

fn zipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing to a vector does not fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}
