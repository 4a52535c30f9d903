//! The definitions of the source's tables, for sinks: as each `dts` keeps them in its checkpoint.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use event_bus::Bus;
use full_sync::Table;
use sinks::Tables;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use crate::reach::Catalogs;

/// What was read is asked for again after this time, as a table may have been altered.
const FRESH_FOR: Duration = Duration::from_mins(1);

/// The bus is not asked more often than this, however many tables are not told of.
const MIN_BETWEEN: Duration = Duration::from_secs(2);

/// So long the definition of a new table is waited for: `dts` tells it within seconds.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// After a wait in vain, as for a table that was dropped since, so long none is waited for.
const VAIN_FOR: Duration = Duration::from_mins(10);

const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Reads the definitions when a sink asks for them.
pub(crate) struct TableFacts {
    bus: Arc<dyn Bus>,
    read: Mutex<Option<ReadFacts>>,
    /// When the last wait ended in vain.
    vain_at: Mutex<Option<Instant>>,
}

/// What was read, and when.
struct ReadFacts {
    at: Instant,
    catalogs: Catalogs,
    /// What was given since.
    given: BTreeMap<(String, String), Arc<Table>>,
}

/// What is known of a table.
enum Known {
    Told(Arc<Table>),
    /// A `dts` captures such a table, and has not told it yet.
    Coming,
    Nothing,
}

impl TableFacts {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Self {
        Self { bus, read: Mutex::default(), vain_at: Mutex::default() }
    }

    async fn read(&self) -> Result<ReadFacts, String> {
        let read = timeout(ANSWER_DEADLINE, Catalogs::read(self.bus.as_ref())).await;
        let catalogs = read
            .map_err(|_| format!("the bus has not answered within {ANSWER_DEADLINE:?}"))?
            .map_err(|error| error.to_string())?;
        Ok(ReadFacts { at: Instant::now(), catalogs, given: BTreeMap::new() })
    }

    /// What is known of a table; what was read of a table that is told is good for so long.
    async fn known(
        &self,
        (schema, table): (&str, &str),
        fresh_for: Duration,
    ) -> Result<Known, String> {
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
            return Ok(Known::Told(Arc::clone(given)));
        }
        let Some(found) = facts.catalogs.table(schema, table).cloned().map(Arc::new) else {
            let may_come = facts.catalogs.may_tell(schema, table);
            return Ok(if may_come { Known::Coming } else { Known::Nothing });
        };
        facts.given.insert(names, Arc::clone(&found));
        Ok(Known::Told(found))
    }
}

impl Known {
    fn told(self) -> Option<Arc<Table>> {
        match self {
            Self::Told(found) => Some(found),
            Self::Coming | Self::Nothing => None,
        }
    }
}

#[async_trait]
impl Tables for TableFacts {
    async fn table(&self, schema: &str, table: &str) -> Result<Option<Arc<Table>>, String> {
        Ok(self.known((schema, table), FRESH_FOR).await?.told())
    }

    async fn table_now(&self, schema: &str, table: &str) -> Result<Option<Arc<Table>>, String> {
        Ok(self.known((schema, table), MIN_BETWEEN).await?.told())
    }

    async fn wait_for(&self, schema: &str, table: &str) {
        let began = Instant::now();
        while matches!(self.known((schema, table), FRESH_FOR).await, Ok(Known::Coming)) {
            let mut vain_at = self.vain_at.lock().await;
            if vain_at.is_some_and(|at| at.elapsed() < VAIN_FOR) {
                return;
            }
            if began.elapsed() >= MAX_WAIT {
                *vain_at = Some(Instant::now());
                return;
            }
            drop(vain_at);
            sleep(MIN_BETWEEN).await;
        }
    }
}

impl fmt::Debug for TableFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TableFacts")
    }
}

#[cfg(test)]
mod tests {
    use event_bus::{Batch, MemoryBus};
    use full_sync::{CAPTURED_KEY, Captured, Catalog};

    use super::*;

    #[tokio::test]
    async fn a_new_table_is_waited_for_until_dts_tells_it_and_a_foreign_one_is_not() {
        let bus = MemoryBus::new(1);
        let facts = Arc::new(TableFacts::new(Arc::new(bus.clone())));
        // No dts writes to this bus.
        facts.wait_for("shop", "item").await;
        assert_eq!(facts.table("shop", "item").await, Ok(None));

        let (mut dts, _) = bus.producer("dts").await.unwrap();
        let tables = vec![("shop".to_owned(), "*".to_owned())];
        let captured = Captured { tables, ..Captured::default() };
        let catalog = Catalog { captured, is_whole: true }.to_bytes();
        let told = [(CAPTURED_KEY.to_owned(), Some(catalog.into()))];
        dts.append(&Batch::default(), &told).await.unwrap();
        let facts = Arc::new(TableFacts::new(Arc::new(bus.clone())));
        // Nobody captures it.
        facts.wait_for("other", "item").await;
        assert_eq!(facts.table("other", "item").await, Ok(None));

        let asking = Arc::clone(&facts);
        let asked = tokio::spawn(async move {
            asking.wait_for("shop", "item").await;
            asking.table("shop", "item").await
        });
        tokio::task::yield_now().await;
        assert!(!asked.is_finished());
        let (schema, table) = ("shop".to_owned(), "item".to_owned());
        let item = Table { schema, table, ..Table::default() };
        let told = [(item.key(), Some(item.to_bytes().into()))];
        dts.append(&Batch::default(), &told).await.unwrap();
        assert_eq!(asked.await.unwrap(), Ok(Some(Arc::new(item))));
    }
}
