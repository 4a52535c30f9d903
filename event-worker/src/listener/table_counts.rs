//! Counts the events of each table.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::table_name::TableName;

/// Counts at most so many tables. Events of other tables are not counted here.
const MAX_TABLES: usize = 300;

/// The counts of each table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableCounts(Vec<Counted>);

/// The counts of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) schema: String,
    pub(crate) table: String,
    /// Events that came.
    pub(crate) received: u64,
    /// Events of those that the listener does not want.
    #[serde(default)]
    pub(crate) filtered: u64,
    /// Events that the handler has done.
    #[serde(default)]
    pub(crate) done: u64,
    /// Events that are not for this process any more: another one gets them.
    #[serde(default)]
    pub(crate) returned: u64,
    /// Events that wait aside, or did.
    #[serde(default)]
    pub(crate) aside: u64,
    /// Events that are done, and had waited aside before.
    #[serde(default)]
    pub(crate) from_aside: u64,
    /// Events that were found to be missing.
    #[serde(default)]
    pub(crate) lost: u64,
}

impl Counted {
    /// Events that are not done yet, and do not wait aside: as in the sum of all tables.
    pub(crate) fn waiting(&self) -> u64 {
        let Self { received, filtered, done, returned, aside, from_aside, lost, .. } = self;
        (received + from_aside).saturating_sub(filtered + done + returned + aside + lost)
    }
}

/// The names of the tables that came, so that all events of a table share one.
#[derive(Debug, Default)]
pub(super) struct TableNames(Vec<Arc<TableName>>);

impl TableNames {
    pub(super) fn of(&mut self, schema: &str, table: &str) -> Arc<TableName> {
        let is_it = |name: &Arc<TableName>| name.table == table && name.schema == schema;
        if let Some(at) = self.0.iter().position(is_it) {
            // Most events have the same table as the event before.
            self.0.swap(0, at);
            return Arc::clone(&self.0[0]);
        }
        let (schema, table) = (schema.to_owned(), table.to_owned());
        let name = Arc::new(TableName { schema, table });
        if self.0.len() < MAX_TABLES {
            self.0.push(Arc::clone(&name));
        }
        name
    }
}

impl TableCounts {
    /// Counts one event of a table that came.
    pub(super) fn came(&mut self, (schema, table): (&str, &str), is_wanted: bool) {
        let of = self.of(schema, table);
        of.received += 1;
        of.filtered += u64::from(!is_wanted);
    }

    /// The counts of a table, to change them. Has room for every table, until it is merged.
    pub(super) fn of_table(&mut self, TableName { schema, table }: &TableName) -> &mut Counted {
        self.of(schema, table)
    }

    /// Adds others, as far as there is room for more tables.
    pub(crate) fn merge(&mut self, other: &Self) {
        for more in &other.0 {
            let (schema, table) = (&more.schema, &more.table);
            if self.0.len() >= MAX_TABLES && !self.0.iter().any(|of| of.is_of(schema, table)) {
                continue;
            }
            let of = self.of(schema, table);
            of.received += more.received;
            of.filtered += more.filtered;
            of.done += more.done;
            of.returned += more.returned;
            of.aside += more.aside;
            of.from_aside += more.from_aside;
            of.lost += more.lost;
        }
    }

    /// These were counted as returned, and are not.
    pub(super) fn take_back(&mut self, had_gone: &Self) {
        for more in &had_gone.0 {
            let is_it = |of: &&mut Counted| of.is_of(&more.schema, &more.table);
            if let Some(of) = self.0.iter_mut().find(is_it) {
                of.returned = of.returned.saturating_sub(more.returned);
            }
        }
    }

    /// The process has ended: what waited in it goes to another.
    pub(super) fn end(&mut self) {
        self.0.iter_mut().for_each(|of| of.returned += of.waiting());
    }

    /// Nothing waits: gives the tables of which something does, and how much. That is lost.
    pub(super) fn settle(&mut self) -> Vec<(String, u64)> {
        let stray = self.0.iter_mut().filter(|of| of.waiting() > 0).map(|of| {
            let lost = of.waiting();
            of.lost += lost;
            (format!("{}.{}", of.schema, of.table), lost)
        });
        stray.collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Counted> {
        self.0.iter()
    }

    /// The counts of a table. The last used table is first, because most events have the same table
    /// as the event before.
    fn of(&mut self, schema: &str, table: &str) -> &mut Counted {
        let at = self.0.iter().position(|of| of.is_of(schema, table)).unwrap_or_else(|| {
            let (schema, table) = (schema.to_owned(), table.to_owned());
            self.0.push(Counted { schema, table, ..Counted::default() });
            self.0.len() - 1
        });
        self.0.swap(0, at);
        &mut self.0[0]
    }
}

impl Counted {
    fn is_of(&self, schema: &str, table: &str) -> bool {
        self.table == table && self.schema == schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_is_counted_also_over_several_processes() {
        let mut first = TableCounts::default();
        for (table, is_wanted) in [("a", true), ("b", false), ("a", false)] {
            first.came(("s", table), is_wanted);
        }
        let mut all = first.clone();
        all.merge(&first);
        let mut shown: Vec<_> =
            all.iter().map(|of| (of.table.as_str(), of.received, of.filtered)).collect();
        shown.sort_unstable();
        assert_eq!(shown, [("a", 4, 2), ("b", 2, 2)]);
    }

    #[test]
    fn there_is_a_limit() {
        let mut counts = TableCounts::default();
        for n in 0..2 * MAX_TABLES {
            let mut one = TableCounts::default();
            one.came(("s", &n.to_string()), true);
            counts.merge(&one);
        }
        assert_eq!(counts.iter().count(), MAX_TABLES);
    }

    #[test]
    fn what_waits_with_nobody_is_lost_and_told_once() {
        let mut counts = TableCounts::default();
        for (table, is_wanted) in [("a", true), ("a", true), ("a", false), ("b", true)] {
            counts.came(("s", table), is_wanted);
        }
        let name = |table: &str| TableName { schema: "s".to_owned(), table: table.to_owned() };
        counts.of_table(&name("a")).done += 1;
        counts.of_table(&name("b")).returned += 1;
        let mut ended = counts.clone();
        assert_eq!(counts.settle(), [("s.a".to_owned(), 1)]);
        assert_eq!(counts.settle(), []);
        ended.end();
        assert_eq!(ended.settle(), []);
    }
}
