//! `/api/v1/replays` and `/api/v1/listeners/{id}/replays`: past events once more to one listener.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use service::http::ApiError;

use crate::{
    replay::{KnownReplay, ReplayList, ReplayView, ReplayWish, WantedEvents},
    supervisor::Supervisor,
};

pub(super) async fn create(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<ReplayView>), ApiError> {
    let listener = supervisor.fleet.target(&id).zip(supervisor.fleet.subscription(&id));
    let listener = listener.ok_or_else(|| super::listeners::not_here(&supervisor, &id))?;
    let wanted: WantedEvents = serde_json::from_slice(&body).map_err(|error| {
        let remedy = "send {\"from\":\"earliest\"}: from and to are a time like \
                      2026-01-31T12:00:00Z, an offset or seq:NUMBER, as texts; table, key and \
                      force are optional";
        ApiError::new(StatusCode::BAD_REQUEST, error.to_string(), remedy)
            .with_code("invalid_parameter")
    })?;
    let started = supervisor.replays.start(listener, wanted).await?;
    Ok((StatusCode::ACCEPTED, Json(view(&supervisor, started))))
}

pub(super) async fn list(
    State(supervisor): State<Arc<Supervisor>>,
) -> Result<Json<ReplayList>, ApiError> {
    let all = supervisor.replays.all().await?.into_iter();
    let replays = all.map(|known| view(&supervisor, known)).collect();
    Ok(Json(ReplayList { replays }))
}

/// Those of one listener, also of one that is not in the config any more.
pub(super) async fn list_of(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<Json<ReplayList>, ApiError> {
    let all = supervisor.replays.all().await?.into_iter();
    let of_it = all.filter(|known| known.replay.listener == id);
    let replays = of_it.map(|known| view(&supervisor, known)).collect();
    Ok(Json(ReplayList { replays }))
}

pub(super) async fn show(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<Json<ReplayView>, ApiError> {
    Ok(Json(view(&supervisor, supervisor.replays.one(&id).await?)))
}

pub(super) async fn pause(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<ReplayView>), ApiError> {
    wish(&supervisor, &id, ReplayWish::Pause).await
}

pub(super) async fn resume(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<ReplayView>), ApiError> {
    wish(&supervisor, &id, ReplayWish::Resume).await
}

pub(super) async fn cancel(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<ReplayView>), ApiError> {
    wish(&supervisor, &id, ReplayWish::Cancel).await
}

async fn wish(
    supervisor: &Supervisor,
    id: &str,
    wish: ReplayWish,
) -> Result<(StatusCode, Json<ReplayView>), ApiError> {
    let known = supervisor.replays.wish(id, wish).await?;
    Ok((StatusCode::ACCEPTED, Json(view(supervisor, known))))
}

fn view(supervisor: &Supervisor, known: KnownReplay) -> ReplayView {
    let unit = supervisor.fleet.unit(&known.replay.listener);
    ReplayView::from(known).beside(unit.map(|unit| unit.view().report.state))
}
