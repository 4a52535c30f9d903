//! The captured tables, for other programs: which there are, and how they are defined.
//!
//! The catalog is in the checkpoint, with a [`Table`] for each. It is read from the server when the
//! stream begins, and again after a statement that may have made, changed or dropped a table, or
//! let us see more or fewer of them. Its size is limited: if there is too much, columns are left
//! out, and in the end tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use binlog::Definition;
use bytes::Bytes;
use event_bus::{Checkpoint, CheckpointChange};
use full_sync::{CAPTURED_KEY, Catalog, TABLE_PREFIX, Table, TableColumn};
use futures_util::TryStreamExt as _;
use service::{Backoff, BackoffConfig};
use source_table::tables;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tracing::debug;

use crate::{capture::Capture, error::Result, full_sync::source::TableSource, replica::Conn};

/// The most bytes of all entries: every request for a full sync reads them with the checkpoint.
const MAX_BYTES: usize = 2 << 20;

/// The longest text of a type: that of an ENUM may be long.
const MAX_TYPE_CHARS: usize = 16 << 10;

/// How long to wait for more statements, so that one look is enough for all.
const SETTLE: Duration = Duration::from_secs(1);

/// The shortest time between two looks: a server may have many tables.
const MIN_BETWEEN: Duration = Duration::from_secs(10);

/// How long to wait while the server cannot be asked.
const RETRY: BackoffConfig =
    BackoffConfig { min: Duration::from_secs(1), max: Duration::from_mins(1), factor: 2.0 };

/// What the checkpoint keeps, by key.
pub(crate) type CatalogEntries = BTreeMap<String, Bytes>;

/// The entries, and the task that reads them from the server. The task ends when this is dropped.
pub(crate) struct TableCatalog {
    kept: CatalogEntries,
    /// The keys to write or to remove.
    dirty: BTreeSet<String>,
    stale: Arc<Notify>,
    found: mpsc::Receiver<CatalogEntries>,
    looking: JoinHandle<()>,
}

impl TableCatalog {
    /// The catalog's entries in a checkpoint.
    pub(crate) fn kept(checkpoint: &Checkpoint) -> CatalogEntries {
        let is_ours = |key: &str| key == CAPTURED_KEY || key.starts_with(TABLE_PREFIX);
        let ours = checkpoint.iter().filter(|(key, _)| is_ours(key));
        ours.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Goes on with the kept entries, and begins to look.
    pub(crate) fn start(kept: CatalogEntries, source: TableSource, capture: Arc<Capture>) -> Self {
        let (stale, (teller, found)) = (Arc::new(Notify::new()), mpsc::channel(1));
        let looking = tokio::spawn(keep_looking(source, capture, (Arc::clone(&stale), teller)));
        Self { kept, dirty: BTreeSet::new(), stale, found, looking }
    }

    /// Waits until the tables were looked up. Cancel-safe.
    pub(crate) async fn next(&mut self) -> CatalogEntries {
        match self.found.recv().await {
            Some(found) => found,
            None => std::future::pending().await,
        }
    }

    /// Takes the entries that were found.
    pub(crate) fn take(&mut self, found: CatalogEntries) {
        let is_other = |key: &&String| self.kept.get(*key) != found.get(*key);
        let changed: Vec<String> =
            self.kept.keys().chain(found.keys()).filter(is_other).cloned().collect();
        self.dirty.extend(changed);
        self.kept = found;
    }

    /// The stream passed a statement.
    pub(crate) fn passed(&self, definition: &Definition) {
        if definition.is_of_tables() || definition.is_of_privileges() {
            self.stale.notify_one();
        }
    }

    /// Whether the checkpoint lacks an entry.
    pub(crate) fn has_changes(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The changes for the checkpoint since the last call.
    pub(crate) fn take_changes(&mut self) -> Vec<CheckpointChange> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|key| (key.clone(), self.kept.get(&key).cloned())).collect()
    }
}

impl Drop for TableCatalog {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

async fn keep_looking(
    source: TableSource,
    capture: Arc<Capture>,
    (stale, teller): (Arc<Notify>, mpsc::Sender<CatalogEntries>),
) {
    let mut backoff = Backoff::new(RETRY);
    loop {
        match look(&source, &capture).await {
            Ok(tables) => {
                backoff.reset();
                if teller.send(entries(&capture, tables)).await.is_err() {
                    return;
                }
                let pause = tokio::time::sleep(MIN_BETWEEN);
                stale.notified().await;
                pause.await;
                tokio::time::sleep(SETTLE).await;
            }
            Err(error) => {
                debug!(%error, "the captured tables cannot be looked up now");
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
    }
}

/// The captured tables that the server has.
async fn look(source: &TableSource, capture: &Capture) -> Result<Vec<Table>> {
    let mut conn = source.connect().await?;
    let found = tables(&mut conn).await.map_err(|error| source.reading(error))?;
    let captured = found.into_iter().filter(|(schema, table)| capture.includes(schema, table));
    let mut found: BTreeMap<(String, String), Table> = captured
        .map(|(schema, table)| {
            let names = (schema.clone(), table.clone());
            (names, Table { schema, table, ..Table::default() })
        })
        .collect();
    let schemas: BTreeSet<String> = found.keys().map(|(schema, _)| schema.clone()).collect();
    let mut room = MAX_BYTES;
    for schema in schemas {
        let read = columns(&mut conn, &schema, (&mut found, &mut room)).await;
        read.map_err(|error| source.error(error))?;
    }
    if room == 0 {
        found.values_mut().for_each(leave_columns_out);
    }
    let _ = conn.disconnect().await;
    Ok(found.into_values().collect())
}

/// Adds the columns of a schema's tables, while there is room.
async fn columns(
    conn: &mut Conn,
    schema: &str,
    (found, room): (&mut BTreeMap<(String, String), Table>, &mut usize),
) -> mysql_async::Result<()> {
    const QUERY: &str = "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, COLUMN_KEY = 'PRI', \
        IS_NULLABLE = 'YES', CHARACTER_SET_NAME, COLLATION_NAME, \
        EXTRA LIKE '%GENERATED%' AND EXTRA NOT LIKE '%DEFAULT_GENERATED%' \
        FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? \
        ORDER BY TABLE_NAME, ORDINAL_POSITION";
    let mut rows = std::pin::pin!(conn.exec_stream(QUERY, (schema,)).await?);
    while let Some(row) = rows.try_next().await? {
        let (table, is_key, column) = column(row);
        let Some(table) = found.get_mut(&(schema.to_owned(), table)) else { continue };
        // With names, quotes and commas; a column of the key is counted twice.
        let texts = [&column.charset, &column.collation].into_iter().flatten().map(String::len);
        let bytes = 2 * column.name.len() + column.declared.len() + texts.sum::<usize>() + 80;
        *room = room.saturating_sub(bytes);
        if *room == 0 {
            continue;
        }
        if is_key {
            table.primary_key.push(column.name.clone());
        }
        table.columns.get_or_insert_default().push(column);
    }
    Ok(())
}

/// The table of a column, and whether it is one of the primary key.
fn column(row: mysql_async::Row) -> (String, bool, TableColumn) {
    type Described = (String, String, String, bool, bool, Option<String>, Option<String>, bool);
    let (table, name, declared, is_key, nullable, charset, collation, generated): Described =
        mysql_async::from_row(row);
    let declared = declared.chars().take(MAX_TYPE_CHARS).collect();
    (table, is_key, TableColumn { name, declared, nullable, charset, collation, generated })
}

fn leave_columns_out(table: &mut Table) {
    (table.columns, table.primary_key) = (None, Vec::new());
}

/// The entries to keep for these tables.
fn entries(capture: &Capture, mut tables: Vec<Table>) -> CatalogEntries {
    for table in tables.iter_mut().filter(|table| table.primary_key.is_empty()) {
        let chosen = capture.key_columns(&table.schema, &table.table);
        table.primary_key = chosen.map(<[String]>::to_vec).unwrap_or_default();
    }
    let size = |tables: &[Table]| {
        tables.iter().map(|table| table.key().len() + table.to_bytes().len()).sum::<usize>()
    };
    if size(&tables) > MAX_BYTES {
        tables.iter_mut().for_each(leave_columns_out);
    }
    let mut room = MAX_BYTES;
    let count = tables.len();
    tables.retain(|table| {
        let bytes = table.key().len() + table.to_bytes().len();
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    });
    let summary = Catalog { captured: capture.captured(), is_whole: tables.len() == count };
    let tables = tables.iter().map(|table| (table.key(), table.to_bytes().into()));
    std::iter::once((CAPTURED_KEY.to_owned(), summary.to_bytes().into())).chain(tables).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, columns: usize) -> Table {
        let column = |n| TableColumn {
            name: format!("column_{n}"),
            declared: "varchar(255)".to_owned(),
            ..TableColumn::default()
        };
        Table {
            schema: "s".to_owned(),
            table: name.to_owned(),
            columns: Some((0..columns).map(column).collect()),
            primary_key: vec!["column_0".to_owned()],
        }
    }

    fn of(tables: Vec<Table>) -> CatalogEntries {
        entries(&Capture::default(), tables)
    }

    fn summary(entries: &CatalogEntries) -> Catalog {
        Catalog::from_bytes(&entries[CAPTURED_KEY]).unwrap()
    }

    #[tokio::test]
    async fn only_what_has_changed_goes_into_the_checkpoint() {
        let (_teller, found) = mpsc::channel(1);
        let mut catalog = TableCatalog {
            kept: of(vec![table("a", 1), table("b", 1)]),
            dirty: BTreeSet::new(),
            stale: Arc::default(),
            found,
            looking: tokio::spawn(async {}),
        };
        catalog.take(of(vec![table("a", 1), table("b", 1)]));
        assert!(!catalog.has_changes());
        catalog.take(of(vec![table("b", 2), table("c", 1)]));
        let changes = catalog.take_changes();
        let keys: Vec<(&str, bool)> =
            changes.iter().map(|(key, value)| (key.as_str(), value.is_some())).collect();
        let of = |name: &str| format!("{TABLE_PREFIX}s.{name}");
        assert_eq!(keys, [(&*of("a"), false), (&*of("b"), true), (&*of("c"), true)]);
        assert!(!catalog.has_changes());
    }

    #[test]
    fn it_stays_small_however_many_tables_there_are() {
        let few = of(vec![table("a", 20)]);
        let bytes = &few[&table("a", 20).key()];
        assert_eq!(Table::from_bytes(bytes).unwrap(), table("a", 20));
        let many = of((0..5000).map(|n| table(&format!("t{n}"), 20)).collect());
        assert_eq!((many.len(), summary(&many).is_whole), (5001, true));
        let first = Table::from_bytes(&many[&table("t0", 1).key()]).unwrap();
        assert_eq!(first.columns, None, "there is no room");
        let most = of((0..90_000).map(|n| table(&format!("t{n}"), 1)).collect());
        assert!(most.len() < 60_000 && !summary(&most).is_whole, "{}", most.len());
        let bytes: usize = most.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(bytes < MAX_BYTES + 1000, "{bytes}");
    }
    #[test]
    fn a_table_without_a_key_has_the_columns_that_the_config_names() {
        let text = "[capture]\nkeyColumns = { 's.a' = ['column_1'], 's.b' = ['column_1'] }\n";
        let file = service::config::File::parse(std::path::Path::new("dts.toml"), text).unwrap();
        let capture = Capture::read(&file.root().section("capture"));
        let capture = file.finish(capture).unwrap();
        let keyless = |name: &str| Table { primary_key: Vec::new(), ..table(name, 2) };
        let found = entries(&capture, vec![keyless("a"), table("b", 2), keyless("c")]);
        let key = |name: &str| {
            let entry = &found[&table(name, 2).key()];
            Table::from_bytes(entry).unwrap().primary_key.join(",")
        };
        assert_eq!((&*key("a"), &*key("b"), &*key("c")), ("column_1", "column_0", ""));
    }
}
