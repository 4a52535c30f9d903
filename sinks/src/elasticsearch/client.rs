//! Calls of a search server.

use std::{
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use handler::Failure;
use reqwest::{
    Client, RequestBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use serde::Deserialize;
use service::{Backoff, BackoffConfig};

use super::{
    Access, ElasticsearchConfig,
    answer::{BulkAnswer, Outcomes},
    bulk::{BulkRequest, Operation},
};
use crate::{
    change::Unusable,
    figures::{Answered, Counts},
    http::{is_busy, no_answer},
    target::TargetFinding,
};

/// While single operations are refused because the server is busy, they are sent again for so long;
/// then the whole batch waits.
const BUSY_DEADLINE: Duration = Duration::from_secs(10);

const BUSY_RETRY: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(200), max: Duration::from_secs(3), factor: 2.0 };

/// At most so much of an answer that is no success is read.
const MAX_REFUSAL_CHARS: usize = 300;

pub(super) struct SearchClient {
    client: Client,
    url: Url,
    headers: HeaderMap,
    gzip: bool,
    counts: Arc<Counts>,
}

#[derive(Deserialize)]
struct Root {
    #[serde(default)]
    version: Version,
}

#[derive(Default, Deserialize)]
struct Version {
    #[serde(default)]
    number: String,
    #[serde(default)]
    distribution: Option<String>,
}

impl SearchClient {
    pub(super) fn new(config: &ElasticsearchConfig, counts: Arc<Counts>) -> Result<Self, String> {
        let client = config.http.client(&config.url).map_err(|error| error.to_string())?;
        let headers = headers(&config.access)?;
        Ok(Self { client, url: config.url.clone(), headers, gzip: config.gzip, counts })
    }

    /// Sends a request until no operation of it waits; gives those that the server refuses.
    ///
    /// # Errors
    ///
    /// Why none of it is done, or nobody knows.
    pub(super) async fn bulk(
        &self,
        request: &BulkRequest<'_, '_>,
    ) -> Result<Vec<Unusable>, Failure> {
        let mut operations: Vec<&Operation<'_>> = request.operations.iter().collect();
        let (deadline, mut backoff) = (Instant::now() + BUSY_DEADLINE, Backoff::new(BUSY_RETRY));
        let mut refused = Vec::new();
        let mut body = request.body.clone();
        loop {
            let outcomes = self.send(body, &operations).await?;
            let Outcomes { written, refused: more, again, busy } = outcomes;
            self.counts.wrote(written);
            refused.extend(more);
            let Some(busy) = busy else { return Ok(refused) };
            if Instant::now() > deadline {
                let count = again.len();
                return Err(Failure::unclear(format!("the server is busy with {count}: {busy}")));
            }
            self.counts.retried();
            tokio::time::sleep(backoff.next_wait()).await;
            operations = again.iter().map(|at| operations[*at]).collect();
            body = operations.iter().map(|operation| operation.lines()).collect();
        }
    }

    async fn send(&self, body: String, operations: &[&Operation<'_>]) -> Result<Outcomes, Failure> {
        let (bytes, began) = (body.len(), Instant::now());
        let call = self.call("_bulk", |url| self.client.post(url));
        let call = call.header(CONTENT_TYPE, "application/x-ndjson");
        let call = match self.gzip {
            true => call.header(CONTENT_ENCODING, "gzip").body(zipped(body.as_bytes())),
            false => call.body(body),
        };
        let response = call.send().await.map_err(|error| no_answer(&self.url, &error))?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let text = response.bytes().await.map_err(|error| no_answer(&self.url, &error))?;
        self.counts.answered(Answered { bytes, took: began.elapsed() });
        let answer: BulkAnswer = serde_json::from_slice(&text).map_err(|error| {
            Failure::unclear(format!("the answer of the server is not understood: {error}"))
        })?;
        answer.outcomes(operations).map_err(Failure::unclear)
    }

    /// Whether the server answers, and which one it is.
    pub(super) async fn look(&self) -> Vec<TargetFinding> {
        let (host, port) =
            (self.url.host_str().unwrap_or_default(), self.url.port_or_known_default());
        let address = format!("{host}:{}", port.unwrap_or_default());
        let answer = self.call("", |url| self.client.get(url)).send().await;
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                let failure = no_answer(&self.url, &error);
                return vec![TargetFinding::wrong(failure.reason, "start it, or correct `url`")];
            }
        };
        match response.status() {
            StatusCode::UNAUTHORIZED => {
                let remedy = "write user and password, or apiKey";
                vec![TargetFinding::wrong(
                    format!("{address} does not know who we are (401)"),
                    remedy,
                )]
            }
            StatusCode::FORBIDDEN => {
                let what = format!("{address} does not let us in (403)");
                vec![TargetFinding::wrong(
                    what,
                    "give the user the privilege `monitor` of the cluster",
                )]
            }
            status if status.is_success() => {
                let root = response.bytes().await.unwrap_or_default();
                let root = serde_json::from_slice::<Root>(&root);
                let Version { number, distribution } =
                    root.map(|root| root.version).unwrap_or_default();
                let product = distribution.unwrap_or_else(|| "elasticsearch".to_owned());
                vec![TargetFinding::good(format!("{address} is {product} {number}"))]
            }
            // Some distributions answer nothing at the root.
            StatusCode::METHOD_NOT_ALLOWED => {
                vec![TargetFinding::good(format!("{address} answers"))]
            }
            status => {
                let what = format!("{address} answers with {status}");
                vec![TargetFinding::wrong(what, "see whether `url` is that of a search server")]
            }
        }
    }

    fn call(&self, path: &str, of: impl FnOnce(Url) -> RequestBuilder) -> RequestBuilder {
        let mut url = self.url.clone();
        if !path.is_empty() {
            let before = url.path().trim_end_matches('/').to_owned();
            url.set_path(&format!("{before}/{path}"));
        }
        of(url).headers(self.headers.clone())
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

/// What a request means that was refused as a whole.
async fn refusal(response: Response) -> Failure {
    let status = response.status();
    let seconds =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let text: String = response.text().await.unwrap_or_default();
    let text: String = text.chars().take(MAX_REFUSAL_CHARS).collect();
    let failure = Failure::unclear(format!("the server answers with {status}")).saying(text);
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Failure {
            is_too_large: true,
            is_unclear: false,
            reason: "the request is too large for the server: lower maxRequestBytes, or raise \
                     http.max_content_length there"
                .to_owned(),
            ..failure
        },
        status if is_busy(status) => {
            Failure { retry_after: seconds.map(Duration::from_secs), ..failure }
        }
        _ => failure,
    }
}
