//! Writes the changes of a call in one transaction; finds the row that does not fit.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use handler::Failure;
use service::{Backoff, BackoffConfig};

use super::{
    MysqlConfig, WriteMode,
    client::{MysqlClient, TargetConn, TargetError},
    create::{Wish, quoted},
    statement::{StatementMaker, Statements},
    tables::{Route, TargetTables},
};
use crate::{
    change::Unusable,
    figures::{Answered, Written},
    shape::Wanted,
    target::{Means, TargetFinding},
};

/// How often a transaction is tried that stands in the way of others.
const MAX_COLLISIONS: u32 = 10;

const COLLISION_RETRY: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(5), max: Duration::from_millis(500), factor: 2.0 };

pub(super) struct Writer {
    pub(super) config: Arc<MysqlConfig>,
    pub(super) client: Arc<MysqlClient>,
    pub(super) tables: TargetTables,
    pub(super) means: Means,
}

/// The changes of each table of the target, which comes with the source's.
type ByTable<'w, 'a> = BTreeMap<(String, (&'w str, &'w str)), Vec<&'w Wanted<'a>>>;

impl Writer {
    pub(super) async fn write(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Unusable>, Failure> {
        let wanted: Vec<&Wanted<'_>> = wanted.iter().collect();
        self.write_part(&wanted).await
    }

    /// Writes changes; when the target refuses a row, in halves, until the row stands alone.
    async fn write_part(&self, wanted: &[&Wanted<'_>]) -> Result<Vec<Unusable>, Failure> {
        match self.until_no_collision(wanted).await {
            Ok(unusable) => Ok(unusable),
            Err(TargetError::Row(error)) => match wanted {
                [] => Ok(Vec::new()),
                [one] => {
                    let why =
                        format!("the target refuses the row: {} ({})", error.message, error.code);
                    Ok(vec![one.change.unusable(why)])
                }
                more => {
                    let (first, second) = more.split_at(more.len() / 2);
                    let mut unusable = Box::pin(self.write_part(first)).await?;
                    unusable.extend(Box::pin(self.write_part(second)).await?);
                    Ok(unusable)
                }
            },
            Err(error) => Err(error.into_failure()),
        }
    }

    async fn until_no_collision(
        &self,
        wanted: &[&Wanted<'_>],
    ) -> Result<Vec<Unusable>, TargetError> {
        let mut backoff = Backoff::new(COLLISION_RETRY);
        let mut was_altered = false;
        loop {
            match self.once(wanted).await {
                Err(TargetError::Collision(_)) if backoff.failures() < MAX_COLLISIONS => {
                    self.means.counts.retried();
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                // The target is described anew.
                Err(TargetError::Schema(_)) if !was_altered => was_altered = true,
                other => return other,
            }
        }
    }

    /// One transaction.
    async fn once(&self, wanted: &[&Wanted<'_>]) -> Result<Vec<Unusable>, TargetError> {
        let mut conn = self.client.take().await?;
        let done = self.on(&mut conn, wanted).await;
        match &done {
            Ok(_) => self.client.give_back(conn),
            Err(TargetError::Away(_)) => drop(conn),
            Err(_) => {
                if self.client.run(&mut conn, "ROLLBACK").await.is_ok() {
                    self.client.give_back(conn);
                }
            }
        }
        done
    }

    async fn on(
        &self,
        conn: &mut TargetConn,
        wanted: &[&Wanted<'_>],
    ) -> Result<Vec<Unusable>, TargetError> {
        let mut unusable = Vec::new();
        let by_table = self.by_table(wanted, &mut unusable);
        let (mut sql, mut written) = (Vec::new(), Written::default());
        for ((target, source), changes) in &by_table {
            let route = Route { source: *source, target };
            let made = self.statements((conn, route), changes).await?;
            sql.extend(made.sql);
            written.rows += made.written.rows;
            written.deletes += made.written.deletes;
            unusable.extend(made.unusable);
        }
        let ran = self.run(conn, &sql).await;
        if let Err(TargetError::Schema(_)) = &ran {
            by_table.keys().for_each(|(target, _)| self.tables.forget(target));
        }
        ran?;
        self.means.counts.wrote(written);
        Ok(unusable)
    }

    fn by_table<'w, 'a>(
        &self,
        wanted: &[&'w Wanted<'a>],
        unusable: &mut Vec<Unusable>,
    ) -> ByTable<'w, 'a> {
        let mut by_table = ByTable::new();
        for one in wanted {
            let read = &one.change.read;
            match self.config.table.render(&one.change) {
                Ok(target) => {
                    let source = (&*read.schema, &*read.table_name);
                    by_table.entry((target, source)).or_default().push(one);
                }
                Err(why) => unusable.push(one.change.unusable(format!("table: {why}"))),
            }
        }
        by_table
    }

    async fn statements(
        &self,
        (conn, route): (&mut TargetConn, Route<'_>),
        changes: &[&Wanted<'_>],
    ) -> Result<Statements, TargetError> {
        let shape = &self.means.shape;
        let table = self.tables.get((&self.client, conn), route, shape).await?;
        let table = match table {
            Ok(table) => table,
            Err(why) => {
                let unusable = changes.iter().map(|one| one.change.unusable(&*why)).collect();
                return Ok(Statements { unusable, ..Statements::default() });
            }
        };
        let maker = StatementMaker {
            table: &table,
            shape,
            version_column: self.config.version_column.as_deref(),
            appends_keyless: self.config.appends_keyless,
            is_mariadb: conn.is_mariadb,
        };
        Ok(match self.config.mode {
            WriteMode::Apply => maker.apply(changes),
            WriteMode::Append => maker.append(changes),
        })
    }

    /// Runs statements as one transaction.
    async fn run(&self, conn: &mut TargetConn, sql: &[String]) -> Result<(), TargetError> {
        let (bytes, began) = (sql.iter().map(String::len).sum(), Instant::now());
        match sql {
            [] => return Ok(()),
            // A statement alone is a transaction.
            [one] => drop(self.client.run(conn, one).await?),
            more => {
                self.client.run(conn, "START TRANSACTION").await?;
                for one in more {
                    self.client.run(conn, one).await?;
                }
                self.client.run(conn, "COMMIT").await?;
            }
        }
        self.means.counts.answered(Answered { bytes, took: began.elapsed() });
        Ok(())
    }

    /// Looks for each table whether the target has it, with its columns, and lets us write.
    pub(super) async fn check(&self, sources: &[Arc<full_sync::Table>]) -> Vec<TargetFinding> {
        let mut conn = match self.client.take().await {
            Ok(conn) => conn,
            Err(error) => {
                let failure = error.into_failure();
                return vec![TargetFinding::wrong(failure.reason, "start it, or correct `hosts`")];
            }
        };
        let product = if conn.is_mariadb { "MariaDB" } else { "MySQL" };
        let mut found = vec![TargetFinding::good(format!("{product} at {} answers", conn.address))];
        for source in sources {
            found.extend(self.check_table(&mut conn, source).await);
        }
        self.client.give_back(conn);
        found
    }

    async fn check_table(
        &self,
        conn: &mut TargetConn,
        source: &full_sync::Table,
    ) -> Option<TargetFinding> {
        let shape = &self.means.shape;
        let target = self.config.table.of_table(&source.schema, &source.table)?;
        let wish = Wish { config: &self.config, source: Some(source), shape };
        let described = self.tables.describe((&self.client, conn), &target, source, shape).await;
        let table = match described {
            Ok(table) => table,
            Err(error) => {
                let Failure { reason, .. } = error.into_failure();
                return Some(TargetFinding::wrong(reason, "see what the target is doing"));
            }
        };
        if let Some(sql) = wish.lacking(&table) {
            let what = format!("the target lacks {target}, or columns of it");
            return match self.config.create {
                true => Some(TargetFinding::good(format!("{what}: the sink makes them"))),
                false => Some(TargetFinding::wrong(what, format!("run there: {sql}"))),
            };
        }
        let name = quoted(&table);
        let tried = self.client.run(conn, &format!("DELETE FROM {name} WHERE FALSE")).await;
        tried.err().map(|error| {
            let Failure { reason, .. } = error.into_failure();
            let user = &self.config.user;
            let remedy = format!(
                "run there: GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO '{user}'@'…'"
            );
            TargetFinding::wrong(reason, remedy)
        })
    }
}
