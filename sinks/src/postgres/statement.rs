//! The statements that bring rows to the target. The values of a column go as one array, so a
//! statement has one text for any number of rows, and is prepared once.

use std::fmt::Write as _;

use super::{
    array::PgArray,
    pending::{Cell, Pending, PendingRow},
    table::{Form, quoted, quoted_text},
    tables::PgRoute,
};
use crate::sql::DELETED_TABLE;

/// A statement has no more rows.
const MAX_ROWS: usize = 5000;

/// Nor more bytes of values, but for one row that has.
const MAX_BYTES: usize = 8 << 20;

/// A key that is longer is known by its hash.
const MAX_KEY_CHARS: usize = 500;

/// A statement with its values.
#[derive(Debug)]
pub(super) struct PgStep {
    pub(super) sql: String,
    pub(super) values: Vec<PgArray>,
    pub(super) effect: PgEffect,
    /// How many rows it is for.
    pub(super) rows: u64,
}

/// What the number of rows says that a statement has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PgEffect {
    Written,
    /// Of these rows those that are not there are written by the next statement.
    Changed,
    Deleted,
    /// So many rows are not there, of which some columns should be changed.
    Absent,
    /// Nothing.
    Kept,
}

/// How rows are written that are new at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewRows {
    /// As if they may be there.
    Upserted,
    /// In half the time: the server refuses the call if one is there.
    Inserted,
}

/// The steps for rows of a table: deletes come first.
pub(super) fn steps(route: &PgRoute, pending: &[&Pending<'_>], new_rows: NewRows) -> Vec<PgStep> {
    let mut pending = pending.to_vec();
    if route.version.is_some() {
        // Changes that come late may be written elsewhere: two calls lock rows in the same order.
        pending.sort_by(|one, other| one.key_json.cmp(&other.key_json));
    }
    let deleted: Vec<&Pending<'_>> =
        pending.iter().copied().filter(|one| one.delete.is_some()).collect();
    let mut steps = Vec::new();
    for some in in_parts(&deleted) {
        steps.extend(deletes(route, some));
    }
    for group in groups(&pending) {
        for some in in_parts(&group) {
            steps.extend(writes(route, some, new_rows));
        }
    }
    steps
}

/// Rows by their columns and whether these are but a part, in the order in which these come first.
fn groups<'p, 'a>(pending: &[&'p Pending<'a>]) -> Vec<Vec<&'p Pending<'a>>> {
    let mut kinds: Vec<(&[usize], bool)> = Vec::new();
    let mut groups: Vec<Vec<&Pending<'_>>> = Vec::new();
    for one in pending {
        let Some(row) = &one.write else { continue };
        let kind = (&*row.columns, row.is_part);
        match kinds.iter().rposition(|of| *of == kind) {
            Some(at) => groups[at].push(one),
            None => {
                kinds.push(kind);
                groups.push(vec![one]);
            }
        }
    }
    groups
}

fn in_parts<'s, 'p, 'a>(rows: &'s [&'p Pending<'a>]) -> Vec<&'s [&'p Pending<'a>]> {
    let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, row) in rows.iter().enumerate() {
        let more = bytes_of(row);
        if at > start && (at - start >= MAX_ROWS || bytes + more > MAX_BYTES) {
            parts.push(&rows[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += more;
    }
    if start < rows.len() {
        parts.push(&rows[start..]);
    }
    parts
}

fn bytes_of(row: &Pending<'_>) -> usize {
    let cells = row.write.iter().flat_map(|row| &row.cells).chain(&row.key);
    cells.flatten().map(String::len).sum()
}

fn deletes(route: &PgRoute, rows: &[&Pending<'_>]) -> Vec<PgStep> {
    let table = route.table.quoted();
    let mut values = Columns::default();
    for (place, at) in route.key.iter().enumerate() {
        values.add(route, *at, rows.iter().map(|row| row.key[place].as_deref()));
    }
    let Some(version) = route.version else {
        let sql = format!(
            "DELETE FROM {table} AS target USING {} WHERE {}",
            values.source(),
            same_key(route)
        );
        return vec![values.step(sql, rows.len(), PgEffect::Deleted)];
    };
    let seqs: Vec<Cell> = rows.iter().map(|row| row.delete.map(|seq| seq.to_string())).collect();
    values.add_as("bigint", "seq", seqs.iter().map(Cell::as_deref));
    let sql = format!(
        "DELETE FROM {table} AS target USING {} WHERE {}{}",
        values.source(),
        same_key(route),
        is_older(route, version, "u.seq")
    );
    vec![values.step(sql, rows.len(), PgEffect::Deleted), keep_deletes(route, rows, seqs)]
}

/// Keeps the numbers of deletes, so that an older change does not bring a row back.
fn keep_deletes(route: &PgRoute, rows: &[&Pending<'_>], seqs: Vec<Cell>) -> PgStep {
    let mut values = Columns::default();
    values.add_as("text", "key", rows.iter().map(|row| Some(&*row.key_json)));
    values.add_as("bigint", "seq", seqs.iter().map(Cell::as_deref));
    let sql = format!(
        "INSERT INTO {schema}.{DELETED_TABLE} AS kept (table_name, row_key, seq) SELECT {name}, \
         {key}, u.seq FROM {source} ON CONFLICT (table_name, row_key) DO UPDATE SET seq = \
         excluded.seq, deleted_at = now() WHERE kept.seq < excluded.seq",
        schema = quoted(&route.table.schema),
        name = quoted_text(&route.table.name),
        key = key_name(),
        source = values.source(),
    );
    values.step(sql, rows.len(), PgEffect::Kept)
}

fn writes(route: &PgRoute, rows: &[&Pending<'_>], new_rows: NewRows) -> Vec<PgStep> {
    let written: Vec<&PendingRow> = rows.iter().filter_map(|row| row.write.as_ref()).collect();
    let Some(columns) = written.first().map(|row| row.columns.clone()) else { return Vec::new() };
    let values = || {
        let mut values = Columns::default();
        for (place, at) in columns.iter().enumerate() {
            values.add(route, *at, written.iter().map(|row| row.cells[place].as_deref()));
        }
        if route.version.is_some() {
            values.add_as("text", "key", rows.iter().map(|row| Some(&*row.key_json)));
        }
        values
    };
    if written.iter().any(|row| row.is_part) {
        return part(route, (&columns, rows.len()), values);
    }
    let lacks_required = route
        .table
        .columns
        .iter()
        .enumerate()
        .any(|(at, column)| column.is_required && !columns.contains(&at));
    if !lacks_required {
        let values = values();
        let is_new = new_rows == NewRows::Inserted && rows.iter().all(|row| row.is_new());
        let sql = match is_new && !route.is_audit {
            true => insert(route, &columns, &values) + &unless_deleted(route, " WHERE "),
            false => upsert(route, &columns, &values),
        };
        return vec![values.step(sql, rows.len(), PgEffect::Written)];
    }
    // The server would refuse an INSERT without these columns, also where the row is there.
    let (changed, inserted) = (values(), values());
    let update = update(route, &columns, &changed);
    let insert = insert_absent(route, &columns, &inserted);
    let mut steps = Vec::new();
    if let Some(update) = update {
        steps.push(changed.step(update, rows.len(), PgEffect::Changed));
    }
    steps.push(inserted.step(insert, rows.len(), PgEffect::Written));
    steps
}

/// Changes some columns of rows, and counts the rows that are not there.
fn part(
    route: &PgRoute,
    (columns, rows): (&[usize], usize),
    values: impl Fn() -> Columns,
) -> Vec<PgStep> {
    let (changed, sought) = (values(), values());
    let Some(update) = update(route, columns, &changed) else { return Vec::new() };
    let absent = format!(
        "SELECT FROM {} WHERE NOT EXISTS (SELECT FROM {} AS there WHERE {})",
        sought.source(),
        route.table.quoted(),
        found(route, "there", columns, &sought)
    );
    vec![changed.step(update, rows, PgEffect::Written), sought.step(absent, rows, PgEffect::Absent)]
}

/// The condition that a row of the target has the key of one of the rows.
fn found(route: &PgRoute, row: &str, columns: &[usize], values: &Columns) -> String {
    let same = route.key.iter().map(|key| {
        let at = columns.iter().position(|at| at == key).unwrap_or_default();
        format!("{row}.{} = {}", quoted(&route.table.columns[*key].name), values.value(at))
    });
    same.collect::<Vec<_>>().join(" AND ")
}

fn upsert(route: &PgRoute, columns: &[usize], values: &Columns) -> String {
    let key = super::table::quoted_list(names(route, &route.key));
    let set: Vec<String> =
        settable(route, columns).map(|name| format!("{name} = excluded.{name}")).collect();
    let insert = insert(route, columns, values);
    let insert = format!("{insert}{}", unless_deleted(route, " WHERE "));
    if set.is_empty() || route.is_audit {
        return format!("{insert} ON CONFLICT ({key}) DO NOTHING");
    }
    let mut sql = format!("{insert} ON CONFLICT ({key}) DO UPDATE SET {}", set.join(", "));
    if let Some(version) = route.version {
        let name = quoted(&route.table.columns[version].name);
        // Writing to a string does not fail.
        let _ = write!(sql, " WHERE target.{name} IS NULL OR target.{name} < excluded.{name}");
    }
    sql
}

/// `None`: there is nothing to change.
fn update(route: &PgRoute, columns: &[usize], values: &Columns) -> Option<String> {
    let place =
        |name: &str| columns.iter().position(|at| quoted(&route.table.columns[*at].name) == name);
    let set: Vec<String> = settable(route, columns)
        .filter_map(|name| Some(format!("{name} = {}", values.value(place(&name)?))))
        .collect();
    let older = route.version.map(|version| {
        let at = columns.iter().position(|at| *at == version).unwrap_or_default();
        is_older(route, version, &values.value(at))
    });
    (!set.is_empty()).then(|| {
        format!(
            "UPDATE {} AS target SET {} FROM {} WHERE {}{}",
            route.table.quoted(),
            set.join(", "),
            values.source(),
            found(route, "target", columns, values),
            older.unwrap_or_default()
        )
    })
}

/// Inserts the rows that are not there.
fn insert_absent(route: &PgRoute, columns: &[usize], values: &Columns) -> String {
    format!(
        "{} WHERE NOT EXISTS (SELECT FROM {} AS there WHERE {}){} ON CONFLICT DO NOTHING",
        insert(route, columns, values),
        route.table.quoted(),
        found(route, "there", columns, values),
        unless_deleted(route, " AND ")
    )
}

fn insert(route: &PgRoute, columns: &[usize], values: &Columns) -> String {
    let list: Vec<String> = (0..columns.len()).map(|at| values.value(at)).collect();
    format!(
        "INSERT INTO {} AS target ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}",
        route.table.quoted(),
        super::table::quoted_list(names(route, columns)),
        list.join(", "),
        values.source()
    )
}

/// The condition that no later delete of the row is known.
fn unless_deleted(route: &PgRoute, word: &str) -> String {
    let Some(version) = route.version else { return String::new() };
    format!(
        "{word}NOT EXISTS (SELECT FROM {}.{DELETED_TABLE} AS kept WHERE kept.table_name = {} AND \
         kept.row_key = {} AND kept.seq >= u.c{version})",
        quoted(&route.table.schema),
        quoted_text(&route.table.name),
        key_name()
    )
}

/// The columns of an UPDATE: neither those of the key nor what cannot be changed.
fn settable(route: &PgRoute, columns: &[usize]) -> impl Iterator<Item = String> {
    columns
        .iter()
        .filter(|at| !route.key.contains(at) && !route.table.columns[**at].is_identity)
        .map(|at| quoted(&route.table.columns[*at].name))
}

fn names<'r>(route: &'r PgRoute, columns: &'r [usize]) -> impl Iterator<Item = &'r str> {
    columns.iter().map(|at| &*route.table.columns[*at].name)
}

fn same_key(route: &PgRoute) -> String {
    let same = route.key.iter().map(|at| {
        let column = &route.table.columns[*at];
        format!("target.{} = {}", quoted(&column.name), value_of(route, *at))
    });
    same.collect::<Vec<_>>().join(" AND ")
}

fn is_older(route: &PgRoute, version: usize, seq: &str) -> String {
    let name = quoted(&route.table.columns[version].name);
    format!(" AND (target.{name} IS NULL OR target.{name} < {seq})")
}

/// The name of a row among the deletes.
fn key_name() -> String {
    format!(
        "CASE WHEN length(u.key) <= {MAX_KEY_CHARS} THEN u.key ELSE \
         encode(sha256(convert_to(u.key, 'UTF8')), 'hex') END"
    )
}

/// The value of a column of the target in the rows `u`.
fn value_of(route: &PgRoute, at: usize) -> String {
    let column = &route.table.columns[at];
    match column.form {
        // An array of arrays would be one array of all elements.
        Form::Array => format!("u.c{at}::{}", column.declared),
        _ => format!("u.c{at}"),
    }
}

/// Arrays of values, which are the columns of the rows `u`.
#[derive(Default)]
struct Columns {
    arrays: Vec<PgArray>,
    types: Vec<String>,
    names: Vec<String>,
    values: Vec<String>,
}

impl Columns {
    /// Adds values of a column of the target.
    fn add<'v>(
        &mut self,
        route: &PgRoute,
        at: usize,
        cells: impl Iterator<Item = Option<&'v str>> + Clone,
    ) {
        let column = &route.table.columns[at];
        let of = if column.form == Form::Array { "text" } else { &column.declared };
        self.push(of, format!("c{at}"), cells);
        self.values.push(value_of(route, at));
    }

    fn add_as<'v>(
        &mut self,
        of: &str,
        name: &str,
        cells: impl Iterator<Item = Option<&'v str>> + Clone,
    ) {
        self.push(of, name.to_owned(), cells);
        self.values.push(format!("u.{name}"));
    }

    fn push<'v>(
        &mut self,
        of: &str,
        name: String,
        cells: impl Iterator<Item = Option<&'v str>> + Clone,
    ) {
        self.arrays.push(PgArray::of(of, cells));
        self.types.push(of.to_owned());
        self.names.push(name);
    }

    fn value(&self, place: usize) -> String {
        self.values[place].clone()
    }

    fn source(&self) -> String {
        let arrays: Vec<String> =
            self.types.iter().enumerate().map(|(at, of)| format!("${}::{of}[]", at + 1)).collect();
        format!("unnest({}) AS u ({})", arrays.join(", "), self.names.join(", "))
    }

    fn step(self, sql: String, rows: usize, effect: PgEffect) -> PgStep {
        PgStep { sql, values: self.arrays, effect, rows: rows as u64 }
    }
}

impl PgStep {
    pub(super) fn bytes(&self) -> usize {
        self.values.iter().map(PgArray::len).sum()
    }
}
