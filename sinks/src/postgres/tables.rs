//! What is known of the target's tables, and how it is made to fit the source.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use full_sync::Table;
use handler::Failure;
use tracing::warn;

use super::{
    PgRows, PostgresConfig,
    client::PgConnection,
    create::{AUDIT_COLUMNS, PgWish, create_deleted, create_unique, type_of},
    limit::Limit,
    refusal::Refused,
    table::{PgColumn, PgTable, There, quoted},
};
use crate::{shape::Shape, tables::untold, target::Means, value::Kind};

/// While a column is lacking, the server is asked again after so long.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

/// A look at a table is of use for so long: somebody may alter the table.
const LOOKED_AGAIN: Duration = Duration::from_secs(5);

/// A name is not longer at the server, which would cut it without a word.
const MAX_NAME_BYTES: usize = 63;

/// The tables that were asked for until now.
pub(super) struct PgTables {
    config: Arc<PostgresConfig>,
    means: Means,
    known: Mutex<HashMap<String, Arc<PgRoute>>>,
    /// One at a time makes tables.
    making: tokio::sync::Mutex<()>,
}

/// A table of the source, and where it goes.
#[derive(Debug)]
pub(super) struct PgRoute {
    pub(super) table: PgTable,
    /// The columns of the key at the target. Those of an audit log are its own.
    pub(super) key: Vec<usize>,
    pub(super) is_audit: bool,
    /// The column with the number of the change, if rows have versions.
    pub(super) version: Option<usize>,
    /// What values of each column of the table look like in an event, where the source has it.
    pub(super) kinds: Vec<Option<Kind>>,
    /// The types that these columns would get here.
    pub(super) nearest: Vec<Option<String>>,
    /// For so many calls rows that are new at the source are taken for rows that may be there.
    pub(super) upserting: AtomicU32,
    pub(super) source: Option<Arc<Table>>,
    asked: Instant,
    /// Something was refused: the table may be another one by now.
    is_doubted: AtomicBool,
}

/// Which table is asked for.
#[derive(Clone, Debug)]
pub(super) struct PgAsk<'a> {
    pub(super) source: (&'a str, &'a str),
    /// `schema.table`.
    pub(super) target: &'a str,
    /// The columns of the key at the target; empty for an audit log.
    pub(super) key: Vec<String>,
    /// The columns of the rows that are to be written.
    pub(super) columns: Vec<&'a str>,
}

impl PgTables {
    pub(super) fn new(config: Arc<PostgresConfig>, means: &Means) -> Self {
        Self {
            config,
            means: means.clone(),
            known: Mutex::default(),
            making: tokio::sync::Mutex::default(),
        }
    }

    /// The route; the server is asked where it is not known, and gets what it lacks where that is
    /// allowed.
    ///
    /// # Errors
    ///
    /// `Ok(Err)`: what the target lacks, with the statement that makes it.
    pub(super) async fn get(
        &self,
        connection: &mut PgConnection,
        ask: &PgAsk<'_>,
    ) -> Result<Result<Arc<PgRoute>, String>, Refused> {
        let (schema, table) = ask.source;
        let source = self.means.tables.table(schema, table).await;
        let source = source
            .map_err(|why| Refused::Later(Failure::unclear(format!("no table is known: {why}"))))?;
        if let Some(known) = self.known_for(ask, source.as_ref()) {
            return Ok(Ok(known));
        }
        let _one = self.making.lock().await;
        if let Some(known) = self.known_for(ask, source.as_ref()) {
            return Ok(Ok(known));
        }
        let route = match self.fetch(connection, ask, source).await? {
            Ok(route) => Arc::new(route),
            Err(lacking) => return Ok(Err(lacking)),
        };
        if let Some(before) = self.lock().insert(ask.target.to_owned(), Arc::clone(&route)) {
            route.upserting.store(before.upserting.load(Relaxed), Relaxed);
            let changed = before.table.differences(&route.table);
            if !changed.is_empty() {
                let table = ask.target;
                warn!(table, changed, "a table of the target is not as it was: going on with it");
            }
        }
        Ok(Ok(route))
    }

    /// Each table is looked at again before it is written to.
    pub(super) fn doubt(&self) {
        self.lock().values().for_each(|known| known.is_doubted.store(true, Relaxed));
    }

    fn known_for(&self, ask: &PgAsk<'_>, source: Option<&Arc<Table>>) -> Option<Arc<PgRoute>> {
        let known = self.lock().get(ask.target).cloned()?;
        if known.is_doubted.load(Relaxed) || known.asked.elapsed() >= LOOKED_AGAIN {
            return None;
        }
        let is_same = match (&known.source, source) {
            (Some(known), Some(now)) => Arc::ptr_eq(known, now) || known == now,
            (None, None) => true,
            _ => false,
        };
        let has_all = ask.columns.iter().all(|name| known.table.column(name).is_some());
        let fits = is_same && known.has_key(&ask.key);
        (fits && (has_all || known.asked.elapsed() < ASKED_AGAIN)).then_some(known)
    }

    async fn fetch(
        &self,
        connection: &mut PgConnection,
        ask: &PgAsk<'_>,
        source: Option<Arc<Table>>,
    ) -> Result<Result<PgRoute, String>, Refused> {
        let Some((schema, name)) = ask.target.split_once('.') else {
            return Ok(Err(format!(
                "`table` gives {:?}, which is no schema.table: write \"public.{{table}}\"",
                ask.target
            )));
        };
        if let Some(long) = [schema, name].into_iter().find(|name| name.len() > MAX_NAME_BYTES) {
            return Ok(Err(format!(
                "the name {long:?} has more than {MAX_NAME_BYTES} bytes, the most that PostgreSQL \
                 has room for: give another with `table`"
            )));
        }
        let wish = PgWish {
            rows: &self.config.rows,
            user: &self.config.user,
            shape: &self.means.shape,
            source: source.as_deref(),
            schema,
            name,
            key: &ask.key,
        };
        let mut table = PgTable::describe(connection, schema, name).await?;
        let there = There::of(connection, schema, table.as_ref()).await?;
        let lacking = wish.lacking(there);
        if self.config.rows.create && !lacking.is_empty() {
            for sql in &lacking {
                run(connection, sql).await?;
            }
            connection.forget();
            let made = PgTable::describe(connection, schema, name).await?;
            self.tell_made(connection, ask, (table.as_ref(), made.as_ref())).await?;
            table = made;
        }
        let Some(table) = table else {
            return self.no_table(ask.target, &lacking).map(Err);
        };
        let route = self.route(table, ask, source);
        if route.as_ref().is_ok_and(|route| route.version.is_some()) {
            self.make_deleted(connection, schema).await?;
        }
        Ok(route)
    }

    /// Tells what rows of the target lack since a table or columns were made.
    async fn tell_made(
        &self,
        connection: &PgConnection,
        ask: &PgAsk<'_>,
        (before, now): (Option<&PgTable>, Option<&PgTable>),
    ) -> Result<(), Refused> {
        let (Some(before), Some(now)) = (before, now) else {
            let is_whole = !ask.key.is_empty() && self.config.table.is_of_table();
            let was_there = self.lock().contains_key(ask.target);
            match was_there {
                true => self.means.tell_made_anew(ask.source, ask.target),
                false if is_whole => self.means.tell_made(ask.source, ask.target),
                false => {}
            }
            return Ok(());
        };
        let own = self.config.rows.version_column.as_deref();
        let is_new = |name: &String| {
            let was_there = before.columns.iter().any(|column| column.name == *name);
            !was_there && own != Some(name.as_str()) && !ask.key.is_empty()
        };
        let names = now.columns.iter().map(|column| column.name.clone());
        let added: Vec<String> = names.filter(is_new).collect();
        let any = format!("SELECT 1 FROM {} LIMIT 1", now.quoted());
        if !added.is_empty() && connection.client.query_opt(&any, &[]).await?.is_some() {
            self.means.tell_unfilled(ask.source, ask.target, &added);
        }
        Ok(())
    }

    fn route(
        &self,
        table: PgTable,
        ask: &PgAsk<'_>,
        source: Option<Arc<Table>>,
    ) -> Result<PgRoute, String> {
        let is_audit = ask.key.is_empty();
        let key = if is_audit { vec![AUDIT_COLUMNS[0].0.to_owned()] } else { ask.key.clone() };
        let places: Option<Vec<usize>> = key.iter().map(|name| table.column(name)).collect();
        let Some(places) = places else {
            return Err(format!(
                "{} lacks a column of the key ({}): add it there, or set create = true",
                table.quoted(),
                key.join(", ")
            ));
        };
        if !table.is_unique_by(&key) {
            return Err(format!(
                "{} has no unique index by which rows are found: run there: {}",
                table.quoted(),
                create_unique(&table, &key)
            ));
        }
        let version = match self.config.rows.version_column.as_ref().filter(|_| !is_audit) {
            None => None,
            Some(name) => Some(table.column(name).ok_or_else(|| {
                format!(
                    "run there: ALTER TABLE {} ADD COLUMN {} bigint; or set create = true",
                    table.quoted(),
                    quoted(name)
                )
            })?),
        };
        let mut kinds = vec![None; table.columns.len()];
        let mut nearest = vec![None; table.columns.len()];
        for column in source.iter().flat_map(|source| source.columns.iter().flatten()) {
            if let Some(at) = table.column(&self.means.shape.name_of(&column.name)) {
                kinds[at] = Some(Kind::of(&column.declared));
                nearest[at] = Some(type_of(column));
            }
        }
        Ok(PgRoute {
            table,
            key: places,
            is_audit,
            version,
            kinds,
            nearest,
            upserting: AtomicU32::new(0),
            source,
            asked: Instant::now(),
            is_doubted: AtomicBool::new(false),
        })
    }

    /// What to do where the target has no table.
    fn no_table(&self, target: &str, lacking: &[String]) -> Result<String, Refused> {
        if !lacking.is_empty() {
            return Ok(format!(
                "the target has no table {target}: set create = true, or run there: {}",
                lacking.join("; ")
            ));
        }
        match self.config.rows.create {
            true => Err(Refused::Later(Failure::unclear(untold(target)))),
            false => Ok(untold(target)),
        }
    }

    /// Makes the sink's own table, which it needs to keep deletes.
    async fn make_deleted(&self, connection: &PgConnection, schema: &str) -> Result<(), Refused> {
        let there = "SELECT to_regclass(format('%I.%I', $1::text, 'dbevent_deleted')) IS NOT NULL";
        let found = connection.client.query_one(there, &[&schema]).await?;
        match found.get(0) {
            true => Ok(()),
            false => run(connection, &create_deleted(schema)).await,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<PgRoute>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PgRoute {
    /// A route to a table that no server has.
    #[cfg(test)]
    pub(super) fn of_test(table: PgTable, key: Vec<usize>, version: Option<usize>) -> Self {
        let count = table.columns.len();
        Self {
            table,
            key,
            is_audit: false,
            version,
            kinds: vec![None; count],
            nearest: vec![None; count],
            upserting: AtomicU32::new(0),
            source: None,
            asked: Instant::now(),
            is_doubted: AtomicBool::new(false),
        }
    }

    /// Whether it leads to this `schema.table`.
    pub(super) fn is_to(&self, target: &str) -> bool {
        target.split_once('.') == Some((&*self.table.schema, &*self.table.name))
    }

    /// Whether the server was asked after this moment.
    pub(super) fn is_newer_than(&self, moment: Instant) -> bool {
        self.asked >= moment
    }

    fn has_key(&self, key: &[String]) -> bool {
        match key.is_empty() {
            true => self.is_audit,
            false => {
                !self.is_audit
                    && key.len() == self.key.len()
                    && key
                        .iter()
                        .zip(&self.key)
                        .all(|(name, at)| self.table.columns[*at].name == *name)
            }
        }
    }

    /// The statement that lets a column hold what the source's holds.
    pub(super) fn widen(&self, at: usize) -> String {
        let column = &self.table.columns[at];
        let nearest = self.nearest[at].as_deref().filter(|nearest| *nearest != column.full);
        let declared = nearest.unwrap_or_else(|| column.limit.wider(&column.base));
        alter_type(&self.table, column, declared)
    }

    /// The statement that adds a column of the source to the target.
    pub(super) fn add_column(&self, name: &str, rows: &PgRows, shape: &Shape) -> String {
        // Only a table that is lacking needs to know who makes it.
        let user = "";
        let key: Vec<String> =
            self.key.iter().map(|at| self.table.columns[*at].name.clone()).collect();
        let wish = PgWish {
            rows,
            user,
            shape,
            source: self.source.as_deref(),
            schema: &self.table.schema,
            name: &self.table.name,
            key: if self.is_audit { &[] } else { &key },
        };
        match wish.lacking(There::Table(&self.table)).into_iter().next() {
            Some(alter) if alter.contains(&quoted(name)) => {
                format!("run there: {alter}")
            }
            _ => format!(
                "add it there with its type (ALTER TABLE {} ADD COLUMN {} …)",
                self.table.quoted(),
                quoted(name)
            ),
        }
    }
}

/// The statement that gives a column another type.
pub(super) fn alter_type(table: &PgTable, column: &PgColumn, declared: &str) -> String {
    let name = quoted(&column.name);
    let is_number = |of: &str| {
        ["smallint", "integer", "bigint", "numeric", "real", "double", "money"]
            .iter()
            .any(|number| of.starts_with(number))
    };
    let is_time = |of: &str| of == "date" || of.starts_with("timestamp");
    let is_cast_alone = matches!(declared, "text" | "bit varying")
        || declared.starts_with(&*column.base)
        || (is_number(declared) && is_number(&column.base))
        || (is_time(declared) && is_time(&column.base));
    let using = match &*column.base {
        _ if is_cast_alone => String::new(),
        // There is no cast to the other numbers.
        "boolean" => format!(" USING {name}::integer::{declared}"),
        base if base.contains("bit") => match Limit::of(declared) {
            Limit::Bits(length) => format!(" USING lpad({name}::text, {length}, '0')::{declared}"),
            _ => format!(" USING {name}::text::{declared}"),
        },
        _ => format!(" USING {name}::{declared}"),
    };
    format!("ALTER TABLE {} ALTER COLUMN {name} TYPE {declared}{using}", table.quoted())
}

/// Runs a statement that makes something. The failure has it, for somebody with the right to.
async fn run(connection: &PgConnection, sql: &str) -> Result<(), Refused> {
    // IF NOT EXISTS alone does not hold where another process makes the same at this moment.
    let alone = "SELECT pg_advisory_xact_lock(hashtextextended('dbevent tables', 0))";
    let told = |failure: Failure| Failure {
        reason: format!("{}; run there: {sql}", failure.reason),
        ..failure
    };
    connection.client.batch_execute(&format!("{alone}; {sql}")).await.map_err(|error| {
        match Refused::from(error) {
            Refused::Later(failure) if failure.said.is_some() => Refused::Later(told(failure)),
            // Of a table that somebody else makes we would not have the rights.
            Refused::Denied(failure) if sql.starts_with("ALTER ") => Refused::Later(told(failure)),
            // Another process makes the same.
            Refused::Row(said) | Refused::Again(said) => Refused::Again(said),
            other => other,
        }
    })
}
