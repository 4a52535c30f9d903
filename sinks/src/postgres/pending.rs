//! What is to become of each row of a table: of several changes of a row only the last state.

use std::{borrow::Cow, collections::HashMap};

use change_event::Action;

use super::{
    PgRows, create::AUDIT_COLUMNS, limit::Limit, literal::text_of, table::Form, tables::PgRoute,
};
use crate::{
    change::{Change, Unusable},
    shape::{Shape, Wanted},
    value::{CellValue, Kind},
};

/// The text of a value; `None` for NULL.
pub(super) type Cell = Option<String>;

/// A row of the target that is to change.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    /// The changes that it does, the last one last.
    pub(super) changes: Vec<&'a Change<'a>>,
    /// The values of the key's columns.
    pub(super) key: Vec<Cell>,
    /// The same as the event has it, as a name of the row.
    pub(super) key_json: Cow<'a, str>,
    /// The row that was there is deleted, by the change with this number.
    pub(super) delete: Option<i64>,
    /// Then it is written.
    pub(super) write: Option<PendingRow>,
}

/// What is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PendingRow {
    /// The places of the columns at the target, in ascending order.
    pub(super) columns: Vec<usize>,
    pub(super) cells: Vec<Cell>,
    pub(super) seq: i64,
    /// Columns of the source are lacking, and the row is not new: it should be there.
    pub(super) is_part: bool,
}

/// What rows of one table are made with.
#[derive(Clone, Copy)]
pub(super) struct RowMaker<'r> {
    pub(super) route: &'r PgRoute,
    pub(super) rows: &'r PgRows,
    pub(super) shape: &'r Shape,
}

impl<'r> RowMaker<'r> {
    /// The rows that change, and the changes that nothing can be done with.
    pub(super) fn pending<'a>(
        self,
        wanted: &[&'a Wanted<'a>],
    ) -> (Vec<Pending<'a>>, Vec<Unusable>) {
        let (mut rows, mut unusable) = (PendingRows::default(), Vec::new());
        for one in wanted {
            let change = &one.change;
            let made = match self.route.is_audit {
                true => self.audit(one).map(|row| rows.push(row)),
                false => self.apply(one, &mut rows),
            };
            if let Err(why) = made {
                unusable.push(change.unusable(format!("{}: {why}", self.route.table.quoted())));
            }
        }
        for pending in &mut rows.list {
            let may_be_part = pending.delete.is_none() && !pending.is_new();
            if let Some(row) = pending.write.as_mut().filter(|_| may_be_part) {
                row.is_part = self.lacking(row).is_some();
            }
        }
        (rows.list, unusable)
    }

    fn apply<'a>(self, one: &'a Wanted<'a>, rows: &mut PendingRows<'a>) -> Result<(), String> {
        let change = &one.change;
        let seq = self.seq_of(change)?;
        let written = match &one.row {
            None => None,
            Some(row) => {
                let columns = row.iter().map(|(name, json)| (&**name, &**json));
                Some(self.row(columns, seq)?)
            }
        };
        let lacking = written.as_ref().and_then(|row| self.lacking(row));
        if let Some(name) = lacking.filter(|_| change.half('i').is_some()) {
            return Err(format!(
                "the key of the row changed, and its event lacks the column {name}: set \
                 binlog_row_image = FULL on the source"
            ));
        }
        if let Some(before) = moved_from(change) {
            rows.merge(Pending {
                changes: vec![change],
                key: self.key(before.iter().map(|(name, json)| (&**name, *json)))?,
                key_json: Cow::Owned(json_of(&before)),
                delete: Some(seq),
                write: None,
            });
        }
        rows.merge(Pending {
            changes: vec![change],
            key: self.key(change.key.iter())?,
            key_json: Cow::Borrowed(change.read.key),
            delete: written.is_none().then_some(seq),
            write: written,
        });
        Ok(())
    }

    /// A column of the source that a row lacks.
    fn lacking(self, row: &PendingRow) -> Option<&'r str> {
        let mut columns = self.route.table.columns.iter().enumerate();
        let lacking = columns.find(|(at, column)| {
            let is_of_source = self.route.kinds[*at].is_some() && !column.is_generated;
            is_of_source && row.columns.binary_search(at).is_err()
        });
        lacking.map(|(_, column)| &*column.name)
    }

    /// A row of an audit log: the row as it is now, or for a delete as it was.
    fn audit<'a>(self, one: &'a Wanted<'a>) -> Result<Pending<'a>, String> {
        let change = &one.change;
        let mut row = match &one.row {
            Some(row) => {
                let columns = row.iter().map(|(name, json)| (&**name, &**json));
                self.row(columns, 0)?
            }
            None => {
                let before = self.shape.row(change)?;
                self.row(before.iter().map(|(name, json)| (&**name, &**json)), 0)?
            }
        };
        let ms = change.read.ts;
        let facts = [
            Some(change.read.id.clone().into_owned()),
            Some(change.read.action.as_str().to_owned()),
            time_of(ms),
            change.read.seq.map(|seq| seq.to_string()),
        ];
        for ((name, _), cell) in AUDIT_COLUMNS.iter().zip(facts) {
            let at = self.route.table.column(name);
            row.set(at.ok_or_else(|| format!("the table lacks the column {name}"))?, cell);
        }
        Ok(Pending {
            changes: vec![change],
            key: vec![Some(change.read.id.clone().into_owned())],
            key_json: Cow::Borrowed(&change.read.id),
            delete: None,
            write: Some(row),
        })
    }

    fn row<'c>(
        self,
        columns: impl Iterator<Item = (&'c str, &'c str)>,
        seq: i64,
    ) -> Result<PendingRow, String> {
        let table = &self.route.table;
        let mut row = PendingRow { columns: Vec::new(), cells: Vec::new(), seq, is_part: false };
        let mut guess = 0;
        for (name, json) in columns {
            // Columns mostly come in the table's order.
            let at = match table.columns.get(guess) {
                Some(column) if column.name == name => Some(guess),
                _ => table.column(name),
            };
            let Some(at) = at else {
                let remedy = self.route.add_column(name, self.rows, self.shape);
                // Where the sink makes columns, nobody has told the type of this one.
                let make = if self.rows.create { "" } else { ", set create = true" };
                return Err(format!(
                    "the target lacks the column {name}: {remedy}{make}, or leave it out"
                ));
            };
            guess = at + 1;
            if !table.columns[at].is_generated {
                row.set(at, self.cell(at, name, json)?);
            }
        }
        if let Some(version) = self.route.version {
            row.set(version, Some(seq.to_string()));
        }
        Ok(row)
    }

    fn cell(self, at: usize, name: &str, json: &str) -> Result<Cell, String> {
        let told = |why: String| format!("column {name}: {why}");
        let kind = self.route.kinds[at].unwrap_or_else(|| kind_of(json));
        let value = CellValue::read(kind, json).map_err(told)?;
        let column = &self.route.table.columns[at];
        let limit = match (kind, column.limit) {
            (Kind::Single, Limit::Single) | (Kind::Single | Kind::Float, Limit::Double) => {
                Limit::Any
            }
            (_, limit) => limit,
        };
        let elements = elements(&value, column.form);
        let cell = text_of(value, column.form).map_err(told)?;
        let checked = match (&elements, &cell) {
            (Some(elements), _) => elements.iter().try_for_each(|text| limit.check(text)),
            (None, Some(text)) if column.form != Form::Array => limit.check(text),
            _ => Ok(()),
        };
        match checked {
            Ok(()) => Ok(cell),
            Err(why) => Err(told(format!(
                "{why} for type {}: run there: {}",
                column.full,
                self.route.widen(at)
            ))),
        }
    }

    /// The values of the key in the order of its columns at the target.
    fn key<'c>(self, key: impl Iterator<Item = (&'c str, &'c str)>) -> Result<Vec<Cell>, String> {
        let mut cells = Vec::with_capacity(self.route.key.len());
        for ((name, json), at) in key.zip(&self.route.key) {
            cells.push(self.cell(*at, &self.shape.name_of(name), json)?);
        }
        Ok(cells)
    }

    fn seq_of(self, change: &Change<'_>) -> Result<i64, String> {
        match (change.read.seq, self.route.version) {
            (Some(seq), _) => i64::try_from(seq).map_err(|_| "its Seq is too large".to_owned()),
            (None, None) => Ok(0),
            (None, Some(_)) => {
                Err("the event has no Seq: it is of a dts of an old version".to_owned())
            }
        }
    }
}

impl Pending<'_> {
    /// Whether the row was not there before, by what the source says.
    pub(super) fn is_new(&self) -> bool {
        let is_insert = |change: &&Change<'_>| change.read.action == Action::Insert;
        self.delete.is_none() && self.changes.first().is_some_and(is_insert)
    }
}

impl PendingRow {
    pub(super) fn set(&mut self, at: usize, cell: Cell) {
        let last = self.columns.last().copied();
        if last.is_none_or(|last| last < at) {
            self.columns.push(at);
            self.cells.push(cell);
            return;
        }
        match self.columns.binary_search(&at) {
            Ok(place) => self.cells[place] = cell,
            Err(place) => {
                self.columns.insert(place, at);
                self.cells.insert(place, cell);
            }
        }
    }
}

/// Rows in the order of their first changes.
#[derive(Debug, Default)]
struct PendingRows<'a> {
    list: Vec<Pending<'a>>,
    places: HashMap<Cow<'a, str>, usize>,
}

impl<'a> PendingRows<'a> {
    fn push(&mut self, row: Pending<'a>) {
        self.list.push(row);
    }

    fn merge(&mut self, row: Pending<'a>) {
        let Some(at) = self.places.get(&row.key_json) else {
            self.places.insert(row.key_json.clone(), self.list.len());
            self.list.push(row);
            return;
        };
        let earlier = &mut self.list[*at];
        earlier.changes.extend(row.changes);
        if row.delete.is_some() {
            (earlier.delete, earlier.write) = (row.delete, row.write);
            return;
        }
        match (&mut earlier.write, row.write) {
            // A partial row is written over what there was.
            (Some(before), Some(now)) => {
                before.seq = now.seq;
                for (at, cell) in now.columns.into_iter().zip(now.cells) {
                    before.set(at, cell);
                }
            }
            (before, now) => *before = now,
        }
    }
}

/// The key that the row had before, where an update changed it: two texts that the source takes for
/// equal are two keys here.
fn moved_from<'a>(change: &'a Change<'a>) -> Option<Vec<(Cow<'a, str>, &'a str)>> {
    if change.read.action != Action::Update {
        return None;
    }
    let differs = |(name, now): (&str, &str)| change.old.get(name).is_some_and(|old| old != now);
    if !change.key.iter().any(differs) {
        return None;
    }
    let before = change
        .key
        .iter()
        .map(|(name, now)| (Cow::Owned(name.to_owned()), change.old.get(name).unwrap_or(now)));
    Some(before.collect())
}

fn json_of(key: &[(Cow<'_, str>, &str)]) -> String {
    let members = key.iter().map(|(name, json)| format!("{}:{json}", serde_json::json!(name)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// What an array of the target gets, where only some of it may not fit.
fn elements(value: &CellValue<'_>, form: Form) -> Option<Vec<String>> {
    match value {
        _ if form != Form::Array => None,
        CellValue::Set(members) => Some(members.clone()),
        CellValue::Vector(numbers) => Some(numbers.iter().map(f32::to_string).collect()),
        _ => None,
    }
}

/// Of a column that the source does not have, or has no more.
fn kind_of(json: &str) -> Kind {
    match json.as_bytes().first() {
        Some(b'{' | b'[') => Kind::Json,
        _ => Kind::Text,
    }
}

/// Milliseconds since 1970, as PostgreSQL reads a time.
fn time_of(ms: u64) -> Cell {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
    let text = humantime::format_rfc3339_millis(at).to_string();
    Some(text)
}

#[cfg(test)]
mod tests {
    use handler::Event;

    use super::*;
    use crate::{
        change::tests::event,
        postgres::table::{PgTable, tests::column},
    };

    fn route(columns: &[&str], version: Option<usize>) -> PgRoute {
        let columns = columns.iter().map(|name| column(name, "text")).collect();
        let table = PgTable { schema: "s".into(), name: "t".into(), columns, ..PgTable::default() };
        PgRoute::of_test(table, vec![0], version)
    }

    fn rows(route: &PgRoute, events: &[&Event]) -> Vec<String> {
        let (wanted, _) = Shape::default().wanted(events);
        let wanted: Vec<&Wanted<'_>> = wanted.iter().collect();
        let (rows, shape) = (PgRows::default(), Shape::default());
        let (pending, unusable) = RowMaker { route, rows: &rows, shape: &shape }.pending(&wanted);
        let shown = pending.iter().map(|one| {
            let written = one.write.as_ref().map(|row| (&row.columns, &row.cells));
            format!("{} {:?} {written:?}", one.key_json, one.delete)
        });
        shown.chain(unusable.into_iter().map(|one| one.why)).collect()
    }

    #[test]
    fn of_several_changes_of_a_row_only_the_last_state_is_written() {
        let first = event("insert", r#"{"id":7,"a":1,"b":1}"#, None);
        let second = event("update", r#"{"id":7,"b":2}"#, Some(r#"{"b":1}"#));
        assert_eq!(
            rows(&route(&["id", "a", "b"], None), &[&first, &second]),
            [r#"{"id":7} None Some(([0, 1, 2], [Some("7"), Some("1"), Some("2")]))"#]
        );
    }

    #[test]
    fn a_row_that_was_deleted_and_comes_again_has_nothing_of_the_old_one() {
        let first = event("update", r#"{"id":7,"a":1}"#, Some("{}"));
        let gone = event("delete", r#"{"id":7,"a":1}"#, None);
        let again = event("insert", r#"{"id":7,"b":2}"#, None);
        let route = route(&["id", "a", "b"], None);
        assert_eq!(rows(&route, &[&first, &gone]), [r#"{"id":7} Some(5) None"#]);
        assert_eq!(
            rows(&route, &[&first, &gone, &again]),
            [r#"{"id":7} Some(5) Some(([0, 2], [Some("7"), Some("2")]))"#]
        );
    }

    #[test]
    fn a_key_that_an_update_wrote_differently_leaves_its_old_row() {
        let one = event("update", r#"{"id":7,"a":1}"#, Some(r#"{"id":6}"#));
        let rows = rows(&route(&["id", "a"], None), &[&one]);
        assert!(rows.len() == 2 && rows[0].starts_with(r#"{"id":6} Some(5) None"#), "{rows:?}");
    }

    #[test]
    fn a_part_of_a_row_is_told_from_a_whole_one() {
        let mut route = route(&["id", "a", "b"], None);
        route.kinds = vec![Some(Kind::Text); 3];
        let is_part = |events: &[&Event]| {
            let (wanted, _) = Shape::default().wanted(events);
            let wanted: Vec<&Wanted<'_>> = wanted.iter().collect();
            let (rows, shape) = (PgRows::default(), Shape::default());
            let maker = RowMaker { route: &route, rows: &rows, shape: &shape };
            maker.pending(&wanted).0[0].write.as_ref().unwrap().is_part
        };
        let part = event("update", r#"{"id":7,"b":2}"#, Some("{}"));
        let whole = event("update", r#"{"id":7,"a":1,"b":2}"#, Some("{}"));
        let new = event("insert", r#"{"id":7,"a":1}"#, None);
        assert!(is_part(&[&part]) && is_part(&[&part, &part]));
        assert!(!is_part(&[&whole]) && !is_part(&[&whole, &part]));
        assert!(!is_part(&[&new]) && !is_part(&[&new, &part]));
    }

    #[test]
    fn a_version_is_a_column_of_the_row() {
        let one = event("insert", r#"{"id":7}"#, None);
        assert_eq!(
            rows(&route(&["id", "_seq"], Some(1)), &[&one]),
            [r#"{"id":7} None Some(([0, 1], [Some("7"), Some("5")]))"#]
        );
    }

    #[test]
    fn a_column_that_the_target_lacks_is_said_with_its_remedy() {
        let one = event("insert", r#"{"id":7,"x":1}"#, None);
        let rows = rows(&route(&["id"], None), &[&one]);
        assert!(rows[0].contains("column x") && rows[0].contains("ADD COLUMN \"x\""), "{rows:?}");
    }
}
