//! The statements that bring the changes of one table to the target.
//!
//! Of several changes of a row only the last counts, as long as each has the whole row: first the
//! rows that are gone are deleted, then the others are written, many in one statement. Changes of
//! rows of which one lacks columns (`binlog_row_image = MINIMAL`) are carried out one after the
//! other.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    audit::AUDIT_COLUMNS,
    literal::named,
    members::Members,
    rows::{Extent, Literals, RowChange, RowKey},
    table::TargetTable,
};
use crate::{change::Change, figures::Written};

/// A statement is not longer, but for one row that is.
const MAX_STATEMENT_BYTES: usize = 1 << 20;

const MAX_ROWS: usize = 1000;

/// What the statements of a table need.
#[derive(Clone, Copy)]
pub(super) struct StatementMaker<'t> {
    pub(super) table: &'t TargetTable,
    /// The place of the column with the number of the change that wrote the row.
    pub(super) version: Option<usize>,
    pub(super) is_mariadb: bool,
}

/// What is to be done, in its order.
#[derive(Debug, Default)]
pub(super) struct Statements<'w> {
    pub(super) steps: Vec<Step<'w>>,
    pub(super) written: Written,
}

#[derive(Debug)]
pub(super) enum Step<'w> {
    Run(String),
    Part(Part<'w>),
}

/// Some columns of a row that should be there.
#[derive(Debug)]
pub(super) struct Part<'w> {
    /// Run in turn, until one finds the row.
    pub(super) tries: Vec<String>,
    /// Run when the first one has found it: what else is to be done then.
    pub(super) then: Option<String>,
    pub(super) change: &'w Change<'w>,
    /// The row was under another key, and its delete came in another call.
    pub(super) is_torn: bool,
}

impl<'w> StatementMaker<'_> {
    /// The statements for changes of the table, which are in their order.
    pub(super) fn apply(self, changes: &'w [RowChange<'w, 'w>]) -> Statements<'w> {
        let mut made = Statements::default();
        let in_order = in_order(changes);
        let (ordered, others): (Vec<_>, Vec<_>) =
            changes.iter().partition(|change| in_order.contains(&change.key));
        self.last_of_each(&others, &mut made);
        self.one_by_one(&ordered, &mut made);
        made
    }

    /// The statements that add the changes to an audit log.
    pub(super) fn append(self, changes: &[RowChange<'_, '_>]) -> Statements<'w> {
        let (mut made, mut after) = (Statements::default(), Vec::new());
        let mut rows = RowSets::default();
        for change in changes {
            let Some(row) = &change.row else { continue };
            rows.add(row);
            after.extend(self.empties(row, &change.key, None));
            made.written.rows += 1;
        }
        let same = format!(" ON DUPLICATE KEY UPDATE `{0}` = `{0}`", AUDIT_COLUMNS[0].0);
        rows.inserts(self.table, |_| same.clone(), &mut made.steps);
        made.steps.extend(after);
        made
    }

    fn last_of_each(self, changes: &[&RowChange<'_, '_>], made: &mut Statements<'w>) {
        let mut last: BTreeMap<&RowKey, &RowChange<'_, '_>> = BTreeMap::new();
        for change in changes {
            last.insert(&change.key, change);
        }
        let (mut rows, mut after, mut gone) = (RowSets::default(), Vec::new(), Vec::new());
        for change in last.values() {
            if change.extent != Extent::Whole {
                gone.push(*change);
            }
            if let Some(row) = &change.row {
                rows.add(row);
                after.extend(self.empties(row, &change.key, change.seq()));
                made.written.rows += 1;
            } else {
                made.written.deletes += 1;
            }
        }
        for some in gone.chunks(MAX_ROWS) {
            made.steps.push(Step::Run(self.delete(some)));
        }
        let key: &[usize] = changes.first().map_or(&[], |change| &change.key.columns);
        rows.inserts(self.table, |columns| self.upsert(columns, key), &mut made.steps);
        made.steps.extend(after);
    }

    fn one_by_one(self, changes: &[&'w RowChange<'w, 'w>], made: &mut Statements<'w>) {
        let mut moved_from = None;
        for (at, change) in changes.iter().enumerate() {
            let Some(row) = &change.row else {
                let next = changes.get(at + 1);
                if next.is_some_and(|next| is_taken_over(change, next)) {
                    moved_from = Some(&change.key);
                } else {
                    made.written.deletes += 1;
                    made.steps.push(Step::Run(self.delete(&[*change])));
                }
                continue;
            };
            made.written.rows += 1;
            if change.extent == Extent::New {
                made.steps.push(Step::Run(self.delete(&[*change])));
            }
            if change.extent == Extent::Part {
                made.steps.push(Step::Part(self.part(change, row, moved_from.take())));
            } else {
                let mut rows = RowSets::default();
                rows.add(row);
                let upsert = |columns: &[usize]| self.upsert(columns, &change.key.columns);
                rows.inserts(self.table, upsert, &mut made.steps);
            }
            made.steps.extend(self.empties(row, &change.key, change.seq()));
        }
    }

    /// What brings some columns of a row, which was under another key where `old` is given. A row
    /// that is under the new key was brought there when the same change came before.
    fn part(self, change: &'w RowChange<'w, 'w>, row: &Literals, old: Option<&RowKey>) -> Part<'w> {
        let mut tries = vec![self.update(change, row, &change.key)];
        tries.extend(old.map(|old| self.update(change, row, old)));
        let then = old.map(|old| {
            let condition = self.condition(old, change.seq());
            format!("DELETE FROM {} WHERE {condition}", self.table.quoted())
        });
        let is_torn = change.wanted.change.half('i').is_some() && old.is_none();
        Part { tries, then, change: &change.wanted.change, is_torn }
    }

    /// Changes columns of the row under a key, if it is not newer. It is found in any case.
    fn update(self, change: &RowChange<'_, '_>, row: &Literals, key: &RowKey) -> String {
        let version = self.version.map(|at| self.name(at));
        let newer = version.as_ref().zip(change.seq()).map(|(of, seq)| format!("{of} > {seq}"));
        let set = |(at, literal): (usize, &str)| {
            let name = self.name(at);
            match &newer {
                Some(newer) => {
                    format!("{name} = IF({newer}, {name}{}, {literal})", self.as_number(at))
                }
                None => format!("{name} = {literal}"),
            }
        };
        let of_key = change.key.iter().filter(|(at, _)| !row.columns.contains(at));
        // The version comes last: the others look at it.
        let sets: Vec<String> = of_key.chain(row.iter()).map(set).collect();
        let found = self.condition(key, None);
        format!("UPDATE {} SET {} WHERE {found}", self.table.quoted(), sets.join(", "))
    }

    /// The statement that gives ENUM columns of a row the empty value.
    fn empties(self, row: &Literals, key: &RowKey, seq: Option<u64>) -> Option<Step<'w>> {
        let sets: Vec<String> =
            row.empty.iter().map(|at| format!("{} = ''", self.name(*at))).collect();
        (!sets.is_empty()).then(|| {
            let (table, condition) = (self.table.quoted(), self.condition(key, seq));
            Step::Run(format!("UPDATE IGNORE {table} SET {} WHERE {condition}", sets.join(", ")))
        })
    }

    /// The value that the statement brings for a column.
    fn brought(self, quoted: &str) -> String {
        match self.is_mariadb {
            true => format!("VALUES({quoted})"),
            false => format!("new.{quoted}"),
        }
    }

    /// What becomes of a row that is there already. If it is there because of another unique key,
    /// it is another row: then its key becomes NULL, which is an error.
    fn upsert(self, columns: &[usize], key: &[usize]) -> String {
        let table = self.table.quoted();
        let there = |column: &str| format!("{table}.{column}");
        // Whether the row that is there is newer than the one that comes.
        let newer = self
            .version
            .map(|at| self.name(at))
            .map(|version| format!("{} > {}", there(&version), self.brought(&version)));
        let kept_if_newer = |at: usize| {
            let (column, number) = (self.name(at), self.as_number(at));
            let brought = format!("{}{number}", self.brought(&column));
            match &newer {
                Some(newer) => {
                    format!("{column} = IF({newer}, {}{number}, {brought})", there(&column))
                }
                None => format!("{column} = {brought}"),
            }
        };
        let keys: Vec<String> = key.iter().map(|at| self.name(*at)).collect();
        let same: Vec<String> =
            keys.iter().map(|key| format!("{} <=> {}", there(key), self.brought(key))).collect();
        let guard = keys
            .first()
            .map(|key| format!("{key} = IF({}, {}, NULL)", same.join(" AND "), there(key)));
        // The version comes last: the others look at it.
        let others = columns.iter().filter(|at| !key.contains(at));
        let all = others.map(|at| kept_if_newer(*at));
        let sets: Vec<String> = guard.into_iter().chain(all).collect();
        let alias = if self.is_mariadb { "" } else { " AS new" };
        format!("{alias} ON DUPLICATE KEY UPDATE {}", sets.join(", "))
    }

    /// A column's value goes from row to row as a text, and the text of a SET or an ENUM may be
    /// taken for that of another member: so as a number. But the server takes no number for an empty
    /// ENUM value, which a row that is kept may have.
    fn as_number(self, at: usize) -> &'static str {
        match self.table.columns.get(at).map(|column| (&column.members, self.version)) {
            Some((Members::Set(_), _) | (Members::Enum(_), None)) => " | 0",
            _ => "",
        }
    }

    fn delete(self, gone: &[&RowChange<'_, '_>]) -> String {
        let condition = match (self.version, gone.first()) {
            (None, Some(first)) => {
                let names: Vec<String> =
                    first.key.columns.iter().map(|at| self.name(*at)).collect();
                let keys: Vec<String> = gone
                    .iter()
                    .map(|change| format!("({})", change.key.literals.join(",")))
                    .collect();
                format!("({}) IN ({})", names.join(","), keys.join(","))
            }
            _ => {
                let each = gone.iter().map(|change| self.condition(&change.key, change.seq()));
                each.collect::<Vec<_>>().join(" OR ")
            }
        };
        format!("DELETE FROM {} WHERE {condition}", self.table.quoted())
    }

    /// The condition of a row that is not newer than the change.
    fn condition(self, key: &RowKey, seq: Option<u64>) -> String {
        let mut parts: Vec<String> =
            key.iter().map(|(at, literal)| format!("{} = {literal}", self.name(at))).collect();
        if let (Some(version), Some(seq)) = (self.version.map(|at| self.name(at)), seq) {
            parts.push(format!("({version} IS NULL OR {version} <= {seq})"));
        }
        format!("({})", parts.join(" AND "))
    }

    fn name(self, at: usize) -> String {
        self.table.columns.get(at).map_or_else(String::new, |column| named(&column.name))
    }
}

/// The keys whose changes are carried out one after the other: one of them is only a part.
fn in_order<'w>(changes: &'w [RowChange<'_, '_>]) -> BTreeSet<&'w RowKey> {
    let mut keys = BTreeSet::new();
    for (at, change) in changes.iter().enumerate() {
        if change.extent != Extent::Part {
            continue;
        }
        keys.insert(&change.key);
        let before = at.checked_sub(1).and_then(|before| changes.get(before));
        keys.extend(before.filter(|before| is_taken_over(before, change)).map(|of| &of.key));
    }
    keys
}

/// Whether a change is the second half of an update that changed the key, and lacks columns: their
/// values are in the row under the old key, of which `first` is the delete.
fn is_taken_over(first: &RowChange<'_, '_>, next: &RowChange<'_, '_>) -> bool {
    let halves = (first.wanted.change.half('d'), next.wanted.change.half('i'));
    next.extent == Extent::Part && matches!(halves, (Some(one), Some(other)) if one == other)
}

/// Rows to insert, by their columns.
#[derive(Default)]
struct RowSets<'r>(BTreeMap<&'r [usize], Vec<&'r str>>);

impl<'r> RowSets<'r> {
    fn add(&mut self, row: &'r Literals) {
        self.0.entry(&row.columns).or_default().push(&row.text);
    }

    /// Appends the statements; each ends with what `tail` gives for its columns.
    fn inserts(
        self,
        table: &TargetTable,
        tail: impl Fn(&[usize]) -> String,
        steps: &mut Vec<Step<'_>>,
    ) {
        for (columns, rows) in self.0 {
            let names: Vec<String> = columns
                .iter()
                .filter_map(|at| table.columns.get(*at))
                .map(|column| named(&column.name))
                .collect();
            let head = format!("INSERT INTO {} ({}) VALUES ", table.quoted(), names.join(","));
            let tail = tail(columns);
            let mut statement = head.clone();
            let mut count = 0;
            for row in rows {
                let is_full =
                    count >= MAX_ROWS || statement.len() + row.len() > MAX_STATEMENT_BYTES;
                if count > 0 && is_full {
                    statement.push_str(&tail);
                    steps.push(Step::Run(std::mem::replace(&mut statement, head.clone())));
                    count = 0;
                }
                if count > 0 {
                    statement.push(',');
                }
                statement.push('(');
                statement.push_str(row);
                statement.push(')');
                count += 1;
            }
            statement.push_str(&tail);
            steps.push(Step::Run(statement));
        }
    }
}
