//! What full syncs took, next to `mysqldump` and the limit on memory.

use std::fmt::{Result, Write};

use serde::Serialize;

use super::table::Table;
use crate::measure::{Cost, Runs};

/// The limit on the memory of `dts` is this plus [`ROWS_IN_MEMORY`] times the largest row.
const MEMORY_BYTES: u64 = 64 << 20;
const ROWS_IN_MEMORY: u64 = 4;

/// Who reads the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum By {
    Mysqldump,
    Log,
    Kafka,
}

impl By {
    pub(crate) const ALL: [Self; 3] = [Self::Mysqldump, Self::Log, Self::Kafka];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mysqldump => "mysqldump --single-transaction, to nowhere",
            Self::Log => "full sync over the event log, counting handler",
            Self::Kafka => "full sync over Kafka, counting handler",
        }
    }
}

/// All runs of one of them on one table.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TableRuns {
    table: String,
    by: By,
    rows: u64,
    row_bytes: u64,
    runs: Runs,
}

impl TableRuns {
    pub(crate) fn new(table: &Table<'_>, by: By, costs: Vec<Cost>) -> Self {
        let runs = Runs::new(costs);
        let (name, rows, row_bytes) = (table.name.to_owned(), table.rows, table.row_bytes);
        Self { table: name, by, rows, row_bytes, runs }
    }

    fn rows_per_second(&self, cost: Option<&Cost>) -> f64 {
        cost.map_or(f64::NAN, |cost| self.rows as f64 / cost.seconds)
    }

    fn median_speed(&self) -> f64 {
        self.rows_per_second(self.runs.median())
    }

    fn write_row(&self, text: &mut String) -> Result {
        let cpu_seconds = self.runs.median().map_or(f64::NAN, |cost| cost.cpu_seconds);
        writeln!(
            text,
            "| `{}`, {} | {} | {:.0} ({:.0} – {:.0}) | {:.2} | {cpu_seconds:.2} | {} |",
            self.table,
            self.rows,
            self.by.name(),
            self.median_speed(),
            self.rows_per_second(self.runs.slowest()),
            self.rows_per_second(self.runs.fastest()),
            self.rows as f64 / self.median_speed(),
            self.runs.peak_rss_kib() / 1024
        )
    }

    /// Compares one way to read the table with `mysqldump`.
    fn write_ratio(&self, all: &[Self], text: &mut String) -> Result {
        let is_dump = |other: &&Self| other.table == self.table && other.by == By::Mysqldump;
        let dump = all.iter().find(is_dump).map_or(f64::NAN, Self::median_speed);
        let bound = MEMORY_BYTES + ROWS_IN_MEMORY * self.row_bytes;
        writeln!(
            text,
            "\nTable `{}`, {}: {:.2} of the rows a second of mysqldump; `dts` took {:.1} MiB at \
             most, {:.2} of 64 MiB and four rows.",
            self.table,
            self.by.name(),
            self.median_speed() / dump,
            self.runs.peak_rss_kib() as f64 / 1024.0,
            (self.runs.peak_rss_kib() << 10) as f64 / bound as f64,
        )
    }
}

/// Writes all runs as Markdown.
pub(crate) fn write(all: &[TableRuns], text: &mut String) -> Result {
    if all.is_empty() {
        return Ok(());
    }
    text.push_str(
        "\n| table, rows | full sync | rows/s | seconds | CPU s | peak RSS MiB, of `dts` alone |\n\
         |---|---|---|---|---|---|\n",
    );
    all.iter().try_for_each(|runs| runs.write_row(text))?;
    let ours = all.iter().filter(|runs| runs.by != By::Mysqldump);
    ours.into_iter().try_for_each(|runs| runs.write_ratio(all, text))
}
