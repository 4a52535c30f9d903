//! The definitions of the source's tables, for sinks: as each `dts` keeps them in its checkpoint.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use event_bus::Bus;
use full_sync::Table;
use sinks::Tables;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::reach::Catalogs;

/// What was read is asked for again after this time, as a table may have been altered.
const FRESH_FOR: Duration = Duration::from_mins(1);

/// The bus is not asked more often than this, however many tables are not told of.
const MIN_BETWEEN: Duration = Duration::from_secs(5);

const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Reads the definitions when a sink asks for them.
pub(crate) struct TableFacts {
    bus: Arc<dyn Bus>,
    read: Mutex<Option<ReadFacts>>,
}

/// What was read, and when.
struct ReadFacts {
    at: Instant,
    catalogs: Catalogs,
    /// What was given since.
    given: BTreeMap<(String, String), Arc<Table>>,
}

impl TableFacts {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Self {
        Self { bus, read: Mutex::default() }
    }

    async fn read(&self) -> Result<ReadFacts, String> {
        let read = timeout(ANSWER_DEADLINE, Catalogs::read(self.bus.as_ref())).await;
        let catalogs = read
            .map_err(|_| format!("the bus has not answered within {ANSWER_DEADLINE:?}"))?
            .map_err(|error| error.to_string())?;
        Ok(ReadFacts { at: Instant::now(), catalogs, given: BTreeMap::new() })
    }

    /// The definition of a table; what was read of a table that is told is good for so long.
    async fn find(
        &self,
        (schema, table): (&str, &str),
        fresh_for: Duration,
    ) -> Result<Option<Arc<Table>>, String> {
        let mut read = self.read.lock().await;
        let is_told = |facts: &ReadFacts| facts.catalogs.table(schema, table).is_some();
        let patience = match read.as_ref().is_some_and(is_told) {
            true => fresh_for,
            false => MIN_BETWEEN,
        };
        let facts = match read.take().filter(|facts| facts.at.elapsed() < patience) {
            Some(facts) => facts,
            None => self.read().await?,
        };
        let facts = read.insert(facts);
        let names = (schema.to_owned(), table.to_owned());
        if let Some(given) = facts.given.get(&names) {
            return Ok(Some(Arc::clone(given)));
        }
        let found = facts.catalogs.table(schema, table).cloned().map(Arc::new);
        if let Some(found) = &found {
            facts.given.insert(names, Arc::clone(found));
        }
        Ok(found)
    }
}

#[async_trait]
impl Tables for TableFacts {
    async fn table(&self, schema: &str, table: &str) -> Result<Option<Arc<Table>>, String> {
        self.find((schema, table), FRESH_FOR).await
    }

    async fn table_now(&self, schema: &str, table: &str) -> Result<Option<Arc<Table>>, String> {
        self.find((schema, table), MIN_BETWEEN).await
    }
}

impl fmt::Debug for TableFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TableFacts")
    }
}
