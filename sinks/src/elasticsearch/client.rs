//! What a search server is asked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use handler::Failure;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use service::{Backoff, BackoffConfig};
use tracing::warn;

use super::{
    answer::{BulkAnswer, Outcomes, ServerError},
    bulk::Operation,
    config::ElasticsearchConfig,
    hosts::{Answer, Hosts, Request},
    place::Place,
};
use crate::{
    change::Unusable,
    figures::{Answered, Counts},
    http::is_busy,
};

/// While single operations are refused because the server is busy, they are sent again for so long;
/// then the whole batch waits.
const BUSY_DEADLINE: Duration = Duration::from_secs(10);

const BUSY_RETRY: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(200), max: Duration::from_secs(3), factor: 2.0 };

/// Nothing else is needed of an answer.
const BULK_FIELDS: &str = "filter_path=errors,items.*.status,items.*.error";

pub(super) struct SearchClient {
    pub(super) hosts: Hosts,
    counts: Arc<Counts>,
    /// Lowered where the server takes less.
    max_request_bytes: AtomicUsize,
}

/// How a `_bulk` request went.
enum Sent {
    Answered(Outcomes),
    TooLarge,
}

/// A document that is there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) version: u64,
    pub(super) source: Box<RawValue>,
}

#[derive(Deserialize)]
struct FetchAnswer {
    docs: Vec<FetchedDocument>,
}

#[derive(Deserialize)]
struct FetchedDocument {
    #[serde(default)]
    found: bool,
    #[serde(rename = "_version")]
    version: Option<u64>,
    #[serde(rename = "_source")]
    source: Option<Box<RawValue>>,
    error: Option<ServerError>,
}

impl SearchClient {
    pub(super) fn new(config: &ElasticsearchConfig, counts: Arc<Counts>) -> Result<Self, String> {
        let max_request_bytes = config.max_request_bytes.into();
        Ok(Self { hosts: Hosts::new(config)?, counts, max_request_bytes })
    }

    /// Carries out operations until none of them waits; gives those that the server refuses.
    ///
    /// # Errors
    ///
    /// Why none of it is done, or nobody knows.
    pub(super) async fn bulk(
        &self,
        operations: &[Operation<'_>],
    ) -> Result<Vec<Unusable>, Failure> {
        let max_bytes = self.max_request_bytes.load(Relaxed);
        let parts = Operation::parts(operations, max_bytes).into_iter().rev();
        let mut parts: Vec<Vec<&Operation<'_>>> = parts.map(|part| part.iter().collect()).collect();
        let (deadline, mut backoff) = (Instant::now() + BUSY_DEADLINE, Backoff::new(BUSY_RETRY));
        let mut refused = Vec::new();
        while let Some(part) = parts.pop() {
            let outcomes = match self.send(&part).await? {
                Sent::Answered(outcomes) => outcomes,
                Sent::TooLarge => {
                    match part.as_slice() {
                        [only] => refused.push(too_large(only)),
                        _ => parts.extend(self.halves(&part)),
                    }
                    continue;
                }
            };
            self.counts.wrote(outcomes.written);
            refused.extend(outcomes.refused);
            if let Some(stuck) = outcomes.stuck {
                return Err(stuck);
            }
            let Some(busy) = outcomes.busy else { continue };
            if Instant::now() > deadline {
                let count = outcomes.again.len();
                let reason = format!("the server is too busy for {count} of the changes");
                return Err(Failure::unclear(reason).saying(busy));
            }
            self.counts.retried();
            tokio::time::sleep(backoff.next_wait()).await;
            parts.push(outcomes.again.iter().filter_map(|at| part.get(*at).copied()).collect());
        }
        Ok(refused)
    }

    /// A request that was too large in two, the first half last.
    fn halves<'o, 'a>(&self, part: &[&'o Operation<'a>]) -> [Vec<&'o Operation<'a>>; 2] {
        let bytes: usize = part.iter().map(|operation| operation.lines().len()).sum();
        self.counts.retried();
        if self.max_request_bytes.fetch_min(bytes / 2, Relaxed) > bytes / 2 {
            warn!(
                bytes,
                "the server does not take a request of this size (http.max_content_length): \
                 requests are smaller from now on; lower maxRequestBytes"
            );
        }
        let (first, second) = part.split_at(part.len() / 2);
        [second.to_vec(), first.to_vec()]
    }

    async fn send(&self, operations: &[&Operation<'_>]) -> Result<Sent, Failure> {
        let body: String = operations.iter().map(|operation| operation.lines()).collect();
        let request = Request {
            query: Some(BULK_FIELDS),
            body: &body,
            ..Request::new(Method::POST, &["_bulk"])
        };
        let answer = self.ask(&request).await?;
        if answer.status == StatusCode::PAYLOAD_TOO_LARGE {
            return Ok(Sent::TooLarge);
        }
        let answer: BulkAnswer = read(answer)?;
        answer.outcomes(operations).map(Sent::Answered).map_err(Failure::unclear)
    }

    /// The documents that are there, in the order of the places.
    ///
    /// # Errors
    ///
    /// Why they cannot be fetched now.
    pub(super) async fn fetch(&self, places: &[&Place]) -> Result<Vec<Option<Found>>, Failure> {
        /// So many documents are fetched at once.
        const MAX_DOCUMENTS: usize = 200;
        let mut fetched = Vec::with_capacity(places.len());
        for places in places.chunks(MAX_DOCUMENTS) {
            let documents = places.iter().map(|place| match &place.routing {
                Some(routing) => {
                    json!({"_index": &*place.index, "_id": place.id, "routing": routing})
                }
                None => json!({"_index": &*place.index, "_id": place.id}),
            });
            let body = json!({"docs": documents.collect::<Vec<_>>()}).to_string();
            let request = Request { body: &body, ..Request::new(Method::POST, &["_mget"]) };
            let answer: FetchAnswer = read(self.ask(&request).await?)?;
            if answer.docs.len() != places.len() {
                return Err(Failure::unclear("the server has not answered for all documents"));
            }
            for document in answer.docs {
                fetched.push(document.found()?);
            }
        }
        Ok(fetched)
    }

    /// Sends a request, and counts it.
    ///
    /// # Errors
    ///
    /// When no host answers.
    pub(super) async fn ask(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let began = Instant::now();
        let answer = self.hosts.send(request).await?;
        self.counts.answered(Answered { bytes: request.body.len(), took: began.elapsed() });
        Ok(answer)
    }
}

impl FetchedDocument {
    fn found(self) -> Result<Option<Found>, Failure> {
        match (self.error, self.version, self.source) {
            (Some(error), ..) if error.kind != "index_not_found_exception" => {
                let reason = "the server cannot give a document that is to be completed";
                Err(Failure::unclear(reason).saying(error.told()))
            }
            (None, Some(version), Some(source)) if self.found => {
                Ok(Some(Found { version, source }))
            }
            (None, Some(_), None) if self.found => Err(Failure::unclear(
                "the index keeps no _source, so a row that lacks columns cannot be completed: set \
                 binlog_row_image = FULL on the source",
            )),
            _ => Ok(None),
        }
    }
}

fn too_large(operation: &Operation<'_>) -> Unusable {
    operation.change.unusable(format!(
        "its document needs a request of {} bytes, which the server does not take: raise \
         http.max_content_length there, or leave a large column out",
        operation.lines().len()
    ))
}

/// Reads an answer of success.
fn read<T: for<'de> Deserialize<'de>>(answer: Answer) -> Result<T, Failure> {
    if !answer.status.is_success() {
        return Err(refusal(&answer));
    }
    serde_json::from_slice(&answer.body).map_err(|error| {
        Failure::unclear(format!("the answer of the server is not understood: {error}"))
    })
}

/// What a request means that was refused as a whole.
pub(super) fn refusal(answer: &Answer) -> Failure {
    let reason = match answer.status {
        StatusCode::UNAUTHORIZED => {
            "the server does not know who we are (401): correct user and password, or apiKey"
                .to_owned()
        }
        StatusCode::FORBIDDEN => "the user may not do this (403): event-worker check says which \
                                  privilege is missing"
            .to_owned(),
        status => format!("the server answers with {status}"),
    };
    let retry_after = answer.retry_after.filter(|_| is_busy(answer.status));
    Failure { retry_after, ..Failure::unclear(reason).saying(answer.told()) }
}
