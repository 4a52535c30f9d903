//! `/?table=…&listenerid=…` and `/api/v1/full-syncs`: sends a table to one listener.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{Method, StatusCode},
};
use full_sync::Task;
use serde_json::Value;
use service::http::ApiError;

use crate::{
    full_sync::{
        FullSyncList, FullSyncView, FullSyncWish, IN_BODY, IN_QUERY, ParameterNames, Started,
        Target, WantedRows, word,
    },
    supervisor::{Supervisor, why},
};

type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// `/?table=T&listenerid=L`. GET works too, so that a URL is enough.
pub(super) async fn call(
    State(supervisor): State<Arc<Supervisor>>,
    method: Method,
    parameters: Parameters,
) -> Result<(StatusCode, Json<Started>), ApiError> {
    let parameters = read_query(parameters)?;
    if method == Method::HEAD {
        let remedy = "use GET or POST";
        return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "HEAD starts nothing", remedy));
    }
    if parameters.is_empty() {
        let remedy = "/?table=TABLE&listenerid=LISTENER sends a table to a listener; GET \
                      /api/v1/listeners shows the listeners, /metrics the metrics";
        return Err(bad_request("nothing here without parameters", remedy));
    }
    let names = IN_QUERY.as_written(&parameters);
    let wanted = WantedRows::read(&parameters, &names).map_err(|mistakes| {
        let remedy = "write /?table=TABLE&listenerid=LISTENER, and for a part of the table \
                      pk=COLUMN, offset=FIRST, maxOffset=LAST";
        bad_request(mistakes, remedy)
    })?;
    start(&supervisor, (wanted, names)).await
}

pub(super) async fn create(
    State(supervisor): State<Arc<Supervisor>>,
    body: Bytes,
) -> Result<(StatusCode, Json<Started>), ApiError> {
    let wanted = read_body(&body).map_err(|mistakes| {
        let remedy = "send {\"listener\":\"LISTENER\",\"table\":\"TABLE\"}, and for a part of the \
                      table pk, from and to";
        bad_request(mistakes, remedy)
    })?;
    start(&supervisor, wanted).await
}

async fn start(
    supervisor: &Supervisor,
    (wanted, names): (WantedRows, ParameterNames),
) -> Result<(StatusCode, Json<Started>), ApiError> {
    let target = target(supervisor, &wanted.listener)?;
    let started = supervisor.full_syncs.start(target, wanted).await;
    let started = started.map_err(|refused| names.reword(refused))?;
    Ok((StatusCode::ACCEPTED, Json(started)))
}

pub(super) async fn list(
    State(supervisor): State<Arc<Supervisor>>,
    parameters: Parameters,
) -> Result<Json<FullSyncList>, ApiError> {
    let filter = TaskFilter::read(read_query(parameters)?)?;
    let tasks = supervisor.full_syncs.tasks().await?.into_iter();
    let views = tasks.map(|task| view(&supervisor, task));
    let full_syncs = views.filter(|view| filter.passes(view)).collect();
    Ok(Json(FullSyncList { full_syncs }))
}

pub(super) async fn show(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<Json<FullSyncView>, ApiError> {
    Ok(Json(view(&supervisor, supervisor.full_syncs.task(&id).await?)))
}

pub(super) async fn pause(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<FullSyncView>), ApiError> {
    wish(&supervisor, &id, FullSyncWish::Pause).await
}

pub(super) async fn resume(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<FullSyncView>), ApiError> {
    wish(&supervisor, &id, FullSyncWish::Resume).await
}

pub(super) async fn cancel(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<FullSyncView>), ApiError> {
    wish(&supervisor, &id, FullSyncWish::Cancel).await
}

async fn wish(
    supervisor: &Supervisor,
    id: &str,
    wish: FullSyncWish,
) -> Result<(StatusCode, Json<FullSyncView>), ApiError> {
    let task = supervisor.full_syncs.wish(id, wish).await?;
    Ok((StatusCode::ACCEPTED, Json(view(supervisor, task))))
}

fn view(supervisor: &Supervisor, task: Task) -> FullSyncView {
    let unit = supervisor.fleet.unit(&task.listener);
    FullSyncView::from(task).beside(unit.map(|unit| why(&unit.view())).as_ref())
}

fn target(supervisor: &Supervisor, listener: &str) -> Result<Target, ApiError> {
    supervisor.fleet.target(listener).ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            format!("there is no listener {listener:?}"),
            "GET /api/v1/listeners lists them; a new one needs a reload",
        )
        .with_code("no_such_listener")
    })
}

/// Which full syncs of the list to show.
#[derive(Default)]
struct TaskFilter {
    listener: Option<String>,
    state: Option<String>,
}

impl TaskFilter {
    fn read(parameters: Vec<(String, String)>) -> Result<Self, ApiError> {
        const STATES: [&str; 7] =
            ["waiting", "running", "paused", "sent", "done", "cancelled", "failed"];
        let mut filter = Self::default();
        let mut mistakes = Vec::new();
        for (name, value) in parameters {
            let place = match name.as_str() {
                "listener" => &mut filter.listener,
                "state" => &mut filter.state,
                _ => {
                    mistakes.push(format!("{name:?} is not known"));
                    continue;
                }
            };
            if name == "state" && !STATES.contains(&value.as_str()) {
                mistakes.push(format!("{value:?} is no state"));
            }
            if place.replace(value).is_some() {
                mistakes.push(format!("{name} is given more than once"));
            }
        }
        if mistakes.is_empty() {
            return Ok(filter);
        }
        let remedy = format!("write ?listener=LISTENER&state= one of {}", STATES.join(", "));
        Err(bad_request(mistakes.join("; "), &remedy))
    }

    fn passes(&self, view: &FullSyncView) -> bool {
        self.listener.as_ref().is_none_or(|listener| *listener == view.listener)
            && self.state.as_ref().is_none_or(|state| *state == word(view.state))
    }
}

fn read_query(parameters: Parameters) -> Result<Vec<(String, String)>, ApiError> {
    let Query(parameters) = parameters
        .map_err(|error| bad_request(error.body_text(), "write name=value, joined by &"))?;
    Ok(parameters)
}

/// Reads a JSON object of texts; a number is taken as a text.
fn read_body(body: &[u8]) -> Result<(WantedRows, ParameterNames), String> {
    let members: BTreeMap<String, Value> =
        serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut parameters = Vec::new();
    for (name, value) in members {
        match value {
            Value::Null => {}
            Value::String(text) => parameters.push((name, text)),
            Value::Number(number) => parameters.push((name, number.to_string())),
            _ => return Err(format!("{name} is neither a text nor a number")),
        }
    }
    let names = IN_BODY.as_written(&parameters);
    Ok((WantedRows::read(&parameters, &names)?, names))
}

fn bad_request(message: impl Into<String>, remedy: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, message, remedy)
}
