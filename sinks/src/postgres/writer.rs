//! Writes the changes of a call: one transaction, or the same in parts where a row is refused.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use handler::Failure;
use service::{Backoff, BackoffConfig};
use tracing::debug;

use super::{
    PostgresConfig,
    client::{PgClient, PgConnection},
    create::forget_deleted,
    follow::follow,
    pending::{Pending, RowMaker},
    refusal::Refused,
    rights::PgRights,
    statement::{NewRows, PgEffect, PgStep, steps},
    tables::{PgAsk, PgRoute, PgTables},
};
use crate::{
    change::Unusable,
    figures::{Answered, Written},
    shape::Wanted,
    sql::ForgetTimes,
    target::Means,
};

/// A transaction that collided with others is tried so often.
const MAX_TRIES: u32 = 8;

const COLLISION_RETRY: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(10), max: Duration::from_secs(1), factor: 2.0 };

/// After a row was there that is new at the source, so many calls take this into account.
const UPSERTING: u32 = 200;

/// Writes for all lanes of a listener.
pub(super) struct PgWriter {
    pub(super) config: Arc<PostgresConfig>,
    pub(super) client: Arc<PgClient>,
    pub(super) tables: Arc<PgTables>,
    pub(super) means: Means,
    pub(super) forgot: ForgetTimes,
}

/// The rows of a table.
pub(super) struct TablePart<'a> {
    pub(super) route: Arc<PgRoute>,
    pub(super) rows: Vec<Pending<'a>>,
    /// The changes that they are made of, in their order.
    pub(super) wanted: Vec<&'a Wanted<'a>>,
}

impl TablePart<'_> {
    /// Whether rows that are new at the source are probably new here, and fast to write so.
    fn may_insert(&self) -> bool {
        if self.route.is_audit || !self.rows.iter().all(Pending::is_new) {
            return false;
        }
        let less = |calls: u32| calls.checked_sub(1);
        self.route.upserting.fetch_update(Relaxed, Relaxed, less).is_err()
    }

    /// Some were there: changes come again, or a full sync goes over a table that has its rows.
    fn upsert_from_now(&self) {
        self.route.upserting.store(UPSERTING, Relaxed);
    }
}

/// Changes of one table of the source, by the table of the target and the key.
type Groups<'a> = Vec<(GroupName<'a>, Vec<&'a Wanted<'a>>)>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GroupName<'a> {
    schema: &'a str,
    table: &'a str,
    target: Arc<str>,
    has_key: bool,
}

impl PgWriter {
    /// Writes, and gives what the target refused.
    ///
    /// # Errors
    ///
    /// Why none of it is done, or nobody knows.
    pub(super) async fn write(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Unusable>, Failure> {
        let (groups, mut unusable) = self.groups(wanted);
        let (mut backoff, mut definitions, mut lost) = (Backoff::new(COLLISION_RETRY), 0, 0);
        let began = Instant::now();
        loop {
            let timeout = self.config.timeout;
            let attempt = self.attempt(&groups, began);
            let refused = match tokio::time::timeout(timeout, attempt).await {
                Ok(Ok(more)) => {
                    unusable.extend(more);
                    return Ok(unusable);
                }
                Ok(Err(refused)) => refused,
                Err(_) => {
                    return Err(Failure::unclear(format!(
                        "{} has not answered within {timeout:?} (`timeout`): look at its host and \
                         its log, or raise `timeout` where it is only slow",
                        self.client.servers
                    )));
                }
            };
            match refused {
                Refused::Again(_) if backoff.failures() < MAX_TRIES => {
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                Refused::Definition(_) if definitions == 0 => {
                    definitions += 1;
                    self.tables.doubt();
                }
                // The server may have started again since the connection was last used.
                Refused::Lost(_) if lost == 0 => {
                    lost += 1;
                    self.client.forget();
                }
                Refused::Denied(failure) => {
                    return Err(self.client.of_server(self.with_grants(failure, &groups).await));
                }
                other => return Err(self.client.of_server(other.into_failure())),
            }
            self.means.counts.retried();
        }
    }

    /// `began`: tables that were looked at after that are as they are.
    async fn attempt(&self, groups: &Groups<'_>, began: Instant) -> Result<Vec<Unusable>, Refused> {
        let mut connection = self.client.get().await.map_err(Refused::Later)?;
        let unusable = self.write_by(&mut connection, (groups, began)).await?;
        self.client.put(connection);
        Ok(unusable)
    }

    async fn write_by(
        &self,
        connection: &mut PgConnection,
        (groups, began): (&Groups<'_>, Instant),
    ) -> Result<Vec<Unusable>, Refused> {
        let (mut parts, mut unusable) = (Vec::new(), Vec::new());
        for (name, wanted) in groups {
            let ask = self.ask(name, wanted);
            let (mut part, mut refused) = self.part(connection, &ask, wanted).await?;
            let is_old = |part: &TablePart<'_>| !part.route.is_newer_than(began);
            if !refused.is_empty() && part.as_ref().is_some_and(is_old) {
                // Somebody may have altered the table, so that it fits.
                self.tables.doubt();
                (part, refused) = self.part(connection, &ask, wanted).await?;
            }
            unusable.extend(refused);
            parts.extend(part);
        }
        let mut done = Err(Refused::Row(String::new()));
        if parts.iter().any(TablePart::may_insert) {
            done = self.at_once(connection, &parts, NewRows::Inserted).await;
            if matches!(done, Err(Refused::Row(_))) {
                parts.iter().for_each(TablePart::upsert_from_now);
            }
        }
        if matches!(done, Err(Refused::Row(_))) {
            done = self.at_once(connection, &parts, NewRows::Upserted).await;
        }
        match done {
            Err(Refused::Row(_)) => {
                // What failed may have left its transaction open.
                connection.client.batch_execute("ROLLBACK").await?;
                self.look_again(connection, &parts, (groups, began)).await?;
                unusable.extend(self.by_halves(connection, &parts).await?);
            }
            other => other?,
        }
        self.forget_deletes(connection, &parts).await;
        Ok(unusable)
    }

    /// What is to be written to a table, and what cannot be.
    async fn part<'a>(
        &self,
        connection: &mut PgConnection,
        ask: &PgAsk<'_>,
        wanted: &[&'a Wanted<'a>],
    ) -> Result<(Option<TablePart<'a>>, Vec<Unusable>), Refused> {
        match self.tables.get(connection, ask).await? {
            Ok(route) => {
                if !route.is_audit {
                    follow(&self.means, (ask.source, ask.target), &route);
                }
                let (rows, shape) = (&self.config.rows, &*self.means.shape);
                let (rows, refused) = RowMaker { route: &route, rows, shape }.pending(wanted);
                Ok((Some(TablePart { route, rows, wanted: wanted.to_vec() }), refused))
            }
            Err(lacking) => {
                let refused = wanted.iter().map(|one| one.change.unusable(&*lacking));
                Ok((None, refused.collect()))
            }
        }
    }

    /// Looks at tables again of which a row was refused.
    ///
    /// # Errors
    ///
    /// `Refused::Definition`: one is another one than was thought.
    async fn look_again(
        &self,
        connection: &mut PgConnection,
        parts: &[TablePart<'_>],
        (groups, began): (&Groups<'_>, Instant),
    ) -> Result<(), Refused> {
        if parts.iter().all(|part| part.route.is_newer_than(began)) {
            return Ok(());
        }
        self.tables.doubt();
        for (name, wanted) in groups {
            let now = self.tables.get(connection, &self.ask(name, wanted)).await?;
            let is_of = |part: &&TablePart<'_>| part.route.is_to(&name.target);
            let is_same =
                |part: &TablePart<'_>| now.as_ref().is_ok_and(|now| now.table == part.route.table);
            if parts.iter().find(is_of).is_some_and(|part| !is_same(part)) {
                let reason = format!("the table {} of the target is not as it was", name.target);
                return Err(Refused::Definition(Failure::unclear(reason)));
            }
        }
        Ok(())
    }

    /// The same failure with the statements that give the rights.
    async fn with_grants(&self, failure: Failure, groups: &Groups<'_>) -> Failure {
        let asked = async {
            let connection = self.client.get().await.ok()?;
            let mut statements: Vec<String> = Vec::new();
            for (schema, name) in groups.iter().filter_map(|(name, _)| name.target.split_once('.'))
            {
                let (user, rows) = (&*self.config.user, &self.config.rows);
                let rights = PgRights { user, rows, schema, name, alter: None };
                for lacking in rights.lacking(&connection).await.ok()? {
                    if !statements.contains(&lacking.statement) {
                        statements.push(lacking.statement);
                    }
                }
            }
            self.client.put(connection);
            (!statements.is_empty()).then(|| statements.join("; "))
        };
        match tokio::time::timeout(self.config.timeout, asked).await {
            Ok(Some(statements)) => {
                let reason = format!("{}; run there: {statements}", failure.reason);
                Failure { reason, ..failure }
            }
            _ => failure,
        }
    }

    /// Everything in one go, without waiting for each answer.
    async fn at_once(
        &self,
        connection: &mut PgConnection,
        parts: &[TablePart<'_>],
        new_rows: NewRows,
    ) -> Result<(), Refused> {
        let mut todo: Vec<PgStep> = Vec::new();
        for part in parts {
            let rows: Vec<&Pending<'_>> = part.rows.iter().collect();
            todo.extend(steps(&part.route, &rows, new_rows));
        }
        if todo.is_empty() {
            return Ok(());
        }
        let mut prepared = Vec::with_capacity(todo.len());
        for step in &todo {
            prepared.push(connection.prepare(&step.sql).await?);
        }
        let began = Instant::now();
        let (client, begin) = (&connection.client, begin(parts));
        type Call<'c> =
            Pin<Box<dyn Future<Output = Result<u64, tokio_postgres::Error>> + Send + 'c>>;
        let mut calls: Vec<Call<'_>> = Vec::with_capacity(todo.len() + 2);
        calls.push(Box::pin(async { client.batch_execute(&begin).await.map(|()| 0) }));
        for (step, statement) in todo.iter().zip(&prepared) {
            calls.push(Box::pin(client.execute_raw(statement, &step.values)));
        }
        calls.push(Box::pin(async { client.batch_execute("COMMIT").await.map(|()| 0) }));
        let mut counts = Vec::with_capacity(calls.len());
        for answer in join_all(calls).await {
            counts.push(answer?);
        }
        let bytes = todo.iter().map(PgStep::bytes).sum();
        self.means.counts.answered(Answered { bytes, took: began.elapsed() });
        let counted = todo.iter().zip(counts.into_iter().skip(1));
        self.means.counts.wrote(written(counted));
        Ok(())
    }

    /// Forgets deletes that are old enough. Nothing depends on it.
    async fn forget_deletes(&self, connection: &PgConnection, parts: &[TablePart<'_>]) {
        for part in parts.iter().filter(|part| part.route.version.is_some()) {
            let schema = &part.route.table.schema;
            if self.forgot.is_due(schema) {
                let sql = forget_deleted(schema, self.config.rows.deleted_for);
                if let Err(error) = connection.client.batch_execute(&sql).await {
                    debug!(%error, "old deletes are not forgotten");
                }
            }
        }
    }

    /// The changes by their tables, in the order of the tables' names: two calls lock tables in the
    /// same order.
    fn groups<'a>(&self, wanted: &'a [Wanted<'a>]) -> (Groups<'a>, Vec<Unusable>) {
        let mut groups: HashMap<GroupName<'_>, Vec<&Wanted<'_>>> = HashMap::new();
        let mut unusable = Vec::new();
        // `None`: the name depends on the row.
        let mut names: HashMap<(&str, &str), Option<Arc<str>>> = HashMap::new();
        for one in wanted {
            let (schema, table) = (&*one.change.read.schema, &*one.change.read.table_name);
            let named = names
                .entry((schema, table))
                .or_insert_with(|| self.config.table.of_table(schema, table).map(Arc::from));
            let target = match named {
                Some(name) => Ok(Arc::clone(name)),
                None => self.config.table.render(&one.change).map(Arc::from),
            };
            let has_key = !self.config.rows.is_audit && one.change.key.iter().len() > 0;
            if !has_key && !self.config.rows.is_audit && !self.config.rows.appends_keyless {
                unusable.push(one.change.unusable(format!(
                    "the table {schema}.{table} has no key: set keyColumns in dts.toml, \
                     keyless = \"append\" here, or leave the table out"
                )));
                continue;
            }
            match target {
                Ok(target) => {
                    let name = GroupName { schema, table, target, has_key };
                    groups.entry(name).or_default().push(one);
                }
                Err(why) => unusable.push(one.change.misfit(format!("table: {why}"))),
            }
        }
        let mut groups: Groups<'_> = groups.into_iter().collect();
        groups.sort_by(|(a, _), (b, _)| (&a.target, a.table).cmp(&(&b.target, b.table)));
        (groups, unusable)
    }

    fn ask<'a>(&self, name: &'a GroupName<'a>, wanted: &[&'a Wanted<'a>]) -> PgAsk<'a> {
        let key = wanted.first().filter(|_| name.has_key).into_iter().flat_map(|one| {
            one.change.key.iter().map(|(name, _)| self.means.shape.name_of(name).into_owned())
        });
        let mut columns: Vec<&str> = Vec::new();
        let mut last: usize = 0;
        for row in wanted.iter().filter_map(|one| one.row.as_ref()) {
            // Most rows have the columns of the row before.
            if row.len() == last && row.iter().all(|(name, _)| columns.contains(&&**name)) {
                continue;
            }
            last = row.len();
            for (name, _) in row {
                if !columns.contains(&&**name) {
                    columns.push(name);
                }
            }
        }
        PgAsk {
            source: (name.schema, name.table),
            target: &name.target,
            key: key.collect(),
            columns,
        }
    }
}

/// Begins the transaction. With versions, one that deletes is alone with its tables: an older
/// change that is being written elsewhere would not see the delete, nor the delete the row.
pub(super) fn begin(parts: &[TablePart<'_>]) -> String {
    let mut sql = "BEGIN".to_owned();
    for part in parts.iter().filter(|part| part.route.version.is_some()) {
        let deletes = part.rows.iter().any(|row| row.delete.is_some());
        let shared = if deletes { "" } else { "_shared" };
        let name = super::table::quoted_text(&format!("dbevent {}", part.route.table.quoted()));
        sql.push_str(&format!(
            "; SELECT pg_advisory_xact_lock{shared}(hashtextextended({name}, 0))"
        ));
    }
    sql
}

pub(super) fn written<'s>(counted: impl Iterator<Item = (&'s PgStep, u64)>) -> Written {
    let mut written = Written::default();
    let mut changed = 0;
    for (step, count) in counted {
        match step.effect {
            PgEffect::Changed => changed = count,
            PgEffect::Written => {
                let count = count + std::mem::take(&mut changed);
                written.rows += count;
                written.conflicts += step.rows.saturating_sub(count);
            }
            PgEffect::Deleted => {
                written.deletes += count;
                written.conflicts += step.rows.saturating_sub(count);
            }
            PgEffect::Absent => {
                written.absent += count;
                written.conflicts = written.conflicts.saturating_sub(count);
            }
            PgEffect::Kept => {}
        }
    }
    written
}
