//! `/healthz`, `/readyz` and the `ready` of one listener. Ready means that the listeners work.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use service::http::ApiError;

use super::listeners::find;
use crate::{
    listener::status::ListenerState,
    supervisor::{LOOK_AT_HANDLER, START_BUS, Supervisor, UnitView},
};

/// The process answers.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// Ready when the bus answers, whatever the listeners do.
pub(super) async fn ready(
    State(supervisor): State<Arc<Supervisor>>,
) -> Result<Json<Value>, ApiError> {
    let units = supervisor.fleet.units();
    let away = units.iter().map(|unit| unit.view().lag).find(|lag| lag.records.is_none());
    match away {
        None => Ok(Json(json!({ "status": "ready" }))),
        Some(lag) => {
            let why = lag.bus_error.unwrap_or_else(|| "the bus has not answered yet".to_owned());
            Err(not_ready(
                why,
                "start the bus (dts, where it hosts the log); the listeners wait for it",
            ))
        }
    }
}

/// Ready when the listener works, or when a human has paused it.
pub(super) async fn listener_ready(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let view = find(&supervisor, &id)?.view();
    match why_not_ready(&view) {
        None => Ok(Json(json!({ "status": "ready", "state": view.report.state }))),
        Some((why, remedy)) => Err(not_ready(why, remedy)),
    }
}

fn why_not_ready(view: &UnitView) -> Option<(String, String)> {
    // Another environment runs it: this node has nothing to do for it.
    if view.paused || view.report.state == ListenerState::Elsewhere {
        return None;
    }
    let moves = view.report.state.is_moving();
    if let (false, Some(problem)) = (moves, &view.report.error) {
        return Some((problem.message.clone(), problem.remedy.clone()));
    }
    if !moves {
        return Some(("the listener is not running yet".to_owned(), "wait a moment".to_owned()));
    }
    if let Some(error) = &view.lag.bus_error {
        return Some((error.clone(), START_BUS.to_owned()));
    }
    view.lag.stuck().map(|why| (why, LOOK_AT_HANDLER.to_owned()))
}

fn not_ready(why: impl Into<String>, remedy: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why, remedy)
}
