//! `/api/v1/listeners/{id}/parked`: what waits aside, and what a human wants of it.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::{Deserialize, de::DeserializeOwned};
use service::http::ApiError;
use tokio::time::timeout;

use super::listeners::find;
use crate::{
    error::Error,
    listener::parking::command::{ParkedCommand, ParkedWish},
    parked::{self, CallOutcome, ParkedList},
    supervisor::Supervisor,
};

/// How long the bus may take to tell what is parked.
const LOOK_DEADLINE: Duration = Duration::from_secs(10);

/// What to show.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    /// The events, too.
    events: bool,
}

/// Which queues to try or to replay.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SteerForm {
    queues: Vec<String>,
}

/// What to drop.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DropForm {
    drops: Vec<DropOf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DropOf {
    queue: String,
    entries: Vec<String>,
}

pub(super) async fn list(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Json<ParkedList>, ApiError> {
    let table = table(&supervisor, &id)?;
    let kept = timeout(LOOK_DEADLINE, supervisor.bus.kept(&table)).await;
    let kept = kept.map_err(|_| Error::SlowBus(LOOK_DEADLINE))?.map_err(Error::from)?;
    let parked = parked::queues(&kept, query.events);
    let parked = parked.map_err(|problem| Error::ParkedUnreadable { listener: id, problem })?;
    Ok(Json(ParkedList { parked }))
}

pub(super) async fn retry(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Vec<CallOutcome>>, ApiError> {
    steer(&supervisor, &id, &body, &ParkedWish::Retry).await
}

pub(super) async fn replay(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Vec<CallOutcome>>, ApiError> {
    steer(&supervisor, &id, &body, &ParkedWish::Replay).await
}

pub(super) async fn drop_events(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Vec<CallOutcome>>, ApiError> {
    let remedy =
        r#"send {"drops":[{"queue":"Q","entries":["E"]}]}, as GET …/parked?events=true shows them"#;
    let DropForm { drops } = read(&body, remedy)?;
    let wish = |of: DropOf| ParkedCommand { queue: of.queue, wish: ParkedWish::Drop(of.entries) };
    carry_out(&supervisor, &id, drops.into_iter().map(wish).collect()).await
}

async fn steer(
    supervisor: &Supervisor,
    id: &str,
    body: &[u8],
    wish: &ParkedWish,
) -> Result<Json<Vec<CallOutcome>>, ApiError> {
    let remedy = r#"send {"queues":["Q"]}, as GET …/parked shows them"#;
    let SteerForm { queues } = read(body, remedy)?;
    let command = |queue| ParkedCommand { queue, wish: wish.clone() };
    carry_out(supervisor, id, queues.into_iter().map(command).collect()).await
}

async fn carry_out(
    supervisor: &Supervisor,
    id: &str,
    wishes: Vec<ParkedCommand>,
) -> Result<Json<Vec<CallOutcome>>, ApiError> {
    let table = table(supervisor, id)?;
    if wishes.is_empty() {
        return Ok(Json(Vec::new()));
    }
    Ok(Json(parked::carry_out(&*supervisor.bus, (id, &table), wishes).await?))
}

/// The table on the bus that keeps what the listener has parked.
fn table(supervisor: &Supervisor, id: &str) -> Result<String, ApiError> {
    let table = find(supervisor, id)?.subscription.table.clone();
    Ok(table.map(|table| table.name).unwrap_or_default())
}

fn read<T: DeserializeOwned>(body: &[u8], remedy: &str) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, error.to_string(), remedy))
}
