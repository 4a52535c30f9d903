//! Fills, changes and empties tables, and checks that the changes show all of that.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use mysql_async::{Conn, prelude::Queryable as _};
use rand::rngs::StdRng;

use super::{ABSENT, Expected, Role, Rows, Table};

/// Makes changes through one connection, whose session must be [`super::SESSION`].
#[derive(Debug)]
pub struct Writer<'a> {
    /// Where it writes.
    pub conn: &'a mut Conn,
    /// The schema of its tables, unquoted.
    pub schema: &'a str,
    /// Where its random values come from.
    pub rng: &'a mut StdRng,
}

/// What a table held after each step.
#[derive(Debug)]
pub struct History {
    inserted: Rows,
    /// What it held before each third row was deleted.
    updated: Rows,
}

/// A change of a row, with its values as JSON texts in the order of the table's columns. Without
/// a row before it is an insert, without one after it a delete.
#[derive(Clone, Debug)]
pub struct Change {
    /// The row before the change.
    pub before: Option<Vec<String>>,
    /// The row after the change.
    pub after: Option<Vec<String>>,
}

impl Writer<'_> {
    /// Inserts the edges and so many random rows, updates some rows and deletes every third, in a
    /// transaction each. The table must be there, and empty.
    ///
    /// # Errors
    ///
    /// When the server refuses a statement.
    pub async fn write(&mut self, table: &Table, random_rows: usize) -> Result<History> {
        self.insert(table, random_rows).await.context("insert")?;
        let inserted = table.select(self.conn, self.schema).await?;
        self.update(table, &inserted).await.context("update")?;
        let updated = table.select(self.conn, self.schema).await?;
        let name = table.full_name(self.schema);
        self.conn.query_drop(format!("DELETE FROM {name} WHERE id % 3 = 0")).await?;
        Ok(History { inserted, updated })
    }

    async fn insert(&mut self, table: &Table, random_rows: usize) -> Result<()> {
        const BATCH: usize = 250;
        let mut id = 1;
        self.conn.query_drop("BEGIN").await?;
        for row in table.edges() {
            self.conn.query_drop(table.insert(self.schema, id, &[row])).await?;
            id += 1;
        }
        let mut left = random_rows;
        while left > 0 {
            let count = left.min(BATCH);
            let rows: Vec<_> = (0..count).map(|_| table.random_row(self.rng)).collect();
            self.conn.query_drop(table.insert(self.schema, id, &rows)).await?;
            id += i64::try_from(count)?;
            left -= count;
        }
        self.conn.query_drop("COMMIT").await?;
        Ok(())
    }

    async fn update(&mut self, table: &Table, rows: &Rows) -> Result<()> {
        self.conn.query_drop("BEGIN").await?;
        for id in rows.keys().step_by((rows.len() / 300).max(1)) {
            self.conn.query_drop(table.update(self.schema, *id, self.rng)).await?;
        }
        self.conn.query_drop("COMMIT").await?;
        Ok(())
    }
}

impl History {
    /// Whether these changes are all that were made, each once, with the values that the server
    /// answered.
    ///
    /// # Errors
    ///
    /// Names the first row and column that is wrong, or what is missing.
    pub fn check(&self, table: &Table, changes: &[Change]) -> Result<()> {
        let mut seen: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
        for change in changes {
            let (kind, id) = (change.kind(), change.id()?);
            ensure!(seen.entry(kind).or_default().insert(id), "a second {kind} of row {id}");
            self.check_change(table, change).with_context(|| format!("{kind} of row {id}"))?;
        }
        let none = BTreeSet::new();
        let of = |kind| seen.get(kind).unwrap_or(&none);
        ensure!(of("insert").iter().eq(self.inserted.keys()), "an insert is missing");
        let is_deleted = |id: &&i64| **id % 3 == 0;
        ensure!(
            of("delete").iter().eq(self.updated.keys().filter(is_deleted)),
            "a delete is missing"
        );
        let changed = self.inserted.iter().filter(|(id, row)| self.updated.get(id) != Some(row));
        ensure!(
            changed.map(|(id, _)| id).all(|id| of("update").contains(id)),
            "an update is missing"
        );
        Ok(())
    }

    fn check_change(&self, table: &Table, change: &Change) -> Result<()> {
        let id = change.id()?;
        let kind = change.kind();
        let (before, after) = match kind {
            "insert" => (None, self.inserted.get(&id)),
            "update" => (self.inserted.get(&id), self.updated.get(&id)),
            _ => (self.updated.get(&id), None),
        };
        same(table, (before, change.before.as_ref()), kind)?;
        same(table, (after, change.after.as_ref()), kind)
    }
}

impl Change {
    fn kind(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "insert",
            (Some(_), Some(_)) => "update",
            (Some(_), None) => "delete",
        }
    }

    fn id(&self) -> Result<i64> {
        let row = self.after.as_ref().or(self.before.as_ref()).context("a change of no row")?;
        Ok(row.first().context("a row without columns")?.parse()?)
    }
}

fn same(
    table: &Table,
    (expected, found): (Option<&Vec<Expected>>, Option<&Vec<String>>),
    kind: &str,
) -> Result<()> {
    let (Some(expected), Some(found)) = (expected, found) else {
        ensure!(expected.is_none() && found.is_none(), "a row is there or missing wrongly");
        return Ok(());
    };
    let names = table.column_names();
    ensure!(found.len() == names.len(), "{} columns instead of {}", found.len(), names.len());
    for ((name, expected), found) in names.iter().zip(expected).zip(found) {
        let column = table.columns.iter().find(|column| column.name == **name);
        let role = column.map(|column| column.role);
        let may_lack = kind != "insert" && matches!(role, Some(Role::Unlogged(_)));
        ensure!(
            expected.matches(found) || (may_lack && found == ABSENT),
            "column {name}: expected {:.300}, found {found:.300}",
            format!("{expected:?}")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::Domain, *};

    fn table() -> Table {
        Table::new("t", [("n".to_owned(), Domain::Int(32))])
    }

    /// Rows 2 and 3 with these values.
    fn rows(values: [i32; 2]) -> Rows {
        let text = |text: i64| Expected::Text(text.to_string());
        (2..).zip(values).map(|(id, n)| (id, vec![text(id), text(n.into())])).collect()
    }

    fn change(before: Option<[i32; 2]>, after: Option<[i32; 2]>) -> Change {
        let texts = |row: [i32; 2]| row.map(|value| value.to_string()).to_vec();
        Change { before: before.map(texts), after: after.map(texts) }
    }

    fn right_changes() -> [Change; 4] {
        [
            change(None, Some([2, 20])),
            change(None, Some([3, 30])),
            change(Some([2, 20]), Some([2, 21])),
            change(Some([3, 30]), None),
        ]
    }

    #[test]
    fn what_is_changed_missing_or_twice_among_changes_is_found() {
        let history = History { inserted: rows([20, 30]), updated: rows([21, 30]) };
        history.check(&table(), &right_changes()).unwrap();
        for at in 0..right_changes().len() {
            let mut changes = right_changes().to_vec();
            let removed = changes.remove(at);
            assert!(history.check(&table(), &changes).is_err(), "without {removed:?}");
            changes.extend([removed.clone(), removed.clone()]);
            assert!(history.check(&table(), &changes).is_err(), "twice {removed:?}");
            for is_before in [true, false] {
                let mut changes = right_changes();
                let change = &mut changes[at];
                let row = if is_before { &mut change.before } else { &mut change.after };
                let Some(row) = row else { continue };
                row[1] = "22".to_owned();
                assert!(history.check(&table(), &changes).is_err(), "{:?}", changes[at]);
            }
        }
    }
}
