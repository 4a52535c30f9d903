//! The HTTP API: how the listeners are, pause and resume, full syncs, reload, metrics and health.

mod full_sync;
mod health;
mod listeners;
mod metrics;
mod reset;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
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
        .route("/", get(full_sync::call).post(full_sync::call))
        .route("/api/v1/full-syncs", get(full_sync::list).post(full_sync::create))
        .route("/api/v1/full-syncs/{id}", get(full_sync::show))
        .route("/api/v1/full-syncs/{id}/pause", post(full_sync::pause))
        .route("/api/v1/full-syncs/{id}/resume", post(full_sync::resume))
        .route("/api/v1/full-syncs/{id}/cancel", post(full_sync::cancel))
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
