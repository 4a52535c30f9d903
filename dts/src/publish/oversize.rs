//! What to do with a record that is larger than the bus takes.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use binlog::{RowChange, TablePlan};
use event_bus::{BusConfig, OnOversize};
use tracing::warn;

use crate::error::{Error, Result};

/// The shortest time between two log lines about a table's large rows.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// How many tables' last warnings are remembered; when there are more, all are forgotten and logged
/// again.
const MAX_TABLES: usize = 1000;

/// The limit, and counts of the records above it.
#[derive(Debug)]
pub(crate) struct Oversize {
    max_bytes: usize,
    policy: OnOversize,
    /// Not reported yet.
    published: u64,
    /// By schema and table: when it was logged last, and how many records since then were not
    /// logged.
    warned: HashMap<(Box<str>, Box<str>), (Instant, u64)>,
}

impl Default for Oversize {
    fn default() -> Self {
        let policy = OnOversize::Stop;
        Self { max_bytes: usize::MAX, policy, published: 0, warned: HashMap::new() }
    }
}

impl Oversize {
    pub(crate) fn new(bus: &BusConfig) -> Self {
        Self { max_bytes: bus.max_row_bytes, policy: bus.on_oversize, ..Self::default() }
    }

    pub(crate) fn fits(&self, bytes: usize) -> bool {
        bytes <= self.max_bytes
    }

    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub(crate) fn policy(&self) -> OnOversize {
        self.policy
    }

    /// Whether a record that does not fit may be published with its key only.
    pub(crate) fn judge(&self, change: &RowChange<'_>, bytes: usize) -> Result<()> {
        match self.policy {
            OnOversize::KeysOnly => Ok(()),
            OnOversize::Stop => Err(self.refuse(change, bytes)),
        }
    }

    /// The error that stops the stream before the record.
    pub(crate) fn refuse(&self, change: &RowChange<'_>, bytes: usize) -> Error {
        let TablePlan { schema, table, .. } = &**change.table;
        let transaction = change.transaction;
        let gtid = transaction.gtid.as_ref().map(|gtid| format!(", transaction {gtid}"));
        Error::refused(
            format!(
                "a row of {schema}.{table} at {}:{}{} makes a record of {bytes} bytes, more than \
                 bus.maxRowBytes = {}",
                transaction.start.file,
                change.event_pos,
                gtid.unwrap_or_default(),
                self.max_bytes
            ),
            "raise maxRowBytes, or set onOversize = \"keys-only\" to publish only the keys of such \
             rows",
        )
    }

    /// Counts a record whose key alone is published, and logs it.
    pub(crate) fn published(&mut self, change: &RowChange<'_>, bytes: usize) {
        self.published += 1;
        let TablePlan { schema, table, .. } = &**change.table;
        let name = (schema.as_str().into(), table.as_str().into());
        let known = self.warned.get_mut(&name);
        if let Some((_, silent)) = known.filter(|(at, _)| at.elapsed() < WARN_INTERVAL) {
            *silent += 1;
            return;
        }
        let silent = self.warned.get(&name).map_or(0, |(_, silent)| *silent);
        let file: &Arc<str> = &change.transaction.start.file;
        warn!(
            schema, table, bytes, %file, pos = change.event_pos, others = silent,
            "a record is larger than maxRowBytes: only its key is published"
        );
        if self.warned.len() >= MAX_TABLES {
            self.warned.clear();
        }
        self.warned.insert(name, (Instant::now(), 0));
    }

    /// How many there were since the last call.
    pub(crate) fn take_published(&mut self) -> u64 {
        std::mem::take(&mut self.published)
    }
}
