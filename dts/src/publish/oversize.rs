//! What becomes of a record that is larger than the bus takes.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use binlog::{RowChange, TablePlan};
use event_bus::{BusConfig, OnOversize};
use tracing::warn;

use crate::error::{Error, Result};

/// A table's large rows are told this often, at most.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Tables whose last warning is remembered; more are forgotten and told anew.
const MAX_TABLES: usize = 1000;

/// The limit, and what was done about it.
#[derive(Debug)]
pub(crate) struct Oversize {
    max_bytes: usize,
    policy: OnOversize,
    /// Not reported yet.
    published: u64,
    /// By schema and table: when it was told last, and what was passed over in silence since.
    told: HashMap<(Box<str>, Box<str>), (Instant, u64)>,
}

impl Default for Oversize {
    fn default() -> Self {
        let policy = OnOversize::Stop;
        Self { max_bytes: usize::MAX, policy, published: 0, told: HashMap::new() }
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

    /// The error that stops the stream in front of the record.
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
            "raise maxRowBytes, or set onOversize = \"keys-only\" to publish the keys of such rows \
             alone",
        )
    }

    /// Counts a record of which only the key is published, and tells of it.
    pub(crate) fn published(&mut self, change: &RowChange<'_>, bytes: usize) {
        self.published += 1;
        let TablePlan { schema, table, .. } = &**change.table;
        let name = (schema.as_str().into(), table.as_str().into());
        let known = self.told.get_mut(&name);
        if let Some((_, silent)) = known.filter(|(at, _)| at.elapsed() < WARN_INTERVAL) {
            *silent += 1;
            return;
        }
        let silent = self.told.get(&name).map_or(0, |(_, silent)| *silent);
        let file: &Arc<str> = &change.transaction.start.file;
        warn!(
            schema, table, bytes, %file, pos = change.event_pos, others = silent,
            "a record is larger than maxRowBytes: only its key is published"
        );
        if self.told.len() >= MAX_TABLES {
            self.told.clear();
        }
        self.told.insert(name, (Instant::now(), 0));
    }

    /// How many there were since this was last asked.
    pub(crate) fn take_published(&mut self) -> u64 {
        std::mem::take(&mut self.published)
    }
}
