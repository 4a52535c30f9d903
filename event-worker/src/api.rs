//! The HTTP API: how the listeners are, pause and resume, reload, metrics and health.

mod health;
mod listeners;
mod metrics;
mod reset;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::{StatusCode, Uri},
    routing::{get, post},
};
use service::http::{ApiError, Guard};
use tokio::{net::TcpListener, sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::listeners::{ListenerList, ListenerView};
use crate::{
    config::ListenConfig,
    supervisor::{Reloaded, Supervisor},
};

/// How long a reload may take.
const RELOAD_DEADLINE: Duration = Duration::from_secs(5);

/// Serves until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    supervisor: Arc<Supervisor>,
    listen: ListenConfig,
    stop: CancellationToken,
) {
    let guard = Guard::new(listen.address, listen.token.as_ref());
    service::http::serve(listener, router(supervisor), guard, stop).await;
}

fn router(supervisor: Arc<Supervisor>) -> Router {
    Router::new()
        .route("/", get(full_sync).post(full_sync))
        .route("/api/v1/listeners", get(listeners::list))
        .route("/api/v1/listeners/{id}", get(listeners::show))
        .route("/api/v1/listeners/{id}/pause", post(listeners::pause))
        .route("/api/v1/listeners/{id}/resume", post(listeners::resume))
        .route("/api/v1/listeners/{id}/reset", post(reset::reset))
        .route("/api/v1/listeners/{id}/ready", get(health::listener_ready))
        .route("/api/v1/reload", post(reload))
        .route("/metrics", get(metrics::show))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(not_found)
        .with_state(supervisor)
}

/// `/?table=…`: to come.
async fn full_sync(RawQuery(query): RawQuery) -> ApiError {
    if query.is_none_or(|query| query.is_empty()) {
        let remedy = "GET /api/v1/listeners shows the listeners, /metrics the metrics";
        return ApiError::new(StatusCode::BAD_REQUEST, "nothing here without parameters", remedy);
    }
    ApiError::new(
        StatusCode::NOT_IMPLEMENTED,
        "full sync is not part of this version",
        "it comes in a later one; until then a new listener with start = \"earliest\" gets all \
         that the bus keeps",
    )
}

async fn reload(State(supervisor): State<Arc<Supervisor>>) -> Result<Json<Reloaded>, ApiError> {
    let busy = || {
        let remedy = "try again when it runs and the reload before is done";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no reload is possible now", remedy)
    };
    let (answer_to, answer) = oneshot::channel();
    supervisor.reloads.try_send(answer_to).map_err(|_| busy())?;
    let reloaded =
        timeout(RELOAD_DEADLINE, answer).await.map_err(|_| busy())?.map_err(|_| busy())?;
    Ok(Json(reloaded?))
}

async fn not_found(uri: Uri) -> ApiError {
    let message = format!("there is nothing at {}", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, message, "docs/listeners.md lists the paths")
}
