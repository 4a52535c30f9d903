//! How the source's table is defined, as somebody tells the sink.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use full_sync::{Table, TableColumn};
use sinks::Tables;
use tokio::sync::Notify;

/// So long a definition that nobody has told is waited for.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The source's table `shop.item`, as it is defined now.
#[derive(Debug, Default)]
pub(crate) struct Source(pub(crate) Mutex<Option<Arc<Table>>>, Notify);

#[async_trait]
impl Tables for Source {
    async fn table(&self, schema: &str, table: &str) -> Result<Option<Arc<Table>>, String> {
        let told = self.0.lock().unwrap().clone();
        Ok(told.filter(|told| told.schema == schema && told.table == table))
    }

    async fn wait_for(&self, _: &str, _: &str) {
        let told = self.1.notified();
        if self.0.lock().unwrap().is_none() {
            let _ = tokio::time::timeout(MAX_WAIT, told).await;
        }
    }
}

impl Source {
    /// The table has these columns now, and these of them are its key.
    pub(crate) fn set(&self, columns: &[(&str, &str)], key: &[&str]) {
        let column = |(name, declared): &(&str, &str)| TableColumn {
            name: (*name).to_owned(),
            declared: (*declared).to_owned(),
            nullable: !key.contains(name),
            ..TableColumn::default()
        };
        *self.0.lock().unwrap() = Some(Arc::new(Table {
            schema: "shop".to_owned(),
            table: "item".to_owned(),
            columns: Some(columns.iter().map(column).collect()),
            primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
        }));
        self.1.notify_waiters();
    }
}
