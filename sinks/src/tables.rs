//! How the tables of the source are defined.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use full_sync::Table;

/// Where the definitions come from.
#[async_trait]
pub trait Tables: fmt::Debug + Send + Sync {
    /// The definition of a table; `None` when nobody has told it.
    ///
    /// # Errors
    ///
    /// Why it cannot be asked for now.
    async fn table(&self, schema: &str, table: &str) -> Result<Option<Arc<Table>>, String>;

    /// The same when there is a sign that the table was altered: what is known may be out of date.
    ///
    /// # Errors
    ///
    /// As [`Self::table`].
    async fn table_now(&self, schema: &str, table: &str) -> Result<Option<Arc<Table>>, String> {
        self.table(schema, table).await
    }

    /// Returns when the definition of a table is told, or is not to be expected soon. Takes half a
    /// minute at the most.
    async fn wait_for(&self, _schema: &str, _table: &str) {}
}

/// What is said where the target lacks a table that nobody has told of.
pub(crate) fn untold(target: &str) -> String {
    format!(
        "the target has no table {target}, and dts has not told yet how the source's is defined: \
         wait, as dts tells it within seconds; if this lasts, see `dts status`: it is not running, \
         or the table is not captured any more (then make it at the target, or skip its events)"
    )
}

/// Nobody tells anything.
#[derive(Clone, Copy, Debug)]
pub struct NoTables;

#[async_trait]
impl Tables for NoTables {
    async fn table(&self, _: &str, _: &str) -> Result<Option<Arc<Table>>, String> {
        Ok(None)
    }
}
