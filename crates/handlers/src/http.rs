//! The handler `http`: one POST per batch, or requests made by templates.

mod config;
mod each;
mod refusal;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use handler::{
    Batch, Event, Failure, Handler, HandlerAnswer, MAX_ANSWER_BYTES, Outcome, json_array,
};
use reqwest::{
    Certificate, Client, ClientBuilder, Method, Response,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use ring::hmac;
use service::clock::now_ms;
use sinks::{Per, Request, RequestForm, Selection, is_loopback};

pub use self::config::{HttpConfig, Proxy};
use self::refusal::{beginning, no_answer, refusal};
use crate::choice::Choice;

/// Shorter than most servers keep a connection, so that we rarely use one that is being closed.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// A server of the user.
#[derive(Clone, Debug)]
pub struct HttpHandler {
    client: Client,
    url: reqwest::Url,
    /// How the requests are made; `None`: a POST of the events as they are.
    form: Option<Arc<RequestForm>>,
    /// Which events requests are made of; `None`: of all.
    selection: Option<Arc<Selection>>,
    signing_key: Option<hmac::Key>,
}

/// Who calls: a header of each call says it.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The name of the header.
    pub header: &'static str,
    /// The name of the caller.
    pub name: &'a str,
}

/// What a request is about.
#[derive(Clone, Copy)]
struct About<'a> {
    events: &'a [&'a Event],
    attempt: u32,
}

impl HttpHandler {
    /// Prepares the calls; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// What the machine lacks for it: a usable trust store for HTTPS.
    pub fn new(config: HttpConfig, caller: Caller<'_>) -> Result<Self, reqwest::Error> {
        let client = route(&config, Client::builder())?
            .redirect(Policy::none())
            .timeout(config.timeout)
            .pool_idle_timeout(IDLE_CONNECTION)
            .user_agent(concat!("dbevent/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(&config, caller))
            .build()?;
        let signing_key = config
            .hmac_secret
            .as_ref()
            .map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()));
        let HttpConfig { url, form, selection, .. } = config;
        Ok(Self { client, url, form, selection, signing_key })
    }

    /// Asks the server for nothing, to see whether it lets us in: a HEAD of the URL, which changes
    /// nothing there.
    ///
    /// # Errors
    ///
    /// That it does not let us in, or that no call comes through. What a server makes of a HEAD
    /// besides says nothing of its work.
    pub async fn knock(&self, deadline: Duration) -> Result<(), Failure> {
        let request = Request {
            method: Method::HEAD,
            url: self.url.clone(),
            headers: Vec::new(),
            body: None,
        };
        let about = About { events: &[], attempt: 0 };
        let Ok(sent) = tokio::time::timeout(deadline, self.send(request, about)).await else {
            return Ok(());
        };
        match sent {
            Ok(response) if refusal::keeps_out(response.status()) => Err(refusal(response).await),
            Err(error) if error.is_connect() => Err(no_answer(&error)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The requests for a batch.
    async fn work(&self, batch: Batch<'_>) -> Outcome {
        match &self.form {
            Some(form) if form.per() == Per::Event => each::call(self, form, batch).await,
            _ => self.call(batch).await.unwrap_or_else(|error| Outcome::Failed(no_answer(&error))),
        }
    }

    /// One request for the batch.
    async fn call(&self, batch: Batch<'_>) -> reqwest::Result<Outcome> {
        let form = self.form.as_deref();
        let request = match form.map(|form| form.of_batch(batch.events)) {
            None => self.plain(batch),
            Some(Ok(request)) => request,
            Some(Err(why)) => {
                let failure = Failure::new("no request can be made of the events");
                return Ok(Outcome::Failed(failure.saying(why)));
            }
        };
        let method = request.method.clone();
        let about = About { events: batch.events, attempt: batch.attempt };
        let mut response = self.send(request, about).await?;
        let status = response.status();
        match form {
            Some(form) if form.is_done(&method, status.as_u16()) => Ok(Outcome::Done),
            _ if !status.is_success() => Ok(Outcome::Failed(refusal(response).await)),
            Some(form) if !form.is_plain() => {
                beginning(&mut response).await;
                Ok(Outcome::Done)
            }
            _ => answer(response, batch).await,
        }
    }

    fn plain(&self, batch: Batch<'_>) -> Request {
        let (url, body) = (self.url.clone(), Some(json_array(batch.events)));
        Request { method: Method::POST, url, headers: Vec::new(), body }
    }

    async fn send(&self, request: Request, about: About<'_>) -> reqwest::Result<Response> {
        let Request { method, url, headers, body } = request;
        let rows_of_full_syncs =
            about.events.iter().filter(|event| event.is_of_full_sync()).count();
        let mut call = self
            .client
            .request(method, url)
            .header("dbevent-attempt", about.attempt)
            .header("dbevent-full-sync-rows", rows_of_full_syncs);
        if let Some(key) = &self.signing_key {
            let (second, body) = (now_ms() / 1000, body.as_deref().unwrap_or_default());
            call = call.header("dbevent-signature", signature(key, second, body));
        }
        call = call.headers(headers.into_iter().collect());
        match body {
            Some(body) => call.body(body),
            None => call,
        }
        .send()
        .await
    }
}

#[async_trait]
impl Handler for HttpHandler {
    async fn handle(&mut self, batch: Batch<'_>) -> Outcome {
        let Some(selection) = &self.selection else { return self.work(batch).await };
        let choice = Choice::new(selection, batch.events);
        let outcome = match &choice.events()[..] {
            [] => Outcome::Done,
            events => self.work(Batch { events, ..batch }).await,
        };
        choice.outcome(outcome)
    }

    fn remedy(&self) -> &'static str {
        match self.form {
            _ if self.selection.is_some() => {
                "correct the handler's `where` and templates, or its server; it is called again by \
                 itself"
            }
            Some(_) => {
                "correct the handler's templates, or its server; it is called again by itself"
            }
            None => "fix the handler; it is called again by itself",
        }
    }
}

/// The proxy and the trusted certificates of the calls. A call to this machine never goes through a
/// proxy of the environment.
fn route(config: &HttpConfig, builder: ClientBuilder) -> Result<ClientBuilder, reqwest::Error> {
    let builder = match &config.proxy {
        Proxy::Environment if !is_loopback(&config.url) => builder,
        Proxy::Environment | Proxy::Off => builder.no_proxy(),
        Proxy::Url(url) => builder.no_proxy().proxy(reqwest::Proxy::all(url.expose())?),
    };
    match &config.ca {
        Some(pem) => Ok(builder.tls_certs_only(Certificate::from_pem_bundle(pem)?)),
        None => Ok(builder),
    }
}

/// The headers of each call, but for those that a form makes. The config has checked that the names
/// and values can be sent.
fn headers(config: &HttpConfig, caller: Caller<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if config.form.is_none() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Ok(name) = HeaderValue::from_str(caller.name) {
        headers.insert(caller.header, name);
    }
    for (name, value) in &config.headers {
        if let (Ok(name), Ok(mut value)) =
            (name.parse::<HeaderName>(), HeaderValue::from_str(value.expose()))
        {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    headers
}

/// The time of the signature in seconds, and the HMAC in hexadecimal digits of that time, a dot and
/// the body. Because of the time, a recorded call is of no use later.
fn signature(key: &hmac::Key, second: u64, body: &[u8]) -> String {
    let mut signed = hmac::Context::with_key(key);
    signed.update(format!("{second}.").as_bytes());
    signed.update(body);
    let mut text = format!("t={second},v1=");
    for byte in signed.sign().as_ref() {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    text
}

/// What a call with a status of success means. A body that is too long to be read is an answer only
/// if it may be an object.
async fn answer(mut response: Response, batch: Batch<'_>) -> reqwest::Result<Outcome> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            let reason = format!("the handler's answer is longer than {MAX_ANSWER_BYTES} bytes");
            let may_name = body.trim_ascii_start().starts_with(b"{");
            let failed = Outcome::Failed(Failure::unclear(reason));
            return Ok(if may_name { failed } else { Outcome::Done });
        }
    }
    Ok(HandlerAnswer { text: &body, batch }.read_body())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_covers_the_second_and_the_body_as_others_compute_it() {
        // printf '1700000000.[]' | openssl dgst -sha256 -hmac Jefe
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        assert_eq!(
            signature(&key, 1_700_000_000, b"[]"),
            "t=1700000000,v1=42718ec36cce5340b5a05af041e58b5572bc6b2fc8fda0030119319cba986520"
        );
    }
}
