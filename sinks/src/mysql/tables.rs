//! What is known of the target's tables; makes those that are lacking, where that is allowed.

use std::sync::Arc;

use full_sync::Table;
use tracing::warn;

use super::{
    MysqlConfig,
    client::{MysqlClient, TargetConn, TargetError},
    create::Wish,
    deleted::Deletes,
    known::{KnownTables, Seen},
    literal::named,
    table::{TargetTable, describe},
};
use crate::{shape::Shape, target::Means};

/// What is known of the target's tables.
pub(super) struct TargetTables {
    config: Arc<MysqlConfig>,
    means: Means,
    known: KnownTables,
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

/// A table of the target, as it was seen.
pub(super) struct Look {
    pub(super) table: Arc<TargetTable>,
    /// It was seen just now.
    pub(super) is_new: bool,
}

impl TargetTables {
    pub(super) fn new(config: Arc<MysqlConfig>, means: Means) -> Self {
        Self { config, means, known: KnownTables::default() }
    }

    /// The table, as it was seen last; it is looked at when that was long ago or is in doubt, and
    /// made when that is allowed.
    ///
    /// # Errors
    ///
    /// `Ok(Err)`: what the target lacks, with the statement that makes it.
    pub(super) async fn get(
        &self,
        with: (&MysqlClient, &mut TargetConn),
        route: Route<'_>,
    ) -> Result<Result<Look, String>, TargetError> {
        let (client, conn) = with;
        let seen = self.known.get(route.target);
        if let Seen::Good(table) = seen {
            return Ok(Ok(Look { table, is_new: false }));
        }
        let source = self.source(route, seen == Seen::Doubted).await?;
        match self.look((client, &mut *conn), route, source.as_deref()).await? {
            Ok(table) => {
                let keeps_deletes = self.config.version_column.is_some() && !route.is_audit;
                if keeps_deletes && seen != Seen::Old {
                    prepare_deletes((client, conn), &table).await?;
                }
                let table = Arc::new(table);
                let before = self.known.keep(route.target, Arc::clone(&table));
                if let Some(before) = before {
                    self.tell_altered(route, &before, &table);
                }
                Ok(Ok(Look { table, is_new: true }))
            }
            Err(lacking) => Ok(Err(lacking)),
        }
    }

    async fn source(
        &self,
        route: Route<'_>,
        is_doubted: bool,
    ) -> Result<Option<Arc<Table>>, TargetError> {
        let (schema, table) = route.source;
        let told = match is_doubted {
            true => self.means.tables.table_now(schema, table).await,
            false => self.means.tables.table(schema, table).await,
        };
        told.map_err(|why| TargetError::Away(format!("the bus: {why}")))
    }

    /// Looks at the table, and makes what it lacks.
    async fn look(
        &self,
        (client, conn): (&MysqlClient, &mut TargetConn),
        route: Route<'_>,
        source: Option<&Table>,
    ) -> Result<Result<TargetTable, String>, TargetError> {
        let (names, shape) = (names_of(route.target), &self.means.shape);
        let mut table = describe((client, conn), names, source, shape).await?;
        let is_audit = route.is_audit;
        let wanted = Wish { config: &self.config, source, shape, is_audit };
        if let Some(sql) = wanted.lacking(&table) {
            if !self.config.create {
                return Ok(Err(format!(
                    "the target lacks a table or a column: run there: {sql}; or set create = true"
                )));
            }
            if schema_is_missing(&table) {
                let create = format!("CREATE DATABASE IF NOT EXISTS {}", named(names.0));
                client.run(conn, &create).await?;
            }
            client.run(conn, &sql).await?;
            table = describe((client, conn), names, source, shape).await?;
        }
        if table.columns.is_empty() {
            return Err(TargetError::Away(format!(
                "the target has no table {}, and dts has not told yet how the source's is \
                 defined: wait, or make the table there",
                route.target
            )));
        }
        Ok(Ok(table))
    }

    /// Somebody has altered the target's table: what was written since the look before may have
    /// lost what the old types could not hold.
    fn tell_altered(&self, route: Route<'_>, before: &TargetTable, now: &TargetTable) {
        let altered = now.altered_since(before);
        if altered.is_empty() {
            return;
        }
        warn!(
            table = route.target,
            altered = altered.join(", "),
            remedy =
                format!("if values were cut off, run {}", self.means.full_sync_of(route.source)),
            "the target's table was altered: rows of the last seconds, and all before, hold what \
             the old type could hold"
        );
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
        describe(with, names_of(target), Some(source), shape).await
    }

    /// What was seen of a table last.
    pub(super) fn last(&self, target: &str) -> Option<Arc<TargetTable>> {
        self.known.last(target)
    }

    /// What is known of a table may be out of date.
    pub(super) fn doubt(&self, target: &str) {
        self.known.doubt(target);
    }
}

/// Schema and table of `schema.table`.
fn names_of(target: &str) -> (&str, &str) {
    target.split_once('.').unwrap_or(("", target))
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
