//! A handler in Rust: counts the changes of each table.
//!
//! ```text
//! [listeners.count]
//! handler = "program"
//! ```
//!
//! ```text
//! cargo run --release -p event-worker --example count_changes -- CONFIG count
//! ```

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use event_worker::{Batch, Handler, Outcome};

#[derive(Clone, Default)]
struct CountChanges {
    per_table: Arc<Mutex<BTreeMap<String, u64>>>,
}

#[async_trait]
impl Handler for CountChanges {
    async fn handle(&mut self, batch: Batch<'_>) -> Outcome {
        let mut per_table = self.per_table.lock().unwrap_or_else(PoisonError::into_inner);
        for event in batch.events {
            match change_event::ChangeEvent::read(event.json().as_bytes()) {
                Ok(change) => {
                    let table = format!("{}.{}", change.schema, change.table_name);
                    *per_table.entry(table).or_default() += 1;
                }
                Err(error) => return Outcome::failed(error.to_string()),
            }
        }
        tracing::info!(?per_table, "counted");
        Outcome::Done
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    service::logging::init();
    let mut arguments = std::env::args().skip(1);
    let (Some(config), Some(id)) = (arguments.next(), arguments.next()) else {
        return Err("usage: count_changes CONFIG LISTENER".into());
    };
    let stop = service::shutdown::on_signal()?;
    let handler = CountChanges::default();
    event_worker::run(Path::new(&config), &id, |_lane| Box::new(handler.clone()), stop).await?;
    Ok(())
}
