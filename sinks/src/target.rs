//! What each kind of target does, and the handler that calls it.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use async_trait::async_trait;
use full_sync::Table;
use handler::{Batch, Event, Failure, Handler, Outcome};
use tracing::warn;

use crate::{
    change::{Fault, Unusable},
    fetch::{Completed, Fetch},
    figures::Counts,
    host_look::HostLook,
    reasons,
    servers::Servers,
    shape::{Shape, Wanted},
    tables::Tables,
    template::Template,
};

/// A target: a place that changes are written to. All lanes of a listener share it.
#[async_trait]
pub(crate) trait Target: Send + Sync {
    /// Writes changes, in their order where they are of one row. When it returns, all that it does
    /// not name is durable at the target; what the target refused is named.
    ///
    /// The same changes may come again: after a failure, and after a crash.
    ///
    /// # Errors
    ///
    /// Why none of it is done, or nobody knows.
    async fn write(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Unusable>, Failure>;

    /// Whether the target is there and lets us do what the listener needs. What is wrong is said
    /// with the statement or the request that puts it right.
    async fn check(&self, tables: &[Arc<full_sync::Table>]) -> Vec<TargetFinding>;

    /// What of the config is made of columns.
    fn templates(&self) -> Vec<&Template> {
        Vec::new()
    }

    /// Whether it is told the definitions of the source's tables before it writes, where they come
    /// soon: else the rows of a new table fail until then.
    fn needs_tables(&self) -> bool {
        false
    }

    /// Whether the target cannot do with a part of the row: it replaces what is there.
    fn needs_whole(&self, _wanted: &Wanted<'_>) -> bool {
        false
    }

    /// How each of its hosts is; empty where there are none.
    async fn hosts(&self) -> Vec<HostLook> {
        Vec::new()
    }

    /// Calls were dropped. Returns when nothing of them is written any more, and soon in any case.
    async fn abandon(&self) {}
}

/// What a target has at hand.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    /// The listener that the sink is of.
    pub(crate) listener: String,
    /// How the source's tables are defined.
    pub(crate) tables: Arc<dyn Tables>,
    pub(crate) shape: Arc<Shape>,
    pub(crate) counts: Arc<Counts>,
}

impl Means {
    /// Tells that columns were added to a table of the target which has rows.
    pub(crate) fn tell_unfilled(&self, source: (&str, &str), target: &str, columns: &[String]) {
        self.counts.left_unfilled(columns.len());
        warn!(
            table = target,
            columns = columns.join(", "),
            remedy = format!("run {}", self.full_sync_of(source)),
            "columns were added that are new at the source, or were renamed there: rows that are \
             at the target already have NULL in them until they change; a column's old name stays"
        );
    }

    /// Tells that a table of the target was made, unless a full sync fills it.
    pub(crate) fn tell_made(&self, source: (&str, &str), target: &str) {
        if self.counts.begun.made(source) {
            warn!(
                table = target,
                remedy = format!(
                    "unless the source's table is new, or a full sync of it runs \
                     (event-worker full-sync list): run {}",
                    self.full_sync_of(source)
                ),
                "a table of the target was not there, and is made by a change: rows that the \
                 source's table had before are not there"
            );
        }
    }

    /// Tells that a table of the target was gone, and was made anew.
    pub(crate) fn tell_made_anew(&self, source: (&str, &str), target: &str) {
        self.counts.begun.made_anew(source);
        warn!(
            table = target,
            remedy = format!("run {}", self.full_sync_of(source)),
            "a table of the target was gone and is made anew: it has only what changes from now on"
        );
    }

    /// Tells what was altered at a table of the source, and the statements that do the same at the
    /// target.
    pub(crate) fn tell_altered(
        &self,
        source: (&str, &str),
        target: &str,
        (what, statements): (&[String], &[String]),
    ) {
        warn!(
            table = target,
            altered = what.join("; "),
            remedy = format!(
                "run at the target: {}; then run {}, if rows were written since",
                statements.join("; "),
                self.full_sync_of(source)
            ),
            "a table of the source was altered, which a sink does not follow: rows that do not fit \
             the target's are refused"
        );
    }

    /// The command that sends a table of the source again, whole.
    pub(crate) fn full_sync_of(&self, (schema, table): (&str, &str)) -> String {
        format!("event-worker full-sync start -t {} {schema}.{table}", self.listener)
    }
}

/// What a look at the target found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFinding {
    /// Whether the sink cannot work because of it.
    pub is_wrong: bool,
    /// Whether it works, but not as it should.
    pub is_doubtful: bool,
    /// What was found.
    pub what: String,
    /// What to do; empty where nothing is wrong.
    pub remedy: String,
}

/// What to do where the target does not let us in, or takes nothing.
pub(crate) const NOT_REACHED: &str = "see that it runs, answers, has room and may be written to, \
                                      and that the config names the right server and user";

impl TargetFinding {
    pub(crate) fn good(what: impl Into<String>) -> Self {
        Self { is_wrong: false, is_doubtful: false, what: what.into(), remedy: String::new() }
    }

    pub(crate) fn doubtful(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { is_doubtful: true, remedy: remedy.into(), ..Self::good(what) }
    }

    pub(crate) fn wrong(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { is_wrong: true, remedy: remedy.into(), ..Self::good(what) }
    }
}

/// The handler of a lane.
#[derive(Clone)]
pub(crate) struct SinkHandler {
    pub(crate) shape: Arc<Shape>,
    pub(crate) target: Arc<dyn Target>,
    pub(crate) servers: Servers,
    pub(crate) tables: Arc<dyn Tables>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) fetch: Option<Arc<Fetch>>,
}

impl SinkHandler {
    async fn write(&self, events: &[&Event], unusable: &mut Vec<Unusable>) -> Result<(), Failure> {
        let (mut wanted, refused) = self.shape.wanted(events);
        unusable.extend(refused);
        self.leave_parts_out(&mut wanted, unusable).await?;
        if wanted.is_empty() {
            return Ok(());
        }
        self.note_full_syncs(&wanted);
        self.wait_for_tables(&wanted).await;
        let refused = self.target.write(&wanted).await;
        unusable.extend(refused.map_err(|failure| self.of_target(failure))?);
        Ok(())
    }

    /// The same with the rows that the events lack. Large ones are not in memory all together.
    async fn write_fetched(
        &self,
        fetch: &Fetch,
        events: &[&Event],
        unusable: &mut Vec<Unusable>,
    ) -> Result<(), Failure> {
        for part in fetch.parts(events) {
            let Completed { events, unusable: refused } = fetch.complete(part).await?;
            unusable.extend(refused);
            let events: Vec<&Event> = events.iter().map(AsRef::as_ref).collect();
            self.write(&events, unusable).await?;
        }
        Ok(())
    }

    /// Leaves out rows of which the event has only a part, and the target needs all.
    async fn leave_parts_out(
        &self,
        wanted: &mut Vec<Wanted<'_>>,
        unusable: &mut Vec<Unusable>,
    ) -> Result<(), Failure> {
        let mut parts = BTreeSet::new();
        let mut known = BTreeMap::new();
        for one in wanted.iter() {
            if !one.begins && !self.target.needs_whole(one) {
                continue;
            }
            let names = (&*one.change.read.schema, &*one.change.read.table_name);
            let table = match known.entry(names) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.table(names).await?),
            };
            if let Some(name) = table.as_deref().and_then(|table| one.change.lacks(table)) {
                let why = match one.begins {
                    true => "the row begins to match `where`",
                    false => "the target replaces the whole row",
                };
                parts.insert(one.change.event.ev_id());
                unusable.push(one.change.unusable(format!(
                    "{why}, and its event lacks the column {name}: set binlog_row_image = FULL on \
                     the source"
                )));
            }
        }
        if !parts.is_empty() {
            wanted.retain(|one| !parts.contains(one.change.event.ev_id()));
        }
        Ok(())
    }

    async fn table(&self, (schema, table): (&str, &str)) -> Result<Option<Arc<Table>>, Failure> {
        self.tables.table(schema, table).await.map_err(|why| Failure {
            remedy: Some(BUS_AWAY),
            ..Failure::unclear(format!("the bus: {why}"))
        })
    }

    async fn wait_for_tables(&self, wanted: &[Wanted<'_>]) {
        if !self.target.needs_tables() {
            return;
        }
        let names =
            wanted.iter().map(|one| (&*one.change.read.schema, &*one.change.read.table_name));
        for (schema, table) in names.collect::<BTreeSet<_>>() {
            self.tables.wait_for(schema, table).await;
        }
    }

    /// Notes of which tables a full sync sends rows.
    fn note_full_syncs(&self, wanted: &[Wanted<'_>]) {
        let of_full_syncs = wanted.iter().filter(|one| one.change.event.is_of_full_sync());
        let names =
            of_full_syncs.map(|one| (&*one.change.read.schema, &*one.change.read.table_name));
        for names in names.collect::<BTreeSet<_>>() {
            self.counts.begun.fills(names);
        }
    }

    /// A failure of the target as a whole, which named no row.
    fn of_target(&self, failure: Failure) -> Failure {
        let remedy = if failure.is_unclear { TARGET_AWAY } else { ROW_REFUSED };
        let (reason, remedy) =
            (self.servers.named(failure.reason), failure.remedy.or(Some(remedy)));
        Failure { reason, remedy, ..failure }
    }
}

#[async_trait]
impl Handler for SinkHandler {
    async fn handle(&mut self, batch: Batch<'_>) -> Outcome {
        let mut unusable = Vec::new();
        let written = match self.fetch.clone() {
            None => self.write(batch.events, &mut unusable).await,
            Some(fetch) => self.write_fetched(&fetch, batch.events, &mut unusable).await,
        };
        if let Err(failure) = written {
            return Outcome::Failed(failure);
        }
        self.counts.refused(unusable.len());
        outcome(unusable)
    }

    async fn abandon(&mut self) {
        self.target.abandon().await;
    }
}

/// What to do about each kind of failure.
const BUS_AWAY: &str = "start the bus; it is tried again by itself";
const TARGET_AWAY: &str = "see that the target runs, answers, has room, and may be written to by \
                           this user (docs/sinks.md); it is tried again by itself";
const ROW_REFUSED: &str = "correct the row or the target's table (docs/sinks.md), or have such \
                           rows set aside by `park`; it is tried again by itself";
const BOTH: &str = "of what does not fit the config (a template, `where`), correct that key of the \
                    sink, and reload; of what the target refuses, correct the row or its table \
                    (docs/sinks.md), or have such rows set aside by `park`; it is tried again by \
                    itself";
const CONFIG_MISFIT: &str = "correct that key of the sink in the config, and reload; if only this \
                             row does not fit, correct the row; it is tried again by itself";

fn outcome(unusable: Vec<Unusable>) -> Outcome {
    let remedy = match (has(&unusable, Fault::Row), has(&unusable, Fault::Config)) {
        (false, false) => return Outcome::Done,
        (true, false) => ROW_REFUSED,
        (false, true) => CONFIG_MISFIT,
        (true, true) => BOTH,
    };
    let rows = if unusable.len() == 1 { "row" } else { "rows" };
    let reason = format!("{} {rows} cannot be written to the target", unusable.len());
    let failure = Failure { remedy: Some(remedy), ..Failure::new(reason) };
    let failure = failure.saying(reasons::told(unusable.iter().map(|one| &*one.why)));
    Outcome::Partly { failed: unusable.into_iter().map(|one| one.ev_id).collect(), failure }
}

fn has(unusable: &[Unusable], fault: Fault) -> bool {
    unusable.iter().any(|one| one.fault == fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{change::tests::event, tables::NoTables};

    struct Refusing;

    #[async_trait]
    impl Target for Refusing {
        async fn write(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Unusable>, Failure> {
            Ok(wanted.iter().map(|one| one.change.unusable("too long")).collect())
        }

        async fn check(&self, _: &[Arc<full_sync::Table>]) -> Vec<TargetFinding> {
            Vec::new()
        }
    }

    #[tokio::test]
    async fn what_the_target_refuses_is_named_with_its_reason() {
        let mut handler = SinkHandler {
            shape: Arc::default(),
            target: Arc::new(Refusing),
            servers: Servers::default(),
            tables: Arc::new(NoTables),
            counts: Arc::default(),
            fetch: None,
        };
        let event = event("insert", r#"{"id":7}"#, None);
        let outcome = handler.handle(Batch { events: &[&event], attempt: 1 }).await;
        let failed = vec!["g:1#0".to_owned()];
        let failure = Failure::new("1 row cannot be written to the target").saying("too long");
        let failure = Failure { remedy: Some(ROW_REFUSED), ..failure };
        assert_eq!(outcome, Outcome::Partly { failed, failure });
        assert_eq!(handler.counts.figures().refused, 1);
    }

    #[tokio::test]
    async fn what_to_do_fits_the_kind_of_the_failure() {
        let misfit = |shape| async move {
            let (target, tables) = (Arc::new(Refusing), Arc::new(NoTables));
            let (servers, counts) = (Servers::default(), Arc::default());
            let mut handler = SinkHandler { shape, target, servers, tables, counts, fetch: None };
            let of_target = |failure| handler.of_target(failure).remedy;
            assert_eq!(of_target(Failure::unclear("down")), Some(TARGET_AWAY));
            assert_eq!(of_target(Failure::new("no row")), Some(ROW_REFUSED));
            let event = event("insert", r#"{"id":7}"#, None);
            match handler.handle(Batch { events: &[&event], attempt: 1 }).await {
                Outcome::Partly { failure, .. } => failure.remedy,
                other => panic!("{other:?}"),
            }
        };
        let wrong = Arc::new(Shape::with_condition("Data.id > 'a'"));
        assert_eq!(misfit(wrong).await, Some(CONFIG_MISFIT));
        assert_eq!(misfit(Arc::default()).await, Some(ROW_REFUSED));
    }

    #[derive(Debug)]
    struct OneTable;

    #[async_trait]
    impl Tables for OneTable {
        async fn table(&self, _: &str, _: &str) -> Result<Option<Arc<full_sync::Table>>, String> {
            let column = |name: &str| full_sync::TableColumn {
                name: name.to_owned(),
                ..full_sync::TableColumn::default()
            };
            let columns = Some(vec![column("id"), column("n"), column("text")]);
            Ok(Some(Arc::new(full_sync::Table { columns, ..full_sync::Table::default() })))
        }
    }

    #[tokio::test]
    async fn a_part_of_a_row_that_begins_to_match_is_refused_and_never_written() {
        let shape = Shape::with_condition("Data.n > 2");
        let handler = SinkHandler {
            shape: Arc::new(shape),
            target: Arc::new(Refusing),
            servers: Servers::default(),
            tables: Arc::new(OneTable),
            counts: Arc::default(),
            fetch: None,
        };
        let part = event("update", r#"{"id":7,"n":5}"#, Some(r#"{"n":1}"#));
        let whole = event("update", r#"{"id":7,"n":5,"text":"a"}"#, Some(r#"{"n":1}"#));
        let there = event("update", r#"{"id":7,"n":5}"#, Some(r#"{"n":4}"#));
        for (event, is_left) in [(&part, false), (&whole, true), (&there, true)] {
            let (mut wanted, mut unusable) = handler.shape.wanted(&[event]);
            handler.leave_parts_out(&mut wanted, &mut unusable).await.unwrap();
            assert_eq!((wanted.len() == 1, unusable.is_empty()), (is_left, is_left));
        }
    }
}
