//! The statements that bring the changes of one table to the target.
//!
//! Of several changes of a row only the last counts, as long as each has the whole row: first the
//! rows that are gone are deleted, then the others are written, many in one statement. Changes that
//! lack columns (`binlog_row_image = MINIMAL`) are carried out one after the other.

use std::collections::{BTreeMap, BTreeSet};

use change_event::Action;

use super::{
    audit::{self, AUDIT_COLUMNS},
    create::quoted,
    literal::{named, push},
    table::TargetTable,
};
use crate::{
    change::{Change, Column, Unusable},
    figures::Written,
    shape::{Shape, Wanted},
    value::Kind,
};

/// A statement is not longer, but for one row that is.
const MAX_STATEMENT_BYTES: usize = 1 << 20;

const MAX_ROWS: usize = 1000;

/// What the statements of a table need.
#[derive(Clone, Copy)]
pub(super) struct StatementMaker<'t> {
    pub(super) table: &'t TargetTable,
    pub(super) shape: &'t Shape,
    pub(super) version_column: Option<&'t str>,
    pub(super) appends_keyless: bool,
    pub(super) is_mariadb: bool,
}

/// Statements, in their order, and what they do.
#[derive(Debug, Default)]
pub(super) struct Statements {
    pub(super) sql: Vec<String>,
    pub(super) written: Written,
    pub(super) unusable: Vec<Unusable>,
}

/// The key of a row that is gone, and the number of the change that deleted it.
type GoneRow<'k> = (&'k Vec<(String, String)>, Option<u64>);

/// The columns of a row.
#[derive(Default)]
struct RowLiterals {
    names: Vec<String>,
    literals: Vec<String>,
    /// The ENUM columns with the empty value that a server stores in place of an invalid one. It
    /// takes that in an UPDATE IGNORE only.
    empty: Vec<String>,
}

/// A change with the literals of its key's columns.
struct Keyed<'w, 'a> {
    wanted: &'w Wanted<'a>,
    key: Vec<(String, String)>,
}

impl StatementMaker<'_> {
    /// The statements for changes of the table, which are in their order.
    pub(super) fn apply(&self, changes: &[&Wanted<'_>]) -> Statements {
        let mut made = Statements::default();
        let mut keyed = Vec::with_capacity(changes.len());
        for wanted in changes {
            match self.key(&wanted.change) {
                Ok(key) if key.is_empty() => self.keyless(wanted, &mut made),
                Ok(key) => keyed.push(Keyed { wanted, key }),
                Err(why) => made.unusable.push(wanted.change.unusable(why)),
            }
        }
        match keyed.iter().all(|one| self.is_whole(one.wanted)) {
            true => self.last_of_each(keyed, &mut made),
            false => self.one_by_one(&keyed, &mut made),
        }
        made
    }

    /// The statements that add the changes to an audit log.
    pub(super) fn append(&self, changes: &[&Wanted<'_>]) -> Statements {
        let (mut made, mut after) = (Statements::default(), Vec::new());
        let mut rows = RowSets::default();
        for wanted in changes {
            let change = &wanted.change;
            let row = match &wanted.row {
                Some(row) => Ok(row.clone()),
                None => self.shape.row(change),
            };
            let row = row.and_then(|row| self.row(&row, change));
            match row {
                Ok(RowLiterals { mut names, mut literals, empty }) => {
                    names.extend(AUDIT_COLUMNS.map(|(name, _)| name.to_owned()));
                    let audit = audit::literals(change);
                    let key = [(AUDIT_COLUMNS[0].0.to_owned(), audit[0].clone())];
                    literals.extend(audit);
                    rows.add(names, literals);
                    after.extend(self.empties(&empty, &key, None));
                    made.written.rows += 1;
                }
                Err(why) => made.unusable.push(change.unusable(why)),
            }
        }
        let same = format!(" ON DUPLICATE KEY UPDATE `{0}` = `{0}`", AUDIT_COLUMNS[0].0);
        rows.inserts(self.table, |_| same.clone(), "", &mut made.sql);
        made.sql.extend(after);
        made
    }

    /// Whether the change has all columns that the target takes from the source; a delete has what
    /// it needs.
    fn is_whole(&self, wanted: &Wanted<'_>) -> bool {
        let Some(row) = &wanted.row else { return true };
        let has = |name: &String| row.iter().any(|(column, _)| column == name);
        // What an insert lacks has its default, here as there; but not when it is the second half
        // of a changed key.
        let is_new = wanted.change.read.action == Action::Insert
            && !wanted.change.event.ev_id().ends_with('i');
        is_new || self.table.from_source.iter().all(has)
    }

    /// The literals of the key's columns.
    fn key(&self, change: &Change<'_>) -> Result<Vec<(String, String)>, String> {
        change
            .key
            .iter()
            .map(|(name, json)| {
                let name = self.shape.name_of(name).into_owned();
                let Some(column) = self.table.columns.get(&name) else {
                    return Err(format!("the target has no column {name}, which is of the key"));
                };
                let mut literal = String::new();
                push(&mut literal, column.kind, json).map_err(|why| format!("{name}: {why}"))?;
                Ok((name, literal))
            })
            .collect()
    }

    /// Names and literals of a row's columns, without those that the target computes.
    fn row(&self, row: &[Column<'_>], change: &Change<'_>) -> Result<RowLiterals, String> {
        let RowLiterals { mut names, mut literals, mut empty } = RowLiterals::default();
        for (name, json) in row {
            let Some(column) = self.table.columns.get(&**name) else {
                return Err(format!(
                    "the target has no column {name}: add it there, set create = true, or leave \
                     it out with columns.exclude"
                ));
            };
            if column.is_generated {
                continue;
            }
            let mut literal = String::new();
            push(&mut literal, column.kind, json).map_err(|why| format!("{name}: {why}"))?;
            // The document `null` looks as NULL does.
            if column.kind == Kind::Json && !column.is_nullable && literal == "NULL" {
                "'null'".clone_into(&mut literal);
            }
            if column.kind == Kind::Enum && literal == "''" {
                empty.push(name.to_string());
                // Some member, for the moment.
                "1".clone_into(&mut literal);
            }
            names.push(name.to_string());
            literals.push(literal);
        }
        if let Some(version) = self.version_column {
            let seq = change.read.seq.ok_or("the event has no Seq: it is of an old dts")?;
            names.push(version.to_owned());
            literals.push(seq.to_string());
        }
        Ok(RowLiterals { names, literals, empty })
    }

    fn keyless(&self, wanted: &Wanted<'_>, made: &mut Statements) {
        let change = &wanted.change;
        if !self.appends_keyless {
            let why = "the table has no key: set keyColumns in dts.toml, keyless = \"append\" to \
                       insert its rows and never change them, or leave the table out";
            made.unusable.push(change.unusable(why));
            return;
        }
        let Some(row) = &wanted.row else { return };
        match self.row(row, change) {
            Ok(RowLiterals { names, literals, .. }) => {
                let mut rows = RowSets::default();
                rows.add(names, literals);
                rows.inserts(self.table, |_| String::new(), "", &mut made.sql);
                made.written.rows += 1;
            }
            Err(why) => made.unusable.push(change.unusable(why)),
        }
    }

    fn last_of_each(&self, keyed: Vec<Keyed<'_, '_>>, made: &mut Statements) {
        let mut last: BTreeMap<Vec<(String, String)>, &Wanted<'_>> = BTreeMap::new();
        for Keyed { wanted, key } in keyed {
            last.insert(key, wanted);
        }
        let (mut rows, mut after) = (RowSets::default(), Vec::new());
        let mut gone = Vec::new();
        for (key, wanted) in &last {
            match &wanted.row {
                None => gone.push((key, wanted.change.read.seq)),
                Some(row) => match self.row(row, &wanted.change) {
                    Ok(RowLiterals { names, literals, empty }) => {
                        rows.add(names, literals);
                        after.extend(self.empties(&empty, key, wanted.change.read.seq));
                        made.written.rows += 1;
                    }
                    Err(why) => made.unusable.push(wanted.change.unusable(why)),
                },
            }
        }
        made.written.deletes += gone.len() as u64;
        for some in gone.chunks(MAX_ROWS) {
            made.sql.push(self.delete(some));
        }
        let keys: BTreeSet<&str> =
            last.keys().next().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        rows.inserts(self.table, |names| self.upsert(names, &keys), self.alias(), &mut made.sql);
        made.sql.extend(after);
    }

    /// The statement that gives ENUM columns of a row the empty value.
    fn empties(
        &self,
        empty: &[String],
        key: &[(String, String)],
        seq: Option<u64>,
    ) -> Option<String> {
        let sets: Vec<String> = empty.iter().map(|name| format!("{} = ''", named(name))).collect();
        (!sets.is_empty()).then(|| {
            let (table, condition) = (quoted(self.table), self.condition(key, seq));
            format!("UPDATE IGNORE {table} SET {} WHERE {condition}", sets.join(", "))
        })
    }

    fn one_by_one(&self, keyed: &[Keyed<'_, '_>], made: &mut Statements) {
        let mut moved_from = None;
        for (at, Keyed { wanted, key }) in keyed.iter().enumerate() {
            let change = &wanted.change;
            let Some(row) = &wanted.row else {
                let next = keyed.get(at + 1).map(|next| next.wanted);
                if next.is_some_and(|next| self.takes_over(change, next)) {
                    moved_from = Some(key);
                    continue;
                }
                made.written.deletes += 1;
                made.sql.push(self.delete(&[(key, change.read.seq)]));
                continue;
            };
            let RowLiterals { names, literals, empty } = match self.row(row, change) {
                Ok(row) => row,
                Err(why) => {
                    made.unusable.push(change.unusable(why));
                    continue;
                }
            };
            made.written.rows += 1;
            if self.is_whole(wanted) {
                let keys = key.iter().map(|(name, _)| name.as_str()).collect();
                let mut rows = RowSets::default();
                rows.add(names, literals);
                let upsert = |names: &[String]| self.upsert(names, &keys);
                rows.inserts(self.table, upsert, self.alias(), &mut made.sql);
            } else {
                let old = moved_from.take().unwrap_or(key);
                made.sql.push(self.update(&names, &literals, (old, change.read.seq)));
            }
            made.sql.extend(self.empties(&empty, key, change.read.seq));
        }
    }

    /// Whether a change is the second half of an update that changed the key, and lacks columns:
    /// their values are in the row under the old key, of which `first` is the delete.
    fn takes_over(&self, first: &Change<'_>, next: &Wanted<'_>) -> bool {
        let halves =
            (first.event.ev_id().strip_suffix('d'), next.change.event.ev_id().strip_suffix('i'));
        matches!(halves, (Some(one), Some(other)) if one == other) && !self.is_whole(next)
    }

    fn alias(&self) -> &'static str {
        if self.is_mariadb { "" } else { " AS new" }
    }

    /// The value that the statement brings for a column.
    fn brought(&self, quoted: &str) -> String {
        match self.is_mariadb {
            true => format!("VALUES({quoted})"),
            false => format!("new.{quoted}"),
        }
    }

    /// What becomes of a row that is there already. If it is there because of another unique key,
    /// it is another row: then its key becomes NULL, which is an error.
    fn upsert(&self, names: &[String], keys: &BTreeSet<&str>) -> String {
        let there = |column: &str| format!("{}.{column}", quoted(self.table));
        let version = self.version_column.map(named);
        // Whether the row that is there is newer than the one that comes.
        let newer = version
            .as_ref()
            .map(|version| format!("{} > {}", there(version), self.brought(version)));
        let kept_if_newer = |column: &str| match &newer {
            Some(newer) => {
                format!("{column} = IF({newer}, {}, {})", there(column), self.brought(column))
            }
            None => format!("{column} = {}", self.brought(column)),
        };
        let quoted_keys: Vec<String> = keys.iter().map(|key| named(key)).collect();
        let same: Vec<String> = quoted_keys
            .iter()
            .map(|key| format!("{} <=> {}", there(key), self.brought(key)))
            .collect();
        let guard = quoted_keys
            .first()
            .map(|key| format!("{key} = IF({}, {}, NULL)", same.join(" AND "), there(key)));
        let columns = names.iter().filter(|column| !keys.contains(column.as_str()));
        let columns = columns.map(|column| named(column)).filter(|of| Some(of) != version.as_ref());
        // The version at last: the others look at it.
        let all = columns.chain(version.clone()).map(|column| kept_if_newer(&column));
        let sets: Vec<String> = guard.into_iter().chain(all).collect();
        format!(" ON DUPLICATE KEY UPDATE {}", sets.join(", "))
    }

    fn delete(&self, gone: &[GoneRow<'_>]) -> String {
        let condition = match (self.version_column, gone.first()) {
            (None, Some((first, _))) => {
                let names: Vec<String> = first.iter().map(|(name, _)| named(name)).collect();
                let keys = gone.iter().map(|(key, _)| {
                    let literals: Vec<&str> = key.iter().map(|(_, value)| value.as_str()).collect();
                    format!("({})", literals.join(","))
                });
                format!("({}) IN ({})", names.join(","), keys.collect::<Vec<_>>().join(","))
            }
            _ => {
                let each = gone.iter().map(|(key, seq)| self.condition(key, *seq));
                each.collect::<Vec<_>>().join(" OR ")
            }
        };
        format!("DELETE FROM {} WHERE {condition}", quoted(self.table))
    }

    /// The condition of a row that is not newer than the change.
    fn condition(&self, key: &[(String, String)], seq: Option<u64>) -> String {
        let mut parts: Vec<String> =
            key.iter().map(|(name, literal)| format!("{} = {literal}", named(name))).collect();
        if let (Some(version), Some(seq)) = (self.version_column.map(named), seq) {
            parts.push(format!("({version} IS NULL OR {version} <= {seq})"));
        }
        format!("({})", parts.join(" AND "))
    }

    fn update(
        &self,
        names: &[String],
        literals: &[String],
        (key, seq): (&[(String, String)], Option<u64>),
    ) -> String {
        let sets = names.iter().zip(literals);
        let sets: Vec<String> =
            sets.map(|(name, literal)| format!("{} = {literal}", named(name))).collect();
        let condition = self.condition(key, seq);
        format!("UPDATE {} SET {} WHERE {condition}", quoted(self.table), sets.join(", "))
    }
}

/// Rows to insert, by their columns.
#[derive(Default)]
struct RowSets(BTreeMap<Vec<String>, Vec<String>>);

impl RowSets {
    fn add(&mut self, names: Vec<String>, literals: Vec<String>) {
        self.0.entry(names).or_default().push(format!("({})", literals.join(",")));
    }

    /// Appends the statements; each ends with what `on_duplicate` gives for its columns.
    fn inserts(
        self,
        table: &TargetTable,
        on_duplicate: impl Fn(&[String]) -> String,
        alias: &str,
        sql: &mut Vec<String>,
    ) {
        for (names, rows) in self.0 {
            let columns: Vec<String> = names.iter().map(|name| named(name)).collect();
            let head = format!("INSERT INTO {} ({}) VALUES ", quoted(table), columns.join(","));
            let tail = format!("{alias}{}", on_duplicate(&names));
            let mut statement = head.clone();
            let mut count = 0;
            for row in rows {
                let is_full =
                    count >= MAX_ROWS || statement.len() + row.len() > MAX_STATEMENT_BYTES;
                if count > 0 && is_full {
                    statement.push_str(&tail);
                    sql.push(std::mem::replace(&mut statement, head.clone()));
                    count = 0;
                }
                if count > 0 {
                    statement.push(',');
                }
                statement.push_str(&row);
                count += 1;
            }
            statement.push_str(&tail);
            sql.push(statement);
        }
    }
}
