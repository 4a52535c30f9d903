//! What is known of the target's tables; makes those that are lacking, where that is allowed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use full_sync::Table;

use super::{
    MysqlConfig,
    client::{MysqlClient, TargetConn, TargetError},
    create::Wish,
    deleted::Deletes,
    literal::named,
    table::{TargetTable, describe},
};
use crate::{
    shape::Shape,
    tables::{Tables, untold},
};

/// What is known of the target's tables.
pub(super) struct TargetTables {
    config: Arc<MysqlConfig>,
    source: Arc<dyn Tables>,
    known: Mutex<BTreeMap<String, Arc<TargetTable>>>,
}

/// Which table of the source goes to which one of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route<'a> {
    /// Each change is a row of its own.
    pub(super) is_audit: bool,
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
        let is_audit = route.is_audit;
        let wanted = Wish { config: &self.config, source: source.as_deref(), shape, is_audit };
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
            return Err(TargetError::Away(untold(route.target)));
        }
        if self.config.version_column.is_some() && !is_audit {
            prepare_deletes((client, conn), &table).await?;
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

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<TargetTable>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes what the numbers of a table's deletes are kept in.
async fn prepare_deletes(
    (client, conn): (&MysqlClient, &mut TargetConn),
    table: &TargetTable,
) -> Result<(), TargetError> {
    let deletes = Deletes { table, is_mariadb: conn.is_mariadb };
    let made = client.run(conn, &deletes.make_lock()).await;
    let Err(TargetError::Schema(_)) = made else { return made.map(drop) };
    let create = deletes.create();
    match client.run(conn, &create).await {
        Err(TargetError::Away(why)) => {
            return Err(TargetError::Away(format!("{why}; versionColumn needs: {create}")));
        }
        other => other?,
    };
    client.run(conn, &deletes.make_lock()).await.map(drop)
}

fn schema_is_missing(table: &TargetTable) -> bool {
    table.columns.is_empty() && !table.schema.is_empty()
}
