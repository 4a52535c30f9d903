//! The handler `http`: one POST per batch.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use reqwest::{
    Certificate, Client, ClientBuilder, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};
use ring::hmac;
use service::clock::now_ms;

use ::handler::{MAX_ANSWER_BYTES, shown};

use super::{Batch, Failure, Handler, HandlerAnswer, Outcome, json_array};
use crate::config::{HttpConfig, Proxy};

/// We never wait longer, even if the server asks for it.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Shorter than most servers keep a connection, so that we rarely use one that is being closed.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// How much we read of the body when a server refuses a call.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

#[derive(Clone)]
pub(super) struct HttpHandler {
    client: Client,
    url: reqwest::Url,
    signing_key: Option<hmac::Key>,
}

impl HttpHandler {
    pub(super) fn new(config: HttpConfig, listener: &str) -> Result<Self, reqwest::Error> {
        let client = route(&config, Client::builder())?
            .redirect(Policy::none())
            .timeout(config.timeout)
            .pool_idle_timeout(IDLE_CONNECTION)
            .user_agent(concat!("dbevent/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers(&config, listener))
            .build()?;
        let signing_key = config
            .hmac_secret
            .map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()));
        Ok(Self { client, url: config.url, signing_key })
    }

    async fn call(&self, batch: Batch<'_>) -> reqwest::Result<Outcome> {
        let body = json_array(batch.events);
        let mut request =
            self.client.post(self.url.clone()).header("dbevent-attempt", batch.attempt);
        let rows_of_full_syncs =
            batch.events.iter().filter(|event| event.is_of_full_sync()).count();
        request = request.header("dbevent-full-sync-rows", rows_of_full_syncs);
        if let Some(key) = &self.signing_key {
            let second = now_ms() / 1000;
            request = request.header("dbevent-signature", signature(key, second, &body));
        }
        let response = request.body(body).send().await?;
        match response.status() {
            status if status.is_success() => answer(response, batch).await,
            _ => Ok(Outcome::Failed(refusal(response).await)),
        }
    }
}

#[async_trait]
impl Handler for HttpHandler {
    async fn handle(&mut self, batch: Batch<'_>) -> Outcome {
        let failed = |error: reqwest::Error| Failure {
            is_unclear: error.is_connect(),
            ..Failure::new(describe(&error))
        };
        self.call(batch).await.unwrap_or_else(|error| Outcome::Failed(failed(error)))
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

fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match address {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// The headers of each call. The config has checked that the names and values can be sent.
fn headers(config: &HttpConfig, listener: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(listener) = HeaderValue::from_str(listener) {
        headers.insert("dbevent-listener", listener);
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

/// Why a call without a status of success failed, with the beginning of its body.
async fn refusal(mut response: Response) -> Failure {
    let status = response.status();
    let mut reason = format!("the handler answered {status}");
    if status.is_redirection() {
        reason += "; redirects are not followed: put the final URL into the config";
    }
    let asks_to_wait =
        matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let header = response.headers().get(RETRY_AFTER).filter(|_| asks_to_wait);
    let retry_after = header
        .and_then(|value| value.to_str().ok())
        .and_then(|text| read_retry_after(text, SystemTime::now()));
    let mut body = Vec::new();
    // Of an incomplete body we use what has come.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_REFUSAL_BYTES {
            break;
        }
    }
    let said = Some(shown(&body)).filter(|said| !said.is_empty());
    let is_too_large = status == StatusCode::PAYLOAD_TOO_LARGE;
    Failure { reason, said, retry_after, is_too_large, is_unclear: is_unclear(status) }
}

/// Whether a status is about the address, the rights or the load of the handler, and so not about
/// the events.
fn is_unclear(status: StatusCode) -> bool {
    const UNCLEAR: [StatusCode; 9] = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    status.is_redirection() || UNCLEAR.contains(&status)
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn read_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let wait = match text.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text.trim()).ok()?.duration_since(now).ok()?,
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The error with its causes, without the URL: its query may contain a secret.
fn describe(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() {
        "the handler did not answer in time; the call may still run there".to_owned()
    } else if error.is_connect() {
        "cannot connect to the handler".to_owned()
    } else {
        "the call to the handler broke off".to_owned()
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        cause = error.source();
        if cause.is_none() {
            text = format!("{text}: {error}");
        }
    }
    text
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

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date_and_never_without_end() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 60);
        let read = |text| read_retry_after(text, now);
        assert_eq!(read("120"), Some(Duration::from_mins(2)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_mins(1)));
        assert_eq!(read("99999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(read("soon"), None);
    }
}
