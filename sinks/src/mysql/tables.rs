//! What is known of the target's tables; makes those that are lacking, where that is allowed.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use full_sync::Table;
use tracing::warn;

use super::{
    MysqlConfig,
    client::{MysqlClient, TargetConn, TargetError},
    create::Wish,
    deleted::Deletes,
    follow::follow,
    known::{KnownTables, Seen},
    literal::named,
    table::{TargetTable, describe},
};
use crate::{shape::Shape, tables::untold, target::Means};

/// `dts` lists the source's tables again ten seconds after it has, and they are read every five.
const TOLD_WITHIN: Duration = Duration::from_secs(20);

const ASK_EVERY: Duration = Duration::from_millis(250);

/// What is known of the target's tables.
pub(super) struct TargetTables {
    config: Arc<MysqlConfig>,
    means: Means,
    known: KnownTables,
    /// Tables, and columns of them that nobody told of in time.
    in_vain: Mutex<BTreeSet<(String, String)>>,
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
        Self { config, means, known: KnownTables::default(), in_vain: Mutex::default() }
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
                if let Some(source) = source.as_ref().filter(|_| !route.is_audit) {
                    follow(&self.means, (route.source, route.target), (source, &table));
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

    /// Waits until the source's table is told as it should be, as long as `dts` may need for that
    /// after a DDL statement; gives whether it is.
    ///
    /// # Errors
    ///
    /// Why nobody can be asked.
    async fn is_told(
        &self,
        route: Route<'_>,
        is_so: impl Fn(&Table) -> bool,
    ) -> Result<bool, TargetError> {
        let began = Instant::now();
        loop {
            let source = self.source(route, true).await?;
            if source.is_some_and(|source| source.columns.is_some() && is_so(&source)) {
                return Ok(true);
            }
            if began.elapsed() > TOLD_WITHIN {
                return Ok(false);
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Whether a column that the target lacks will be made: `dts` tells of it soon, if it has not.
    /// In vain it is waited for once.
    ///
    /// # Errors
    ///
    /// Why nobody can be asked.
    pub(super) async fn will_have(
        &self,
        route: Route<'_>,
        (table, columns): (&TargetTable, &BTreeSet<&str>),
    ) -> Result<bool, TargetError> {
        let shape = &self.means.shape;
        let is_lacking =
            |name: &&&str| shape.takes(name) && table.column(&shape.name_of(name)).is_none();
        let lacking: Vec<&str> = columns.iter().filter(is_lacking).copied().collect();
        let waited = (route.target.to_owned(), lacking.join("\0"));
        let is_known = self.source(route, false).await?.is_some();
        if lacking.is_empty() || !is_known || !self.config.create || self.gave_up(&waited) {
            return Ok(false);
        }
        let has = |source: &Table, name: &str| {
            source.columns.iter().flatten().any(|column| column.name.eq_ignore_ascii_case(name))
        };
        let is_so = |source: &Table| lacking.iter().all(|name| has(source, name));
        let is_told = self.is_told(route, is_so).await?;
        if !is_told {
            self.lock().insert(waited);
        }
        Ok(is_told)
    }

    fn gave_up(&self, waited: &(String, String)) -> bool {
        self.lock().contains(waited)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(String, String)>> {
        self.in_vain.lock().unwrap_or_else(PoisonError::into_inner)
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
            let added = wanted.new_columns(&table);
            client.run(conn, &sql).await?;
            if table.columns.is_empty() {
                let is_whole = !route.is_audit && self.config.table.is_of_table();
                match self.known.last(route.target) {
                    Some(_) => self.means.tell_made_anew(route.source, route.target),
                    None if is_whole => self.means.tell_made(route.source, route.target),
                    None => {}
                }
            }
            if !added.is_empty() && has_rows((client, &mut *conn), &table).await? {
                self.means.tell_unfilled(route.source, route.target, &added);
            }
            table = describe((client, conn), names, source, shape).await?;
        }
        if table.columns.is_empty() {
            return Err(TargetError::Away(untold(route.target)));
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

    /// Describes a table of the target that the source does not have.
    ///
    /// # Errors
    ///
    /// What the target says.
    pub(super) async fn describe_alone(
        &self,
        with: (&MysqlClient, &mut TargetConn),
        names: (&str, &str),
    ) -> Result<TargetTable, TargetError> {
        describe(with, names, None, &self.means.shape).await
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
pub(super) fn names_of(target: &str) -> (&str, &str) {
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
    client.run(conn, &deletes.create()).await?;
    client.run(conn, &deletes.make_lock()).await.map(drop)
}

async fn has_rows(
    (client, conn): (&MysqlClient, &mut TargetConn),
    table: &TargetTable,
) -> Result<bool, TargetError> {
    let found: Vec<u8> =
        client.ask(conn, &format!("SELECT 1 FROM {} LIMIT 1", table.quoted())).await?;
    Ok(!found.is_empty())
}

fn schema_is_missing(table: &TargetTable) -> bool {
    table.columns.is_empty() && !table.schema.is_empty()
}
