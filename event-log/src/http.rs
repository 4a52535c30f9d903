//! The HTTP port of a log: `/metrics`, `/healthz`, `/readyz`, `/api/v1/streams`.

mod metrics;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use service::{
    Listen,
    http::{ApiError, Guard},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{CopyState, Error, GroupState, Log, StreamState};

/// A server that has its address and does not serve yet.
pub struct HttpServer {
    listener: TcpListener,
    router: Router,
    guard: Guard,
}

impl HttpServer {
    /// Takes the port.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`], for example when another process has the port.
    pub async fn bind(listen: &Listen, log: Log) -> Result<Self, Error> {
        let (listener, guard) = listen.bind().await.map_err(|error| Error::Listen {
            address: listen.address.to_string(),
            reason: format!("{error}; set another address under [http]"),
        })?;
        let address = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
        info!(address, "metrics, probes and streams over HTTP");
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/api/v1/streams", get(streams))
            .fallback(not_found)
            .with_state(log);
        Ok(Self { listener, router, guard })
    }

    /// Serves until it is stopped.
    pub async fn serve(self, stop: CancellationToken) {
        service::http::serve(self.listener, self.router, self.guard, stop).await;
    }
}

async fn metrics(State(log): State<Log>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics::text(&states(&log), log.available_bytes()))
        .into_response()
}

async fn streams(State(log): State<Log>) -> Json<Value> {
    let all = states(&log).into_iter();
    Json(json!({ "streams": all.map(|(name, state)| shown(&name, state)).collect::<Vec<_>>() }))
}

/// Ready: every stream takes appends.
async fn ready(State(log): State<Log>) -> Response {
    let failed = states(&log).into_iter().filter_map(|(name, state)| {
        let (problem, remedy) = match (state.problem, state.full) {
            (Some(problem), _) => {
                (problem, "repair the disk and start again: no append is taken until then")
            }
            (None, Some(full)) => (full, "appends are taken when there is room"),
            (None, None) => return None,
        };
        Some(json!({ "stream": name, "problem": problem, "remedy": remedy }))
    });
    let failed: Vec<Value> = failed.collect();
    let code = if failed.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "ready": failed.is_empty(), "failed": failed }))).into_response()
}

async fn not_found(uri: Uri) -> ApiError {
    const PATHS: &str = "/metrics, /healthz, /readyz and /api/v1/streams are here";
    ApiError::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()), PATHS)
}

fn states(log: &Log) -> Vec<(String, StreamState)> {
    log.streams().iter().map(|stream| (stream.name().to_owned(), stream.state())).collect()
}

fn shown(name: &str, state: StreamState) -> Value {
    let next_offset = state.next_offset;
    let group = |group: GroupState| {
        json!({
            "name": group.name,
            "committed": group.committed,
            "committedMs": group.committed_ms,
            "lag": { "records": next_offset.saturating_sub(group.committed.unwrap_or_default()) },
            "heldBytes": group.held_bytes,
            "member": (!group.client.is_empty()).then_some(group.client),
            "waiting": group.waiting,
        })
    };
    let producers = state.producers.into_iter().map(
        |(name, epoch, sequence)| json!({ "name": name, "epoch": epoch, "sequence": sequence }),
    );
    json!({
        "name": name,
        "origin": state.origin,
        "firstOffset": state.first_offset,
        "nextOffset": next_offset,
        "bytes": state.bytes,
        "logBytes": state.log_bytes,
        "maxBytes": state.max_bytes,
        "groups": state.groups.into_iter().map(group).collect::<Vec<_>>(),
        "producers": producers.collect::<Vec<_>>(),
        "problem": state.problem,
        "full": state.full,
        "epoch": state.epoch,
        "copyOf": state.copy.map(|copy| copied(copy, next_offset)),
    })
}

/// How a copy gets on.
fn copied(copy: CopyState, next_offset: u64) -> Value {
    json!({
        "address": copy.of.address,
        "stream": copy.of.stream,
        "connected": copy.problem.is_none(),
        "problem": copy.problem,
        "sinceMs": copy.since_ms,
        "lag": { "records": copy.source_end.map(|end| end.saturating_sub(next_offset)) },
    })
}
