//! Writes the changes of a call in one transaction; finds the row that does not fit.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use handler::Failure;
use mysql_async::ServerError;
use service::{Backoff, BackoffConfig};
use tracing::debug;

use super::{
    MysqlConfig,
    client::{MysqlClient, TargetConn, TargetError},
    deleted::{Deletes, FORGOTTEN_AT_ONCE, row_name},
    grant::{grant, needed},
    rows::{RowChange, RowMaker},
    statement::{Part, StatementMaker, Statements, Step},
    table::TargetTable,
    tables::{Route, TargetTables, names_of},
};
use crate::{
    change::Unusable,
    figures::{Answered, Written},
    shape::Wanted,
    sql::{ForgetTimes, taken_in},
    target::Means,
};

/// How often a transaction is tried that stands in the way of others.
const MAX_COLLISIONS: u32 = 10;

const COLLISION_RETRY: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(5), max: Duration::from_millis(500), factor: 2.0 };

/// Another row has the value of a unique key.
const DUPLICATE: u16 = 1062;

/// So many names of rows are in one question for their deletes.
const NAMES_AT_ONCE: usize = 1000;

const TORN: &str = "the event lacks columns, and the row under its old key, which had them, is not \
                    there any more: set binlog_row_image = FULL on the source, or workers = 1 for \
                    this listener; then skip the event and send the table with a full sync";

pub(super) struct Writer {
    pub(super) config: Arc<MysqlConfig>,
    pub(super) client: Arc<MysqlClient>,
    pub(super) tables: TargetTables,
    pub(super) means: Means,
    pub(super) forgot: ForgetTimes,
}

/// The changes of each table of the target, by its name.
type ByTable<'w, 'a> = BTreeMap<(String, SourceTable<'w>), Vec<&'w Wanted<'a>>>;

/// A table of the source, and whether its changes are rows of an audit log.
type SourceTable<'w> = ((&'w str, &'w str), bool);

/// The changes of one table.
struct TablePart<'w, 'a> {
    table: Arc<TargetTable>,
    is_audit: bool,
    /// The place of the version column, where one is kept.
    version: Option<usize>,
    changes: Vec<RowChange<'w, 'a>>,
}

/// What a transaction has done.
#[derive(Default)]
struct Done {
    written: Written,
    bytes: usize,
    unusable: Vec<Unusable>,
}

impl Writer {
    pub(super) async fn write(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Unusable>, Failure> {
        let wanted: Vec<&Wanted<'_>> = wanted.iter().collect();
        let unusable = self.write_part(&wanted).await?;
        if !unusable.is_empty() {
            // Perhaps somebody alters the table so that the rows fit.
            let targets =
                wanted.iter().filter_map(|one| self.config.table.render(&one.change).ok());
            targets.collect::<BTreeSet<_>>().iter().for_each(|target| self.tables.doubt(target));
        }
        Ok(unusable)
    }

    /// Writes changes; when the target refuses a row, in halves, until the row stands alone.
    async fn write_part(&self, wanted: &[&Wanted<'_>]) -> Result<Vec<Unusable>, Failure> {
        match self.until_no_collision(wanted).await {
            Ok(unusable) => Ok(unusable),
            Err(TargetError::Row(error)) => match wanted {
                [] => Ok(Vec::new()),
                [one] => Ok(vec![self.refused(one, &error)]),
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

    /// What the target says of a row, with the statement after which it may take it.
    fn refused(&self, one: &Wanted<'_>, error: &ServerError) -> Unusable {
        let target = self.config.table.render(&one.change).ok();
        let table = target.and_then(|target| self.tables.last(&target));
        let cure = match error.code {
            DUPLICATE => taken_in(
                &error.message.rsplit(" key ").next().unwrap_or_default().replace('\'', "`"),
            ),
            _ => table.and_then(|table| table.cure_of(&error.message)).unwrap_or_default(),
        };
        let (message, code) = (&error.message, error.code);
        one.change.unusable(format!("the target refuses the row: {message} ({code}){cure}"))
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
        let done = match self.on(&mut conn, wanted).await {
            Err(TargetError::Denied(error)) => {
                let (address, message) = (&conn.address, &error.message);
                let remedy = self.grants(wanted, &conn.account);
                let why = format!("{address} says: {message} ({}); {remedy}", error.code);
                // Its transaction ends with the connection.
                Err(TargetError::Away(why))
            }
            other => other,
        };
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

    /// The statements that give what may be lacking for these changes.
    fn grants(&self, wanted: &[&Wanted<'_>], account: &str) -> String {
        let targets = wanted.iter().filter_map(|one| self.config.table.render(&one.change).ok());
        let schema = |target: String| names_of(&target).0.to_owned();
        let schemas: BTreeSet<String> = targets.map(schema).collect();
        let all = needed(&self.config);
        schemas.iter().map(|of| grant(&all, of, account)).collect::<Vec<_>>().join("; ")
    }

    async fn on(
        &self,
        conn: &mut TargetConn,
        wanted: &[&Wanted<'_>],
    ) -> Result<Vec<Unusable>, TargetError> {
        let mut unusable = Vec::new();
        let by_table = self.by_table(wanted, &mut unusable);
        let mut parts = Vec::with_capacity(by_table.len());
        for ((target, (source, is_audit)), wanted) in &by_table {
            let route = Route { is_audit: *is_audit, source: *source, target };
            if let Some(why) = circle(conn, route, wanted) {
                return Err(TargetError::Away(why));
            }
            parts.extend(self.part((conn, route), wanted, &mut unusable).await?);
        }
        let began = Instant::now();
        let done = self.carry_out(conn, &mut parts).await;
        if let Err(TargetError::Schema(_)) = &done {
            by_table.keys().for_each(|(target, _)| self.tables.doubt(target));
        }
        let Done { written, bytes, unusable: more } = done?;
        self.means.counts.answered(Answered { bytes, took: began.elapsed() });
        self.means.counts.wrote(written);
        self.forget_deletes(conn, &parts).await;
        unusable.extend(more);
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
            let has_key = one.change.key.iter().len() > 0;
            if !has_key && !self.config.is_audit && !self.config.appends_keyless {
                let why = "the table has no key: set keyColumns in dts.toml, keyless = \"append\" \
                           for an audit log of it, or leave the table out";
                unusable.push(one.change.unusable(why));
                continue;
            }
            match self.config.table.render(&one.change) {
                Ok(target) => {
                    let source = (&*read.schema, &*read.table_name);
                    let is_audit = self.config.is_audit || !has_key;
                    by_table.entry((target, (source, is_audit))).or_default().push(one);
                }
                Err(why) => unusable.push(one.change.misfit(format!("table: {why}"))),
            }
        }
        by_table
    }

    /// The changes of a table, if the target has it. What does not fit is tried once more after a
    /// new look at the table.
    async fn part<'w, 'a>(
        &self,
        (conn, route): (&mut TargetConn, Route<'_>),
        wanted: &[&'w Wanted<'a>],
        unusable: &mut Vec<Unusable>,
    ) -> Result<Option<TablePart<'w, 'a>>, TargetError> {
        loop {
            let look = match self.tables.get((&self.client, conn), route).await? {
                Ok(look) => look,
                Err(why) => {
                    unusable.extend(wanted.iter().map(|one| one.change.unusable(&*why)));
                    return Ok(None);
                }
            };
            let (part, refused) = self.made((Arc::clone(&look.table), route), wanted);
            if refused.is_empty() {
                return Ok(Some(part));
            }
            if look.is_new {
                let data = wanted.iter().flat_map(|one| one.change.data.iter());
                let columns: BTreeSet<&str> = data.map(|(name, _)| name).collect();
                if !self.tables.will_have(route, (&look.table, &columns)).await? {
                    unusable.extend(refused);
                    return Ok(Some(part));
                }
            }
            self.tables.doubt(route.target);
        }
    }

    /// The changes of a table, and those that do not fit it.
    fn made<'w, 'a>(
        &self,
        (table, route): (Arc<TargetTable>, Route<'_>),
        wanted: &[&'w Wanted<'a>],
    ) -> (TablePart<'w, 'a>, Vec<Unusable>) {
        let version_column = self.config.version_column.as_deref().filter(|_| !route.is_audit);
        let (shape, creates) = (&*self.means.shape, self.config.create);
        let maker = RowMaker { table: &table, shape, version_column, creates };
        let (mut changes, mut refused) = (Vec::with_capacity(wanted.len()), Vec::new());
        for one in wanted {
            let made = match route.is_audit {
                true => maker.audit(one),
                false => maker.change(one),
            };
            let made = made.and_then(|change| match table.is_unique(&change.key.columns) {
                true => Ok(change),
                false => Err(maker.lacks_index(&change.key)),
            });
            match made {
                Ok(change) => changes.push(change),
                Err(why) => refused.push(one.change.unusable(why)),
            }
        }
        let version = version_column.and_then(|name| table.column(name));
        (TablePart { table, is_audit: route.is_audit, version, changes }, refused)
    }

    /// Carries all changes out in one transaction.
    async fn carry_out(
        &self,
        conn: &mut TargetConn,
        parts: &mut Vec<TablePart<'_, '_>>,
    ) -> Result<Done, TargetError> {
        parts.retain(|part| !part.changes.is_empty());
        let mut done = Done::default();
        if parts.is_empty() {
            return Ok(done);
        }
        self.client.run(conn, "START TRANSACTION").await?;
        for part in parts {
            if part.version.is_some() {
                self.heed_deletes(conn, part, &mut done).await?;
            }
            let maker = StatementMaker {
                table: &part.table,
                version: part.version,
                is_mariadb: conn.is_mariadb,
            };
            let Statements { steps, written } = match part.is_audit {
                true => maker.append(&part.changes),
                false => maker.apply(&part.changes),
            };
            done.written.also(written);
            for step in &steps {
                self.step(conn, step, &mut done).await?;
            }
        }
        self.client.run(conn, "COMMIT").await?;
        Ok(done)
    }

    async fn step(
        &self,
        conn: &mut TargetConn,
        step: &Step<'_>,
        done: &mut Done,
    ) -> Result<(), TargetError> {
        let Part { tries, then, change, is_torn } = match step {
            Step::Run(sql) => {
                done.bytes += sql.len();
                return self.client.run(conn, sql).await.map(drop);
            }
            Step::Part(part) => part,
        };
        for (at, sql) in tries.iter().enumerate() {
            done.bytes += sql.len();
            if self.client.run(conn, sql).await? == 0 {
                continue;
            }
            if let Some(then) = then.as_ref().filter(|_| at == 0) {
                self.client.run(conn, then).await?;
            }
            return Ok(());
        }
        done.written.rows = done.written.rows.saturating_sub(1);
        match is_torn {
            true => done.unusable.push(change.unusable(TORN)),
            false => done.written.absent += 1,
        }
        Ok(())
    }

    /// Leaves out changes that are older than a delete of their row, and keeps the deletes.
    async fn heed_deletes(
        &self,
        conn: &mut TargetConn,
        part: &mut TablePart<'_, '_>,
        done: &mut Done,
    ) -> Result<(), TargetError> {
        let table = Arc::clone(&part.table);
        let deletes = Deletes { table: &table, is_mariadb: conn.is_mariadb };
        let is_alone = part.changes.iter().any(|change| change.row.is_none());
        let newest = self.lock(conn, deletes, is_alone).await?;
        let is_older = |change: &RowChange<'_, '_>| change.seq().is_some_and(|seq| seq <= newest);
        let names: Vec<String> = part
            .changes
            .iter()
            .filter(|change| is_older(change))
            .map(|change| row_name(change).into_owned())
            .collect();
        let mut known: HashMap<String, u64> = HashMap::new();
        for some in names.chunks(NAMES_AT_ONCE) {
            let look = deletes.look(some.iter().map(String::as_str));
            known.extend(self.client.ask::<(String, u64)>(conn, &look).await?);
        }
        let before = part.changes.len();
        part.changes.retain(|change| {
            let deleted = known.get(&*row_name(change));
            deleted.is_none_or(|deleted| change.seq().is_none_or(|seq| seq > *deleted))
        });
        done.written.conflicts += (before - part.changes.len()) as u64;
        let mut kept: BTreeMap<Cow<'_, str>, u64> = BTreeMap::new();
        for change in part.changes.iter().filter(|change| change.row.is_none()) {
            // Later changes of a row come later.
            kept.insert(row_name(change), change.seq().unwrap_or_default());
        }
        if !kept.is_empty() {
            self.client.run(conn, &deletes.keep(&kept)).await?;
        }
        Ok(())
    }

    /// Locks what keeps writers of a table apart; gives the number of the last delete.
    async fn lock(
        &self,
        conn: &mut TargetConn,
        deletes: Deletes<'_>,
        is_alone: bool,
    ) -> Result<u64, TargetError> {
        let lock = deletes.lock(is_alone);
        if let Some(newest) = self.client.ask(conn, &lock).await?.first() {
            return Ok(*newest);
        }
        // Somebody has emptied the table of the sink.
        self.client.run(conn, &deletes.make_lock()).await?;
        Ok(self.client.ask(conn, &lock).await?.first().copied().unwrap_or_default())
    }

    /// Forgets deletes that are old enough. Nothing depends on it.
    async fn forget_deletes(&self, conn: &mut TargetConn, parts: &[TablePart<'_, '_>]) {
        for part in parts.iter().filter(|part| part.version.is_some()) {
            if !self.forgot.is_due(&part.table.schema) {
                continue;
            }
            let deletes = Deletes { table: &part.table, is_mariadb: conn.is_mariadb };
            let sql = deletes.forget(self.config.deleted_for);
            loop {
                match self.client.run(conn, &sql).await {
                    Ok(FORGOTTEN_AT_ONCE..) => {}
                    Ok(_) => break,
                    Err(error) => {
                        debug!(?error, "old deletes are not forgotten");
                        break;
                    }
                }
            }
        }
    }
}

/// Why the target is the very table that the changes are of, if that is so: each one that is
/// written there comes back, and later ones are undone.
fn circle(conn: &TargetConn, route: Route<'_>, wanted: &[&Wanted<'_>]) -> Option<String> {
    let uuid = conn.uuid.as_deref()?;
    let is_its_own = |one: &&Wanted<'_>| {
        let gtid = one.change.read.source.gtid.as_deref();
        gtid.is_some_and(|gtid| gtid.starts_with(uuid))
    };
    if names_of(route.target) != route.source || !wanted.iter().any(is_its_own) {
        return None;
    }
    Some(format!(
        "{} is the source itself, and the table {} is the one that these changes are of: nothing is \
         written, as each change would come back for ever; set hosts or table of the handler",
        conn.address, route.target
    ))
}
