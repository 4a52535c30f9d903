//! The full syncs that have not ended, as status and metrics show them.

use std::sync::atomic::AtomicU64;

use full_sync::{Task, TaskState};
use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use serde_json::{Value, json};

type Labels = Vec<(&'static str, String)>;

/// The states of a full sync that has not ended, as the API names them.
const STATES: [(TaskState, &str); 4] = [
    (TaskState::Waiting, "waiting"),
    (TaskState::Running, "running"),
    (TaskState::Paused, "paused"),
    (TaskState::Sent, "sent"),
];

/// Gauges that are set again whenever a task changes.
#[derive(Debug, Default)]
pub(super) struct FullSyncGauges {
    tasks: Family<Labels, Gauge>,
    rows: Family<Labels, Gauge<f64, AtomicU64>>,
    estimated_rows: Family<Labels, Gauge<f64, AtomicU64>>,
    rows_per_second: Family<Labels, Gauge<f64, AtomicU64>>,
}

impl FullSyncGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Full syncs that have not ended, by their state";
        registry.register("full_syncs", help, self.tasks.clone());
        let of_each = [
            ("full_sync_task_rows", "Rows that a full sync has sent", &self.rows),
            ("full_sync_task_estimated_rows", "Rows of its table, estimated", &self.estimated_rows),
            (
                "full_sync_task_rows_per_second",
                "Rows per second of a full sync, over the time that it ran",
                &self.rows_per_second,
            ),
        ];
        for (name, help, family) in of_each {
            registry.register(name, help, family.clone());
        }
    }

    pub(super) fn set(&self, open: &[Task]) {
        for (state, word) in STATES {
            let count = open.iter().filter(|task| task.state == state).count();
            let gauge = self.tasks.get_or_create(&vec![("state", word.to_owned())]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for family in [&self.rows, &self.estimated_rows, &self.rows_per_second] {
            family.clear();
        }
        for task in open {
            let labels = labels(task);
            // Rows of a table are far below 2^52.
            self.rows.get_or_create(&labels).set(task.rows as f64);
            self.estimated_rows.get_or_create(&labels).set(task.estimated_rows as f64);
            self.rows_per_second.get_or_create(&labels).set(rate(task).unwrap_or(0.0));
        }
    }
}

fn labels(task: &Task) -> Labels {
    vec![
        ("task", task.id.clone()),
        ("listener", task.listener.clone()),
        ("schema", task.schema.clone()),
        ("table", task.table.clone()),
    ]
}

/// In the form that `/api/v1/status` shows.
pub(super) fn to_json(open: &[Task]) -> Value {
    let shown = |task: &Task| {
        json!({
            "id": task.id,
            "listener": task.listener,
            "schema": task.schema,
            "table": task.table,
            "state": task.state,
            "rows": task.rows,
            "estimatedRows": task.estimated_rows,
            "rowsPerSecond": rate(task),
            "error": task.trouble(),
        })
    };
    open.iter().map(shown).collect()
}

/// Rows per second, with one decimal, over all of its running time.
fn rate(task: &Task) -> Option<f64> {
    let rate = task.rows as f64 * 1000.0 / task.active_ms as f64;
    (task.active_ms > 0).then(|| (rate * 10.0).round() / 10.0)
}
