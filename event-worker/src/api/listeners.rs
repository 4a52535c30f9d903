//! `/api/v1/listeners`: shows, pauses, resumes, restarts and retries listeners.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    listener::{
        books::{Difference, Differences},
        parking::ParkingReport,
        status::{FailingLane, ListenerState, Problem, ShownReplay},
        table_counts::{Counted, TableCounts},
    },
    reach::{Reach, Reason},
    supervisor::{Supervisor, Unit, UnitView, why},
};
use service::http::ApiError;

/// A listener, as the API shows it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListenerView {
    pub(crate) id: String,
    /// Whether it moves, and if not, why, since when, and what to do: one line.
    #[serde(default)]
    pub(crate) why: String,
    pub(crate) state: ListenerState,
    pub(crate) paused: bool,
    pub(crate) error: Option<Problem>,
    pub(crate) pid: Option<u32>,
    pub(crate) up_seconds: u64,
    pub(crate) restarts: u64,
    pub(crate) received: u64,
    pub(crate) done: u64,
    pub(crate) filtered: u64,
    /// Not done yet, and not aside.
    #[serde(default)]
    pub(crate) waiting: u64,
    /// Waits aside, or did: `received + fromAside = done + filtered + returned + aside + waiting`.
    #[serde(default)]
    pub(crate) aside: u64,
    /// Events of `done` that had waited aside before.
    #[serde(default)]
    pub(crate) from_aside: u64,
    /// Went to another process of the group.
    #[serde(default)]
    pub(crate) returned: u64,
    #[serde(default)]
    pub(crate) books: BooksView,
    pub(crate) failures: u64,
    pub(crate) retries: u64,
    /// Past events that were done once more.
    #[serde(default)]
    pub(crate) replayed: u64,
    /// Past events that were left out.
    #[serde(default)]
    pub(crate) replay_left_out: u64,
    /// What it gets once more at the moment.
    #[serde(default)]
    pub(crate) replay: Option<ShownReplay>,
    /// What its sink has done, if its handler is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sink: Option<sinks::Figures>,
    pub(crate) buffered: Buffered,
    pub(crate) lag: LagView,
    /// Calls of the handler, and how long they took.
    #[serde(default)]
    pub(crate) calls: CallsView,
    /// From the commit in the source until the handler was done.
    pub(crate) latency: LatencyView,
    pub(crate) failing: Vec<FailingView>,
    /// What waits aside: parked, or tried again by itself.
    #[serde(default)]
    pub(crate) parked: ParkingReport,
    pub(crate) partitions: Vec<PartitionView>,
    /// The tables that the listener gets, and how many events came of each.
    #[serde(default)]
    pub(crate) tables: Vec<TableView>,
    /// Why a part of its config gets no events, and why it stands by.
    #[serde(default)]
    pub(crate) reasons: Vec<String>,
}

/// Whether the listener's counts agree with each other and with the book of `dts`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct BooksView {
    pub(crate) balanced: bool,
    pub(crate) differences: Vec<DifferenceView>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DifferenceView {
    #[serde(flatten)]
    found: Difference,
    pub(crate) message: String,
    pub(crate) remedy: String,
}

/// A table that a listener gets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TableView {
    /// `schema.table`.
    pub(crate) table: String,
    pub(crate) received: u64,
    pub(crate) filtered: u64,
    #[serde(default)]
    pub(crate) done: u64,
    #[serde(default)]
    pub(crate) returned: u64,
    #[serde(default)]
    pub(crate) waiting: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Buffered {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LagView {
    /// `null` while the bus does not say.
    pub(crate) records: Option<u64>,
    pub(crate) seconds: f64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CallsView {
    pub(crate) count: u64,
    pub(crate) p50_ms: Option<u64>,
    pub(crate) p99_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LatencyView {
    pub(crate) p50_ms: Option<u64>,
    pub(crate) p99_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FailingView {
    lane: usize,
    #[serde(flatten)]
    failing: FailingLane,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PartitionView {
    topic: String,
    partition: u32,
    committed: Option<u64>,
    end: u64,
    high: u64,
}

/// All of them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ListenerList {
    pub(crate) listeners: Vec<ListenerView>,
}

impl From<UnitView> for ListenerView {
    fn from(unit: UnitView) -> Self {
        let why = why(&unit).to_string();
        let UnitView { counters, report, lag, reach, .. } = unit;
        let reasons = reach.reasons.iter();
        let reasons = reasons.map(|Reason { message, remedy }| format!("{message}; {remedy}"));
        let stands_by = report.state == ListenerState::Standby;
        let reasons = reasons.chain(report.standby.filter(|_| stands_by));
        let why_nothing = reach.reasons.first();
        let why_nothing = why_nothing.map(|reason| Problem::new(&*reason.message, &*reason.remedy));
        let partitions = lag.partitions.iter().map(|at| PartitionView {
            topic: at.partition.topic.to_string(),
            partition: at.partition.number,
            committed: at.committed,
            end: at.end,
            high: at.high,
        });
        let failing = report.failing.into_iter();
        Self {
            id: unit.id,
            why,
            state: report.state,
            paused: unit.paused,
            error: report.error.or(why_nothing),
            pid: unit.pid,
            up_seconds: unit.up_seconds,
            restarts: unit.restarts,
            received: counters.received,
            done: counters.done,
            filtered: counters.filtered,
            waiting: counters.waiting(),
            aside: counters.aside,
            from_aside: counters.from_aside,
            returned: counters.returned,
            books: books(&counters.differences),
            failures: counters.failures,
            retries: counters.retries,
            replayed: counters.replayed,
            replay_left_out: counters.replay_left_out,
            replay: report.replay,
            sink: report.sink,
            buffered: Buffered { events: report.buffered_events, bytes: report.buffered_bytes },
            calls: CallsView {
                count: counters.calls.count(),
                p50_ms: counters.calls.quantile(0.5),
                p99_ms: counters.calls.quantile(0.99),
            },
            latency: LatencyView {
                p50_ms: counters.latency.quantile(0.5),
                p99_ms: counters.latency.quantile(0.99),
            },
            failing: failing.map(|(lane, failing)| FailingView { lane, failing }).collect(),
            parked: report.parking,
            partitions: partitions.collect(),
            tables: tables(&reach, &counters.tables),
            reasons: reasons.collect(),
            lag: LagView { records: lag.records, seconds: lag.seconds },
        }
    }
}

/// All tables that the listener gets, and all tables of which events came.
fn tables(reach: &Reach, counts: &TableCounts) -> Vec<TableView> {
    let none = reach.tables.iter().map(|table| (table.clone(), Counted::default()));
    let mut tables: BTreeMap<String, Counted> = none.collect();
    let came = counts.iter().map(|of| (format!("{}.{}", of.schema, of.table), of.clone()));
    tables.extend(came);
    let view = |(table, of): (String, Counted)| TableView {
        table,
        received: of.received,
        filtered: of.filtered,
        done: of.done,
        returned: of.returned,
        waiting: of.waiting(),
    };
    tables.into_iter().map(view).collect()
}

fn books(differences: &Differences) -> BooksView {
    let view = |found: &Difference| DifferenceView {
        message: found.to_string(),
        remedy: found.between.remedy().to_owned(),
        found: found.clone(),
    };
    let differences: Vec<_> = differences.all().iter().map(view).collect();
    BooksView { balanced: differences.is_empty(), differences }
}

pub(super) async fn list(State(supervisor): State<Arc<Supervisor>>) -> Json<ListenerList> {
    let listeners = supervisor.fleet.units().iter().map(|unit| unit.view().into()).collect();
    Json(ListenerList { listeners })
}

pub(super) async fn show(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<Json<ListenerView>, ApiError> {
    Ok(Json(find(&supervisor, &id)?.view().into()))
}

pub(super) async fn pause(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<Json<ListenerView>, ApiError> {
    set_paused(supervisor, id, true).await
}

pub(super) async fn resume(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<Json<ListenerView>, ApiError> {
    set_paused(supervisor, id, false).await
}

/// A new process replaces the running one.
pub(super) async fn restart(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<Json<ListenerView>, ApiError> {
    find(&supervisor, &id)?;
    let unit = supervisor.fleet.restart(&id).ok_or(Error::ListenerStopped)?;
    Ok(Json(unit.view().into()))
}

/// Retries now what waits after a failure.
pub(super) async fn retry(
    State(supervisor): State<Arc<Supervisor>>,
    Path(id): Path<String>,
) -> Result<Json<ListenerView>, ApiError> {
    let unit = find(&supervisor, &id)?;
    unit.retry_now();
    Ok(Json(unit.view().into()))
}

async fn set_paused(
    supervisor: Arc<Supervisor>,
    id: String,
    paused: bool,
) -> Result<Json<ListenerView>, ApiError> {
    let unit = find(&supervisor, &id)?;
    // The pause is written to disk.
    let set = tokio::task::spawn_blocking(move || supervisor.fleet.set_paused(&id, paused)).await;
    set.map_err(|error| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), "see the log")
    })??;
    Ok(Json(unit.view().into()))
}

pub(super) fn find(supervisor: &Supervisor, id: &str) -> Result<Arc<Unit>, ApiError> {
    supervisor.fleet.unit(id).ok_or_else(|| not_here(supervisor, id))
}

pub(super) fn not_here(supervisor: &Supervisor, id: &str) -> ApiError {
    if let Some((group, address)) = supervisor.fleet.elsewhere(id) {
        let message =
            format!("listener {id} is in the group {group}, which this event-worker does not run");
        let remedy =
            format!("call the event-worker of that group, at {address}: event-worker … -g {group}");
        return ApiError::new(StatusCode::NOT_FOUND, message, remedy).with_code("other_group");
    }
    let known: Vec<String> = supervisor.fleet.units().iter().map(|unit| unit.id.clone()).collect();
    let remedy = format!("the listeners are: {}", known.join(", "));
    ApiError::new(StatusCode::NOT_FOUND, format!("there is no listener {id:?}"), remedy)
}
