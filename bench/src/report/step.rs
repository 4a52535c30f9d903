//! One step of a catch-up, with all its runs.

use serde::Serialize;

use crate::{
    load::Loaded,
    measure::{Cost, Runs},
};

/// The runs of one step on one load.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    pub(crate) load: String,
    pub(crate) step: String,
    pub(crate) rows: u64,
    pub(crate) binlog_bytes: u64,
    pub(crate) rows_per_second: f64,
    pub(super) slowest_rows_per_second: f64,
    pub(super) fastest_rows_per_second: f64,
    pub(super) runs: Runs,
}

impl Step {
    pub(crate) fn new(server: &Loaded, step: &str, costs: Vec<Cost>) -> Self {
        let runs = Runs::new(costs);
        let rows = server.load.rows();
        let speed = |cost: Option<&Cost>| cost.map_or(0.0, |cost| rows as f64 / cost.seconds);
        Self {
            load: server.load.name().to_owned(),
            step: step.to_owned(),
            rows,
            binlog_bytes: server.binlog_bytes,
            rows_per_second: speed(runs.median()),
            slowest_rows_per_second: speed(runs.slowest()),
            fastest_rows_per_second: speed(runs.fastest()),
            runs,
        }
    }

    /// What is done, and by whom, where the name says both.
    pub(crate) fn name_parts(&self) -> Option<(&str, &str)> {
        self.step.split_once(", ")
    }

    /// Bytes of the binlog a second.
    pub(crate) fn bytes_per_second(&self) -> f64 {
        self.rows_per_second * self.binlog_bytes as f64 / self.rows as f64
    }
}
