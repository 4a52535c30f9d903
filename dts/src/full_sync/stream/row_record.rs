//! Turns the rows of a full sync into records: on the table's own topic, for one listener.

use std::sync::Arc;

use change_event::{FullSyncRow, FullSyncText, TableText};
use event_bus::{Batch, Headers, OnOversize, TopicName};
use full_sync::LISTENER_HEADER;

use crate::{
    error::{Error, Result},
    publish::{CountedTable, Publisher, add},
};

/// What all rows of one table for one listener have in common.
#[derive(Debug)]
pub struct FullSyncTable {
    counted: Arc<CountedTable>,
    headers: Headers,
    text: TableText,
}

impl FullSyncTable {
    /// For a table and a listener.
    pub fn new(topics: &TopicName, (schema, table): (&str, &str), listener: &str) -> Self {
        let name = format!("{schema}.{table}");
        let mut headers = vec![(LISTENER_HEADER.to_owned(), listener.to_owned())];
        if topics.is_shared() {
            headers.push(("table".to_owned(), name.clone()));
        }
        let text = TableText::new(schema, table);
        let counted = CountedTable { name: name.into(), topic: topics.of(schema, table).into() };
        Self { counted: Arc::new(counted), headers: headers.into(), text }
    }
}

/// Adds a row to the batch. It is counted separately from the binlog's changes.
///
/// # Errors
///
/// When the row is too large for the bus. Then nothing of the row is in the batch.
pub(crate) fn publish_row(
    publisher: &mut Publisher,
    (table, text): (&FullSyncTable, &FullSyncText),
    row: FullSyncRow<'_>,
    batch: &mut Batch,
) -> Result<()> {
    let (seq, oversize) = publisher.numbers_and_limit();
    let buffer = batch.buffer();
    let start = buffer.len();
    buffer.extend_from_slice(row.id);
    let key = start..buffer.len();
    let number = seq.next();
    let mut value = text.write(buffer, &table.text, (row, number.get()));
    let bytes = value.len();
    if !oversize.fits(bytes) {
        buffer.truncate(key.end);
        let shortened = FullSyncRow { data: row.key, oversized: Some(bytes), ..row };
        value = text.write(buffer, &table.text, (shortened, number.get()));
        if oversize.policy() == OnOversize::Stop || !oversize.fits(value.len()) {
            buffer.truncate(start);
            return Err(too_large(table, row.id, (bytes, oversize.max_bytes())));
        }
    }
    *seq = number;
    let topic = Arc::clone(&table.counted.topic);
    add(batch, (topic, Some(Arc::clone(&table.headers))), key, value);
    publisher.count_full_sync(&table.counted);
    Ok(())
}

#[cold]
fn too_large(table: &FullSyncTable, id: &[u8], (bytes, max_bytes): (usize, usize)) -> Error {
    const SHOWN: usize = 200;
    let id = String::from_utf8_lossy(id.get(..SHOWN).unwrap_or(id));
    Error::refused(
        format!(
            "the row {id} of {} makes a record of {bytes} bytes, more than bus.maxRowBytes = \
             {max_bytes}",
            table.counted.name
        ),
        "raise maxRowBytes, or set onOversize = \"keys-only\" to publish only the keys of such \
         rows; then ask for the full sync again",
    )
}
