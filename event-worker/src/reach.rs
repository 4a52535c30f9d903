//! Which tables a listener gets, and why it may get none: compares the names in its config with the
//! tables that each `dts` of the bus captures.

use std::{collections::BTreeSet, sync::Arc};

use event_bus::{Bus, Checkpoint};
use full_sync::{CAPTURED_KEY, Captured, Catalog, TABLE_PREFIX, Table};
use service::glob;

use crate::config::ListenerConfig;

/// A message lists so many names at the most.
const MAX_NAMES: usize = 8;

/// What every `dts` of a bus captures.
#[derive(Debug, Default)]
pub(crate) struct Catalogs {
    /// By the name of the `dts`.
    told: Vec<(String, Catalog)>,
    /// It is not known what these capture: they have an older version, or have just begun.
    silent: Vec<String>,
    tables: Vec<Table>,
}

/// Which tables a listener gets, and why no others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The tables, as `schema.table`.
    pub(crate) tables: BTreeSet<String>,
    pub(crate) reasons: Vec<Reason>,
}

impl Reach {
    /// The tables, in words.
    pub(crate) fn names(&self) -> String {
        listed(self.tables.iter().cloned())
    }
}

/// Why a part of the listener's config gets no events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) message: String,
    pub(crate) remedy: String,
}

impl Reason {
    fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into() }
    }
}

impl Catalogs {
    /// Reads them from the checkpoints.
    ///
    /// # Errors
    ///
    /// Transient, when the bus is away.
    pub(crate) async fn read(bus: &dyn Bus) -> event_bus::Result<Self> {
        let mut all = Self::default();
        for name in bus.producers().await? {
            let checkpoint = bus.checkpoint(&name).await?;
            all.add(name, &checkpoint);
        }
        Ok(all)
    }

    fn add(&mut self, name: String, checkpoint: &Checkpoint) {
        let catalog = checkpoint.get(CAPTURED_KEY);
        match catalog.and_then(|bytes| Catalog::from_bytes(bytes).ok()) {
            Some(catalog) => self.told.push((name, catalog)),
            None => self.silent.push(name),
        }
        let tables = checkpoint.range(TABLE_PREFIX.to_owned()..);
        let tables = tables.take_while(|(key, _)| key.starts_with(TABLE_PREFIX));
        self.tables.extend(tables.filter_map(|(_, bytes)| Table::from_bytes(bytes).ok()));
    }

    /// Which tables a listener gets on a bus with this topic prefix.
    pub(crate) fn reach(&self, listener: &ListenerConfig, prefix: &str) -> Reach {
        let mut reach = Reach::default();
        if let Some(nobody) = self.nobody(prefix) {
            reach.reasons.push(nobody);
            return reach;
        }
        let all = [("*".to_owned(), "*".to_owned())];
        let globs = if listener.subscribe.is_empty() { &all[..] } else { &listener.subscribe };
        let mut reached: Vec<&Table> = Vec::new();
        for glob in globs {
            let before = reached.len();
            reached.extend(self.tables.iter().filter(|table| fits(glob, table)));
            if reached.len() == before && self.knows_all() {
                reach.reasons.push(self.why_none(glob, listener));
            }
        }
        reach.reasons.extend(listener.columns.iter().filter_map(|name| lacks(&reached, name)));
        reach.tables = reached.into_iter().map(name_of).collect();
        reach
    }

    /// The definition of a table; the first one, where several `dts` tell of it.
    pub(crate) fn table(&self, schema: &str, table: &str) -> Option<&Table> {
        self.tables.iter().find(|of| (&*of.schema, &*of.table) == (schema, table))
    }

    /// Whether a `dts` captures such a table, or may do so, and so will tell it.
    pub(crate) fn may_tell(&self, schema: &str, table: &str) -> bool {
        let captures = |(_, catalog): &(String, Catalog)| catalog.captured.includes(schema, table);
        !self.silent.is_empty() || self.told.iter().any(captures)
    }

    /// The definitions of the tables that a listener gets.
    pub(crate) fn tables_of(&self, listener: &ListenerConfig) -> Vec<Arc<Table>> {
        let fits_any = |table: &&Table| {
            listener.subscribe.is_empty() || listener.subscribe.iter().any(|of| fits(of, table))
        };
        self.tables.iter().filter(fits_any).cloned().map(Arc::new).collect()
    }

    fn nobody(&self, prefix: &str) -> Option<Reason> {
        let is_none = self.told.is_empty() && self.silent.is_empty();
        is_none.then(|| {
            Reason::new(
                format!("no dts has ever published on this bus with topicPrefix {prefix:?}"),
                "start dts; or see that [bus] says the same here and in dts.toml",
            )
        })
    }

    /// Why no events come of the tables that match a pattern, if none can come.
    pub(crate) fn why_nothing(&self, glob: &(String, String), prefix: &str) -> Option<Reason> {
        let none_fits = || self.knows_all() && !self.tables.iter().any(|table| fits(glob, table));
        self.nobody(prefix).or_else(|| {
            let (schema, table) = glob;
            none_fits().then(|| {
                Reason::new(
                    format!("{schema}.{table} fits no table that is captured"),
                    "upper and lower case count; see capture.tables in dts.toml",
                )
            })
        })
    }

    /// Whether it is certain that no captured table matches a pattern.
    pub(crate) fn has_none(&self, glob: &(String, String)) -> bool {
        !self.told.is_empty() && self.knows_all() && !self.tables.iter().any(|of| fits(glob, of))
    }

    /// Whether every `dts` has told its tables.
    fn knows_all(&self) -> bool {
        self.silent.is_empty() && self.told.iter().all(|(_, catalog)| catalog.is_whole)
    }

    fn why_none(&self, glob: &(String, String), listener: &ListenerConfig) -> Reason {
        let (schema, table) = glob;
        let waits = match listener.full_sync_first {
            true => "; until then its first full sync waits, too",
            false => "",
        };
        let none = format!("subscribe: {schema}.{table} fits no table that is captured{waits}");
        let lower = (schema.to_lowercase(), table.to_lowercase());
        let is_same = |of: &&Table| {
            let of = Table {
                schema: of.schema.to_lowercase(),
                table: of.table.to_lowercase(),
                ..Table::default()
            };
            fits(&lower, &of)
        };
        if let Some(same) = self.tables.iter().find(is_same) {
            let same = name_of(same);
            return Reason::new(none, format!("upper and lower case count: write it as {same}"));
        }
        if let Some((of_schema, of_table)) = schema.split_once('.') {
            let right = format!("subscribe = {{ {of_schema} = [{of_table:?}] }}");
            return Reason::new(none, format!("a table is named in its schema: write {right}"));
        }
        let is_name = |text: &String| !text.contains(['*', '?']);
        let is_one = is_name(schema) && is_name(table);
        let is_captured = self.told.iter().any(|of| of.1.captured.includes(schema, table));
        let names = self.tables.iter().filter(|of| glob::matches(schema, &of.schema));
        let names = listed(names.map(|of| of.table.clone()));
        let remedy = match (is_one, is_captured) {
            (true, false) => {
                format!("add it to capture.tables of {}, or correct it", self.captured())
            }
            _ if !names.is_empty() => format!(
                "correct it: the tables of {schema} are {names}; one that was just made is known \
                 after some seconds"
            ),
            (true, true) => "MySQL shows dts no such table: make it, correct the name, or grant \
                 SELECT on it to the account of dts"
                .to_owned(),
            (false, _) => format!("correct the schema, or see {}", self.captured()),
        };
        Reason::new(none, remedy)
    }

    /// What each captures, in words.
    fn captured(&self) -> String {
        let one = |(name, catalog): &(String, Catalog)| {
            let Captured { tables, exclude } = &catalog.captured;
            let globs = |globs: &[(String, String)]| {
                listed(globs.iter().map(|(schema, table)| format!("{schema}.{table}")))
            };
            let tables = if tables.is_empty() { "all".to_owned() } else { globs(tables) };
            match exclude.is_empty() {
                true => format!("dts {name} (it captures {tables})"),
                false => format!("dts {name} (it captures {tables}, without {})", globs(exclude)),
            }
        };
        listed(self.told.iter().map(one))
    }
}

/// Whether none of these tables has a column, as far as their columns are known.
fn lacks(tables: &[&Table], column: &str) -> Option<Reason> {
    let has = |table: &&Table| {
        let columns = table.columns.as_ref();
        columns.is_none_or(|columns| columns.iter().any(|found| found.name == column))
    };
    if tables.is_empty() || tables.iter().any(has) {
        return None;
    }
    let columns = tables.iter().flat_map(|table| table.columns.iter().flatten());
    let names: BTreeSet<String> = columns.map(|found| found.name.clone()).collect();
    Some(Reason::new(
        format!("columns: no table that the listener gets has a column {column:?}"),
        format!("correct it: there are {}", listed(names.into_iter())),
    ))
}

fn fits((schema, table): &(String, String), of: &Table) -> bool {
    glob::matches(schema, &of.schema) && glob::matches(table, &of.table)
}

fn name_of(table: &Table) -> String {
    format!("{}.{}", table.schema, table.table)
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(MAX_NAMES);
    let told = names.iter().take(MAX_NAMES).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{told} and {more} more") } else { told }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use full_sync::TableColumn;

    use super::*;
    use crate::config::Config;

    fn table(schema: &str, table: &str, columns: &[&str]) -> Table {
        let column =
            |name: &&str| TableColumn { name: (*name).to_owned(), ..TableColumn::default() };
        Table {
            schema: schema.to_owned(),
            table: table.to_owned(),
            columns: Some(columns.iter().map(column).collect()),
            primary_key: Vec::new(),
        }
    }

    /// One `dts`, which captures `a.b`, and all of `shop` except `shop.secret`.
    fn catalogs() -> Catalogs {
        let glob = |schema: &str, table: &str| (schema.to_owned(), table.to_owned());
        let captured = Captured {
            tables: vec![glob("shop", "*"), glob("a", "b")],
            exclude: vec![glob("shop", "secret")],
        };
        let catalog = Catalog { captured, is_whole: true };
        let tables = [table("shop", "item", &["id", "name"]), table("shop", "order", &["id"])];
        let mut checkpoint = Checkpoint::new();
        checkpoint.insert(CAPTURED_KEY.to_owned(), catalog.to_bytes().into());
        for table in tables {
            checkpoint.insert(table.key(), table.to_bytes().into());
        }
        let mut all = Catalogs::default();
        all.add("one".to_owned(), &checkpoint);
        all
    }

    fn reach(catalogs: &Catalogs, toml: &str) -> Reach {
        let text = format!("[listeners.l]\nhandler = 'print'\n{toml}\n");
        let config = Config::parse(Path::new("l.toml"), &text).unwrap();
        catalogs.reach(&config.listeners["l"], "dbevents")
    }

    fn names(reach: &Reach) -> Vec<&str> {
        reach.tables.iter().map(String::as_str).collect()
    }

    #[test]
    fn what_fits_is_reached_and_nothing_is_wrong() {
        for (toml, tables) in [
            ("", &["shop.item", "shop.order"][..]),
            ("subscribe = { shop = [] }", &["shop.item", "shop.order"][..]),
            ("subscribe = { 'sh?p' = ['it*', 'item'] }\ncolumns = ['name']", &["shop.item"][..]),
        ] {
            let reach = reach(&catalogs(), toml);
            assert_eq!((names(&reach), &reach.reasons), (tables.to_vec(), &vec![]), "{toml}");
        }
    }

    #[test]
    fn what_fits_nothing_is_told_with_what_to_do() {
        for (toml, message, remedy) in [
            ("subscribe = { shop = ['itme'] }", "shop.itme fits no", "shop are item, order"),
            ("subscribe = { shop = ['Item'] }", "shop.Item fits no", "write it as shop.item"),
            ("subscribe = { 'shop.item' = [] }", "shop.item.* fits", "{ shop = [\"item\"] }"),
            ("subscribe = { shop = ['secret'] }", "shop.secret", "shop.*, a.b, without shop.s"),
            ("subscribe = { a = ['b'] }", "a.b fits no table", "MySQL shows dts no such table"),
            ("subscribe = { stop = ['x*'] }", "stop.x* fits no", "dts one (it captures shop.*"),
            ("columns = ['nosuch']", "no table that the listener gets has", "there are id, name"),
            ("subscribe = { x = [] }\nstart = 'full-sync'", "its first full sync waits", "dts one"),
        ] {
            let reach = reach(&catalogs(), toml);
            let [reason] = &reach.reasons[..] else { panic!("{toml}: {reach:?}") };
            assert!(reason.message.contains(message), "{toml}: {reason:?}");
            assert!(reason.remedy.contains(remedy), "{toml}: {reason:?}");
        }
    }

    #[test]
    fn one_pattern_of_several_is_told() {
        let reach = reach(&catalogs(), "subscribe = { shop = ['item', 'itme'], x = [] }");
        assert_eq!((names(&reach), reach.reasons.len()), (vec!["shop.item"], 2));
    }

    #[test]
    fn a_glob_that_fits_nothing_is_told() {
        let none = |catalogs: &Catalogs, schema: &str, table: &str| {
            let why = catalogs.why_nothing(&(schema.to_owned(), table.to_owned()), "dbevents");
            why.map(|why| why.message)
        };
        let known = catalogs();
        assert_eq!((none(&known, "shop", "i*"), none(&known, "*", "*")), (None, None));
        assert!(none(&known, "shop", "itm").unwrap().contains("shop.itm fits no table"));
        assert!(none(&Catalogs::default(), "*", "*").unwrap().contains("topicPrefix"));
    }

    #[test]
    fn a_prefix_of_nobody_is_told() {
        let reach = reach(&Catalogs::default(), "subscribe = { shop = ['item'] }");
        assert!(reach.reasons[0].message.contains("topicPrefix \"dbevents\""), "{reach:?}");
    }

    #[test]
    fn nothing_is_said_to_be_missing_while_something_is_not_known() {
        let toml = "subscribe = { shop = ['itme'] }\ncolumns = ['nosuch']";
        let mut with_old = catalogs();
        with_old.add("old".to_owned(), &Checkpoint::new());
        let mut cut_off = catalogs();
        cut_off.told[0].1.is_whole = false;
        for catalogs in [with_old, cut_off] {
            assert_eq!(reach(&catalogs, toml), Reach::default());
        }
        let mut without_columns = catalogs();
        without_columns.tables[0].columns = None;
        assert!(reach(&without_columns, "columns = ['nosuch']").reasons.is_empty());
    }
}
