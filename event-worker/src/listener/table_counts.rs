//! Counts the events of each table.

use serde::{Deserialize, Serialize};

/// Counts at most so many tables. Events of other tables are not counted here.
const MAX_TABLES: usize = 300;

/// The counts of each table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableCounts(Vec<Counted>);

/// The counts of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) schema: String,
    pub(crate) table: String,
    /// Events that came.
    pub(crate) received: u64,
    /// Events of those that the listener does not want.
    pub(crate) filtered: u64,
}

impl TableCounts {
    /// Counts one event of a table.
    pub(crate) fn count(&mut self, (schema, table): (&str, &str), is_wanted: bool) {
        if let Some(of) = self.of(schema, table) {
            of.received += 1;
            of.filtered += u64::from(!is_wanted);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for more in &other.0 {
            if let Some(of) = self.of(&more.schema, &more.table) {
                of.received += more.received;
                of.filtered += more.filtered;
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Counted> {
        self.0.iter()
    }

    /// The counts of a table. The last used table is first, because most events have the same table
    /// as the event before.
    fn of(&mut self, schema: &str, table: &str) -> Option<&mut Counted> {
        let is_it = |of: &Counted| of.table == table && of.schema == schema;
        match self.0.iter().position(is_it) {
            Some(at) => self.0.swap(0, at),
            None if self.0.len() >= MAX_TABLES => return None,
            None => {
                let (schema, table) = (schema.to_owned(), table.to_owned());
                self.0.push(Counted { schema, table, received: 0, filtered: 0 });
                let last = self.0.len() - 1;
                self.0.swap(0, last);
            }
        }
        self.0.first_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_is_counted_also_over_several_processes() {
        let mut first = TableCounts::default();
        for (table, is_wanted) in [("a", true), ("b", false), ("a", false)] {
            first.count(("s", table), is_wanted);
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
        (0..2 * MAX_TABLES).for_each(|n| counts.count(("s", &n.to_string()), true));
        assert_eq!(counts.iter().count(), MAX_TABLES);
    }
}
