//! What was altered at a table of the source while the listener runs: a sink adds columns, and
//! follows no other change, so somebody must do the same at the target.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use full_sync::{Table, TableColumn};

/// The definitions that were seen, and what is still to be done.
#[derive(Debug, Default)]
pub(crate) struct Altered(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// The source's table, by the target's.
    last: BTreeMap<String, Arc<Table>>,
    /// Columns of targets that are not as the source's are now.
    open: BTreeSet<(String, String)>,
}

/// How a table of the source is now, beside what it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceChange {
    /// Columns with another type.
    pub(crate) modified: Vec<Modified>,
    /// Old and new names of columns that were renamed, as far as that can be seen.
    pub(crate) renamed: Vec<(String, String)>,
}

/// A column with another type, by its name at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Modified {
    pub(crate) column: String,
    pub(crate) was: String,
    pub(crate) is: String,
}

impl Altered {
    /// This is the definition of the source's table now; gives what is another than when it was
    /// seen last.
    pub(crate) fn saw(&self, target: &str, source: &Arc<Table>) -> Option<SourceChange> {
        let mut seen = self.lock();
        if seen.last.get(target).is_some_and(|before| Arc::ptr_eq(before, source)) {
            return None;
        }
        let before = seen.last.insert(target.to_owned(), Arc::clone(source))?;
        let change = SourceChange::between(&before, source);
        (change != SourceChange::default()).then_some(change)
    }

    /// Whether a column of the target is as the source's, as somebody has just seen.
    pub(crate) fn settle(&self, target: &str, is_open: impl Fn(&str) -> bool) {
        self.lock().open.retain(|(of, column)| of != target || is_open(column));
    }

    /// A column of the target is not as the source's.
    pub(crate) fn open(&self, target: &str, column: &str) {
        self.lock().open.insert((target.to_owned(), column.to_owned()));
    }

    /// How many columns wait for somebody.
    pub(crate) fn count(&self) -> u64 {
        self.lock().open.len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SourceChange {
    fn between(before: &Table, now: &Table) -> Self {
        let (Some(before), Some(now)) = (&before.columns, &now.columns) else {
            return Self::default();
        };
        let find = |all: &[TableColumn], name: &str| {
            all.iter().position(|column| column.name.eq_ignore_ascii_case(name))
        };
        let modified = now.iter().filter_map(|column| {
            let was = before.get(find(before, &column.name)?)?;
            let (was, is) = (words(was), words(column));
            (was != is).then(|| Modified { column: column.name.clone(), was, is })
        });
        let gone: Vec<(usize, &TableColumn)> =
            before.iter().enumerate().filter(|(_, of)| find(now, &of.name).is_none()).collect();
        let new: Vec<(usize, &TableColumn)> =
            now.iter().enumerate().filter(|(_, of)| find(before, &of.name).is_none()).collect();
        let renamed = gone.iter().filter_map(|(at, old)| {
            let is_like = |(_, one): &&(usize, &TableColumn)| one.declared == old.declared;
            let in_place = new.iter().find(|one| one.0 == *at && is_like(one));
            let only = new.first().filter(|one| gone.len() == 1 && new.len() == 1 && is_like(one));
            let (_, name) = in_place.or(only)?;
            Some((old.name.clone(), name.name.clone()))
        });
        Self { modified: modified.collect(), renamed: renamed.collect() }
    }
}

/// A definition in words, as far as it matters for what a column holds.
fn words(column: &TableColumn) -> String {
    let mut words = column.declared.clone();
    for (what, value) in [("CHARACTER SET", &column.charset), ("COLLATE", &column.collation)] {
        if let Some(value) = value {
            words.push_str(&format!(" {what} {value}"));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[(&str, &str)]) -> Arc<Table> {
        let column = |(name, declared): &(&str, &str)| TableColumn {
            name: (*name).to_owned(),
            declared: (*declared).to_owned(),
            ..TableColumn::default()
        };
        let columns = Some(columns.iter().map(column).collect());
        Arc::new(Table { columns, ..Table::default() })
    }

    #[test]
    fn columns_that_were_modified_and_renamed_are_seen() {
        let altered = Altered::default();
        let saw = |columns: &[(&str, &str)]| altered.saw("t", &table(columns));
        assert_eq!(saw(&[("id", "int"), ("name", "varchar(9)"), ("n", "int")]), None);
        let change = saw(&[("id", "int"), ("title", "varchar(9)"), ("n", "bigint")]).unwrap();
        assert_eq!(change.renamed, [("name".to_owned(), "title".to_owned())]);
        let (column, was, is) = ("n".to_owned(), "int".to_owned(), "bigint".to_owned());
        assert_eq!(change.modified, [Modified { column, was, is }]);
        // At another place, but no other column is new.
        let moved = saw(&[("name", "varchar(9)"), ("id", "int"), ("n", "bigint")]).unwrap();
        assert_eq!(moved.renamed, [("title".to_owned(), "name".to_owned())]);
        assert_eq!(
            saw(&[("name", "varchar(9)"), ("id", "int"), ("n", "bigint"), ("m", "int")]),
            None
        );
    }

    #[test]
    fn a_column_counts_until_it_is_as_the_sources() {
        let altered = Altered::default();
        for column in ["a", "b", "b"] {
            altered.open("t", column);
        }
        assert_eq!(altered.count(), 2);
        altered.settle("other", |_| false);
        altered.settle("t", |column| column == "b");
        assert_eq!(altered.count(), 1);
    }
}
