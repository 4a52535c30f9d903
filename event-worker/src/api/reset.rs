//! `/api/v1/listeners/{id}/reset`: a listener goes on at another place.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;
use service::http::ApiError;

use super::listeners::find;
use crate::{
    error::Error,
    reset::{ResetList, ResetPlace},
    supervisor::Supervisor,
};

/// What is asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    to: ResetPlace,
}

pub(super) async fn reset(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<ResetList>, ApiError> {
    find(&supervisor, &id)?;
    let wanted: Wanted = serde_json::from_slice(&body).map_err(|error| {
        let remedy = r#"send {"to":"earliest"}, or "latest", a time, an offset as text"#;
        ApiError::new(StatusCode::BAD_REQUEST, error.to_string(), remedy)
    })?;
    let outcome = supervisor.fleet.reset(&id, wanted.to.to)?;
    let outcome = outcome.ok_or(Error::ResetInterrupted)?;
    let resets = outcome.await.map_err(|_| Error::ResetInterrupted)??;
    Ok(Json(resets.into()))
}
