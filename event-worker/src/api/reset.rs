//! `/api/v1/listeners/{id}/reset` and `/skip`: a listener continues at another place.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, de::DeserializeOwned};
use service::http::ApiError;

use super::listeners::find;
use crate::{
    error::Error,
    reset::{Move, ResetList, ResetPart, ResetPlace, SkippedRecord},
    supervisor::Supervisor,
};

/// What is asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResetForm {
    to: ResetPlace,
    #[serde(default)]
    topic: Option<String>,
    #[serde(default)]
    partition: Option<u32>,
}

pub(super) async fn reset(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<ResetList>, ApiError> {
    find(&supervisor, &id)?;
    let remedy = r#"send {"to":"earliest"}, or "latest", a time, an offset as text"#;
    let ResetForm { to, topic, partition } = read(&body, remedy)?;
    let part = ResetPart { topic, partition };
    carry_out(&supervisor, &id, Move::To(to, part)).await
}

pub(super) async fn skip(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<ResetList>, ApiError> {
    find(&supervisor, &id)?;
    let record: SkippedRecord = read(&body, r#"send {"topic":"T","partition":0,"offset":5}"#)?;
    carry_out(&supervisor, &id, Move::Past(record)).await
}

fn read<T: DeserializeOwned>(body: &[u8], remedy: &str) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, error.to_string(), remedy))
}

async fn carry_out(
    supervisor: &Supervisor,
    id: &str,
    change: Move,
) -> Result<Json<ResetList>, ApiError> {
    // A wrong topic or partition is refused before the listener is stopped.
    if let Move::To(..) = &change {
        change.plan(&*supervisor.bus, &find(supervisor, id)?.subscription).await?;
    }
    let outcome = supervisor.fleet.reset(id, change)?;
    let outcome = outcome.ok_or(Error::ListenerStopped)?;
    let resets = outcome.await.map_err(|_| Error::ListenerStopped)??;
    Ok(Json(resets.into()))
}
