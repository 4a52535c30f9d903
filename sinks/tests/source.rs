//! How the source's table is defined, as somebody tells the sink.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use full_sync::{Table, TableColumn};
use sinks::Tables;

/// The source's table `shop.item`, as it is defined now.
#[derive(Debug, Default)]
pub(crate) struct Source(pub(crate) Mutex<Option<Arc<Table>>>);

#[async_trait]
impl Tables for Source {
    async fn table(&self, schema: &str, table: &str) -> Result<Option<Arc<Table>>, String> {
        let told = self.0.lock().unwrap().clone();
        Ok(told.filter(|told| told.schema == schema && told.table == table))
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
    }
}
