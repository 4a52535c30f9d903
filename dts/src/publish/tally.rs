//! Counts the rows and records of each table, from one hand-over of a batch to the next.

use std::{
    ops::{AddAssign, Sub},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

/// What was counted of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TableCounts {
    /// Row changes read from the binlog.
    pub read: u64,
    /// Updates that became two records, because they changed the record's key.
    pub split: u64,
    /// Records of these changes: `published = read + split`, always.
    pub published: u64,
    /// Rows of full syncs that were published besides.
    pub full_sync: u64,
}

impl TableCounts {
    /// How many records of changes are missing; negative for records that are too many.
    pub fn missing(&self) -> i64 {
        (self.read + self.split).cast_signed() - self.published.cast_signed()
    }

    /// All records.
    pub fn records(&self) -> u64 {
        self.published + self.full_sync
    }
}

impl AddAssign for TableCounts {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.split += other.split;
        self.published += other.published;
        self.full_sync += other.full_sync;
    }
}

impl Sub for TableCounts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            read: self.read.saturating_sub(earlier.read),
            split: self.split.saturating_sub(earlier.split),
            published: self.published.saturating_sub(earlier.published),
            full_sync: self.full_sync.saturating_sub(earlier.full_sync),
        }
    }
}

/// A table by its name, and the topic that its records go to.
#[derive(Debug, PartialEq, Eq)]
pub struct CountedTable {
    /// `schema.table`.
    pub name: Arc<str>,
    /// Its topic; other tables may have the same.
    pub topic: Arc<str>,
}

/// The counts of some tables.
#[derive(Clone, Debug, Default)]
pub struct Tally(Vec<(Arc<CountedTable>, TableCounts)>);

impl Tally {
    /// Adds to the counts of a table.
    pub(crate) fn add(&mut self, table: &Arc<CountedTable>, counts: TableCounts) {
        // Most rows are of the same table as the row before.
        if let Some((last, of)) = self.0.last_mut()
            && Arc::ptr_eq(last, table)
        {
            *of += counts;
            return;
        }
        match self.0.iter().position(|(known, _)| known == table) {
            Some(at) => {
                let (_, mut of) = self.0.swap_remove(at);
                of += counts;
                self.0.push((Arc::clone(table), of));
            }
            None => self.0.push((Arc::clone(table), counts)),
        }
    }

    /// Adds all counts of another one.
    pub(crate) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(table, counts)| self.add(table, *counts));
    }

    /// Adds what was counted after an earlier state.
    pub(super) fn add_since(&mut self, now: &Self, earlier: &Self) {
        for (table, counts) in &now.0 {
            let before = earlier.0.iter().find(|(known, _)| known == table);
            self.add(table, *counts - before.map(|(_, before)| *before).unwrap_or_default());
        }
    }

    /// Forgets all counts, and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The counts of each table.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<CountedTable>, &TableCounts)> {
        self.0.iter().map(|(table, counts)| (table, counts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> Arc<CountedTable> {
        Arc::new(CountedTable { name: name.into(), topic: "t".into() })
    }

    fn one_row() -> TableCounts {
        TableCounts { read: 1, published: 1, ..TableCounts::default() }
    }

    #[test]
    fn a_table_is_counted_once_whichever_plan_it_has() {
        let mut tally = Tally::default();
        for name in ["a", "b", "a", "a"] {
            tally.add(&table(name), one_row());
        }
        let mut counts: Vec<_> =
            tally.iter().map(|(of, counts)| (&*of.name, counts.read)).collect();
        counts.sort_unstable();
        assert_eq!(counts, [("a", 3), ("b", 1)]);
    }

    #[test]
    fn what_was_handed_over_before_is_not_counted_again() {
        let (a, b) = (table("a"), table("b"));
        let mut open = Tally::default();
        open.add(&a, one_row());
        let handed = open.clone();
        open.add(&a, one_row());
        open.add(&b, one_row());
        let mut rest = Tally::default();
        rest.add_since(&open, &handed);
        assert_eq!(rest.iter().map(|(_, counts)| counts.read).collect::<Vec<_>>(), [1, 1]);
        assert!(rest.iter().all(|(_, counts)| counts.missing() == 0));
    }
}
