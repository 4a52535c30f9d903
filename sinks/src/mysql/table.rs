//! The tables of the target, as it describes them, and the columns of the source that go there.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use full_sync::Table;

use super::{
    MysqlConfig,
    client::{MysqlClient, TargetConn, TargetError},
    create,
    literal::{named, push_text},
};
use crate::{shape::Shape, tables::Tables, value::Kind};

/// A table of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetTable {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) columns: BTreeMap<String, TargetColumn>,
    /// Those that a whole row of the source fills; empty when nobody has told how the source's
    /// table is defined.
    pub(super) from_source: Vec<String>,
}

/// A column of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TargetColumn {
    /// What values of it look like in an event: by the source's type, else by the target's.
    pub(super) kind: Kind,
    pub(super) is_nullable: bool,
    /// The target computes it.
    pub(super) is_generated: bool,
}

/// What is known of the target's tables.
pub(super) struct TargetTables {
    config: Arc<MysqlConfig>,
    source: Arc<dyn Tables>,
    known: Mutex<BTreeMap<String, Arc<TargetTable>>>,
}

/// Which table of the source goes to which one of the target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route<'a> {
    pub(super) source: (&'a str, &'a str),
    /// `schema.table`.
    pub(super) target: &'a str,
}

impl TargetTables {
    pub(super) fn new(config: Arc<MysqlConfig>, source: Arc<dyn Tables>) -> Self {
        Self { config, source, known: Mutex::default() }
    }

    /// The table, as it was described last; it is asked for when it is not known, and made when
    /// that is allowed.
    ///
    /// # Errors
    ///
    /// `Ok(Err)`: what the target lacks, with the statement that makes it.
    pub(super) async fn get(
        &self,
        (client, conn): (&MysqlClient, &mut TargetConn),
        route: Route<'_>,
        shape: &Shape,
    ) -> Result<Result<Arc<TargetTable>, String>, TargetError> {
        let known = self.lock().get(route.target).cloned();
        if let Some(known) = known {
            return Ok(Ok(known));
        }
        let (schema, name) = route.target.split_once('.').unwrap_or(("", route.target));
        let source = match self.source.table(route.source.0, route.source.1).await {
            Ok(source) => source,
            Err(why) => return Err(TargetError::Away(format!("the bus: {why}"))),
        };
        let mut table = describe((client, conn), (schema, name), source.as_deref(), shape).await?;
        let wanted = create::Wish { config: &self.config, source: source.as_deref(), shape };
        if let Some(sql) = wanted.lacking(&table) {
            if !self.config.create {
                return Ok(Err(format!(
                    "the target lacks a table or a column: run there: {sql}; or set create = true"
                )));
            }
            if schema_is_missing(&table) {
                let create = format!("CREATE DATABASE IF NOT EXISTS {}", named(schema));
                client.run(conn, &create).await?;
            }
            client.run(conn, &sql).await?;
            table = describe((client, conn), (schema, name), source.as_deref(), shape).await?;
        }
        if table.columns.is_empty() {
            return Err(TargetError::Away(format!(
                "the target has no table {}, and dts has not told yet how the source's is \
                 defined: wait, or make the table there",
                route.target
            )));
        }
        let table = Arc::new(table);
        self.lock().insert(route.target.to_owned(), Arc::clone(&table));
        Ok(Ok(table))
    }

    /// Describes a table of the target anew; without columns when it is not there.
    ///
    /// # Errors
    ///
    /// What the target says.
    pub(super) async fn describe(
        &self,
        with: (&MysqlClient, &mut TargetConn),
        target: &str,
        source: &Table,
        shape: &Shape,
    ) -> Result<TargetTable, TargetError> {
        let names = target.split_once('.').unwrap_or(("", target));
        describe(with, names, Some(source), shape).await
    }

    /// What is known of a table is out of date.
    pub(super) fn forget(&self, target: &str) {
        self.lock().remove(target);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<TargetTable>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn schema_is_missing(table: &TargetTable) -> bool {
    table.columns.is_empty() && !table.schema.is_empty()
}

async fn describe(
    (client, conn): (&MysqlClient, &mut TargetConn),
    (schema, name): (&str, &str),
    source: Option<&Table>,
    shape: &Shape,
) -> Result<TargetTable, TargetError> {
    let mut sql = "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE = 'YES', EXTRA LIKE '%GENERATED%' AND EXTRA NOT LIKE \
        '%DEFAULT_GENERATED%' FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = "
        .to_owned();
    match schema.is_empty() {
        true => sql.push_str("DATABASE()"),
        false => push_text(&mut sql, schema),
    }
    sql.push_str(" AND TABLE_NAME = ");
    push_text(&mut sql, name);
    let rows: Vec<(String, String, bool, bool)> = client.ask(conn, &sql).await?;
    let sources = source.and_then(|source| source.columns.as_ref()).into_iter().flatten();
    let kinds: BTreeMap<String, Kind> = sources
        .filter(|column| shape.takes(&column.name))
        .map(|column| (shape.name_of(&column.name).into_owned(), Kind::of(&column.declared)))
        .collect();
    let column = |(name, declared, is_nullable, is_generated): (String, String, bool, bool)| {
        let kind = kinds.get(&name).copied().unwrap_or_else(|| Kind::of(&declared));
        (name, TargetColumn { kind, is_nullable, is_generated })
    };
    let columns: BTreeMap<String, TargetColumn> = rows.into_iter().map(column).collect();
    let is_filled = |name: &&String| columns.get(*name).is_some_and(|of| !of.is_generated);
    let from_source = kinds.keys().filter(is_filled).cloned().collect();
    let (schema, name) = (schema.to_owned(), name.to_owned());
    Ok(TargetTable { schema, name, columns, from_source })
}
