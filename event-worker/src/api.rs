//! The HTTP API: state of the listeners, pause and resume, full syncs, reload, metrics and health.

mod full_sync;
mod health;
mod listeners;
mod metrics;
mod openapi;
mod parked;
mod refusal;
mod replays;
mod reset;
mod versions;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, Uri},
    routing::{MethodRouter, get, post},
};
use service::http::{ApiError, Guard};
use tokio::{net::TcpListener, sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    listeners::{ListenerList, ListenerView},
    versions::{NodeView, VersionsView},
};
use crate::supervisor::{Reloaded, Supervisor};

/// How long a reload may take.
const RELOAD_DEADLINE: Duration = Duration::from_secs(5);

/// Serves until `stop`.
pub(crate) async fn serve(
    (listener, guard): (TcpListener, Guard),
    supervisor: Arc<Supervisor>,
    stop: CancellationToken,
) {
    service::http::serve(listener, router(supervisor), guard, stop).await;
}

fn router(supervisor: Arc<Supervisor>) -> Router {
    let router = Router::new();
    let router = routes().into_iter().fold(router, |router, (path, how)| router.route(path, how));
    router.fallback(not_found).with_state(supervisor)
}

/// What is served; `openapi.json` describes it.
fn routes() -> Vec<(&'static str, MethodRouter<Arc<Supervisor>>)> {
    vec![
        ("/", get(full_sync::call).post(full_sync::call)),
        ("/api/v1/full-syncs", get(full_sync::list).post(full_sync::create)),
        ("/api/v1/full-syncs/{id}", get(full_sync::show)),
        ("/api/v1/full-syncs/{id}/pause", post(full_sync::pause)),
        ("/api/v1/full-syncs/{id}/resume", post(full_sync::resume)),
        ("/api/v1/full-syncs/{id}/cancel", post(full_sync::cancel)),
        ("/api/v1/listeners", get(listeners::list)),
        ("/api/v1/listeners/{id}", get(listeners::show)),
        ("/api/v1/listeners/{id}/pause", post(listeners::pause)),
        ("/api/v1/listeners/{id}/resume", post(listeners::resume)),
        ("/api/v1/listeners/{id}/restart", post(listeners::restart)),
        ("/api/v1/listeners/{id}/retry", post(listeners::retry)),
        ("/api/v1/listeners/{id}/reset", post(reset::reset)),
        ("/api/v1/listeners/{id}/skip", post(reset::skip)),
        ("/api/v1/listeners/{id}/parked", get(parked::list)),
        ("/api/v1/listeners/{id}/parked/retry", post(parked::retry)),
        ("/api/v1/listeners/{id}/parked/replay", post(parked::replay)),
        ("/api/v1/listeners/{id}/parked/drop", post(parked::drop_events)),
        ("/api/v1/listeners/{id}/replays", get(replays::list_of).post(replays::create)),
        ("/api/v1/listeners/{id}/ready", get(health::listener_ready)),
        ("/api/v1/replays", get(replays::list)),
        ("/api/v1/replays/{id}", get(replays::show)),
        ("/api/v1/replays/{id}/pause", post(replays::pause)),
        ("/api/v1/replays/{id}/resume", post(replays::resume)),
        ("/api/v1/replays/{id}/cancel", post(replays::cancel)),
        ("/api/v1/versions", get(versions::show)),
        ("/api/v1/reload", post(reload)),
        ("/api/v1/openapi.json", get(openapi::show)),
        ("/metrics", get(metrics::show)),
        ("/healthz", get(health::alive)),
        ("/readyz", get(health::ready)),
    ]
}

async fn reload(State(supervisor): State<Arc<Supervisor>>) -> Result<Json<Reloaded>, ApiError> {
    let busy = || {
        let remedy = "try again when event-worker runs and the earlier reload is done";
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_path_that_is_served_is_described_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
        let described: BTreeSet<&str> =
            document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let served: BTreeSet<&str> = routes().iter().map(|(path, _)| *path).collect();
        assert_eq!(described, served);
    }
}
