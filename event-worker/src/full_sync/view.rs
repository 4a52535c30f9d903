//! Full syncs as the API shows them.

use full_sync::{Task, TaskState};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::why::{Waiting, Why};

/// What a call has started.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Started {
    pub(crate) request: String,
    pub(crate) tasks: Vec<StartedTask>,
}

/// A full sync of one table that has just started.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StartedTask {
    pub(crate) id: String,
    pub(crate) state: TaskState,
    pub(crate) listener: String,
    /// Absent when `dts` does not keep the task any more, like the fields below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) estimated_rows: Option<u64>,
}

/// All of them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FullSyncList {
    pub(crate) full_syncs: Vec<FullSyncView>,
}

/// A full sync of one table to one listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FullSyncView {
    pub(crate) id: String,
    pub(crate) request: String,
    pub(crate) listener: String,
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) state: TaskState,
    /// Whether `start = "full-sync"` asked for it.
    pub(crate) initial: bool,
    pub(crate) rows: u64,
    pub(crate) estimated_rows: u64,
    /// From the estimate, which may be wrong. Below 100 until the listener has finished.
    pub(crate) percent: Option<f64>,
    /// Over all the time that the full sync was running.
    pub(crate) rows_per_second: Option<f64>,
    pub(crate) remaining_seconds: Option<u64>,
    /// The last key that was read.
    pub(crate) cursor: Option<Value>,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) error: Option<String>,
    /// Why its listener does not move.
    #[serde(default)]
    pub(crate) waits: Option<String>,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
}

impl StartedTask {
    pub(super) fn new(id: &str, listener: &str, task: Option<Task>) -> Self {
        let (id, listener) = (id.to_owned(), listener.to_owned());
        let state = task.as_ref().map_or(TaskState::Waiting, |task| task.state);
        let estimated_rows = task.as_ref().map(|task| task.estimated_rows);
        let (schema, table) = task.map(|task| (task.schema, task.table)).unzip();
        Self { id, state, listener, schema, table, estimated_rows }
    }
}

impl From<Task> for FullSyncView {
    fn from(task: Task) -> Self {
        let rate = rate(&task);
        Self {
            percent: percent(&task),
            rows_per_second: rate.map(one_decimal),
            error: task.trouble().map(str::to_owned),
            waits: None,
            remaining_seconds: rate.and_then(|rate| remaining_seconds(&task, rate)),
            id: task.id,
            request: task.request,
            listener: task.listener,
            schema: task.schema,
            table: task.table,
            state: task.state,
            initial: task.initial,
            rows: task.rows,
            estimated_rows: task.estimated_rows,
            cursor: task.cursor,
            from: task.from,
            to: task.to,
            created_ms: task.created_ms,
            updated_ms: task.updated_ms,
        }
    }
}

impl FullSyncView {
    /// The same with why it does not end, where its listener is the reason: how that is.
    pub(crate) fn beside(self, listener: Option<&Why>) -> Self {
        let waits = match listener {
            Some(Why::Waiting(waiting)) => {
                let Waiting { what_for, because, remedy, .. } = waiting;
                Some(format!("its listener waits for {what_for} because {because}: {remedy}"))
            }
            _ => None,
        };
        Self { waits: waits.filter(|_| !self.state.is_final()), ..self }
    }
}

fn percent(task: &Task) -> Option<f64> {
    if task.state == TaskState::Done {
        return Some(100.0);
    }
    let share = task.rows as f64 / task.estimated_rows as f64;
    (task.estimated_rows > 0).then(|| one_decimal((share * 100.0).min(99.9)))
}

fn rate(task: &Task) -> Option<f64> {
    let seconds = task.active_ms as f64 / 1000.0;
    (task.active_ms > 0).then(|| task.rows as f64 / seconds)
}

fn remaining_seconds(task: &Task, rate: f64) -> Option<u64> {
    let left = task.estimated_rows.checked_sub(task.rows)? as f64;
    (task.state == TaskState::Running && rate > 0.0).then(|| (left / rate).ceil() as u64)
}

fn one_decimal(number: f64) -> f64 {
    (number * 10.0).floor() / 10.0
}

/// The word for a state in JSON.
pub(crate) fn word(state: TaskState) -> &'static str {
    match state {
        TaskState::Waiting => "waiting",
        TaskState::Running => "running",
        TaskState::Paused => "paused",
        TaskState::Sent => "sent",
        TaskState::Done => "done",
        TaskState::Cancelled => "cancelled",
        TaskState::Failed => "failed",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn task(state: TaskState, rows: u64, estimated_rows: u64) -> Task {
        Task {
            id: "fs-1-s.t".into(),
            request: "fs-1".into(),
            listener: "l".into(),
            group: "g".into(),
            schema: "s".into(),
            table: "t".into(),
            state,
            rows,
            estimated_rows,
            cursor: None,
            from: None,
            to: None,
            error: None,
            held: None,
            heard_ms: None,
            created_ms: 0,
            updated_ms: 0,
            active_ms: 2000,
            initial: false,
        }
    }

    fn shown(
        state: TaskState,
        rows: u64,
        estimated: u64,
    ) -> (Option<f64>, Option<f64>, Option<u64>) {
        let view = FullSyncView::from(task(state, rows, estimated));
        (view.percent, view.rows_per_second, view.remaining_seconds)
    }

    #[test]
    fn progress_follows_from_rows_time_and_estimate() {
        assert_eq!(shown(TaskState::Running, 500, 2000), (Some(25.0), Some(250.0), Some(6)));
        assert_eq!(shown(TaskState::Paused, 500, 2000), (Some(25.0), Some(250.0), None));
        assert_eq!(shown(TaskState::Running, 2100, 2000), (Some(99.9), Some(1050.0), None));
        assert_eq!(shown(TaskState::Sent, 1999, 1999), (Some(99.9), Some(999.5), None));
        assert_eq!(shown(TaskState::Done, 2100, 2000), (Some(100.0), Some(1050.0), None));
        assert_eq!(shown(TaskState::Waiting, 0, 0), (None, Some(0.0), None));
    }

    #[test]
    fn the_words_of_states_are_those_of_the_json() {
        for state in [
            TaskState::Waiting,
            TaskState::Running,
            TaskState::Paused,
            TaskState::Sent,
            TaskState::Done,
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), word(state));
        }
        for state in [TaskState::Cancelled, TaskState::Failed] {
            assert_eq!(serde_json::to_value(state).unwrap(), word(state));
        }
    }

    #[test]
    fn a_listener_that_waits_is_named_until_the_end() {
        let why = Why::waiting(("its handler", 0), "it fails", "see it");
        let waits = |state, why| FullSyncView::from(task(state, 1, 2)).beside(why).waits;
        let told = waits(TaskState::Sent, Some(&why)).unwrap();
        assert_eq!(told, "its listener waits for its handler because it fails: see it");
        assert_eq!(waits(TaskState::Done, Some(&why)), None);
        assert_eq!(waits(TaskState::Sent, Some(&Why::Moving(String::new()))), None);
    }
}
