//! What is to become of each row of a table of the target: its key and its columns as literals.

use change_event::Action;

use super::{
    audit::{self, AUDIT_COLUMNS},
    literal::{named, push, push_value},
    table::{TargetColumn, TargetTable},
};
use crate::{
    change::{Change, Column},
    shape::{Shape, Wanted},
    value::{CellValue, Kind},
};

/// What rows of one table are made with.
#[derive(Clone, Copy)]
pub(super) struct RowMaker<'t> {
    pub(super) table: &'t TargetTable,
    pub(super) shape: &'t Shape,
    pub(super) version_column: Option<&'t str>,
    /// Columns that the target lacks are made.
    pub(super) creates: bool,
}

/// A change of a row of the target.
#[derive(Debug)]
pub(super) struct RowChange<'w, 'a> {
    pub(super) wanted: &'w Wanted<'a>,
    pub(super) key: RowKey,
    /// `None`: the row is gone.
    pub(super) row: Option<Literals>,
    pub(super) extent: Extent,
}

/// What of a row a change has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Nothing: it is gone.
    Gone,
    /// All columns that the target takes from the source.
    Whole,
    /// It is new, and what is lacking has its default.
    New,
    /// What is lacking stays as it is.
    Part,
}

/// The key of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowKey {
    /// The places of its columns at the target.
    pub(super) columns: Vec<usize>,
    pub(super) literals: Vec<String>,
}

/// Columns of a row.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Literals {
    /// Their places at the target.
    pub(super) columns: Vec<usize>,
    /// Their literals, between commas.
    pub(super) text: String,
    /// Where each literal ends.
    ends: Vec<usize>,
    /// The ENUM columns with the empty value that a server stores in place of an invalid one. It
    /// takes that in an UPDATE IGNORE only.
    pub(super) empty: Vec<usize>,
}

impl<'t> RowMaker<'t> {
    /// # Errors
    ///
    /// Why nothing can be done with the change.
    pub(super) fn change<'w, 'a>(
        self,
        wanted: &'w Wanted<'a>,
    ) -> Result<RowChange<'w, 'a>, String> {
        let change = &wanted.change;
        let key = self.key(change)?;
        let Some(row) = &wanted.row else {
            return Ok(RowChange { wanted, key, row: None, extent: Extent::Gone });
        };
        let mut literals = self.row(row)?;
        // The version comes last: statements look at that of the row which is there.
        if let Some(version) = self.version_column {
            let seq = change.read.seq.ok_or("the event has no Seq: it is of an old dts")?;
            self.add(&mut literals, version, &seq.to_string())?;
        }
        let extent = self.extent(change, &literals);
        Ok(RowChange { wanted, key, row: Some(literals), extent })
    }

    fn extent(self, change: &Change<'_>, literals: &Literals) -> Extent {
        let is_there = |at: &usize| literals.columns.contains(at);
        if self.table.from_source.iter().all(is_there) {
            Extent::Whole
        } else if change.read.action == Action::Insert && change.half('i').is_none() {
            Extent::New
        } else {
            Extent::Part
        }
    }

    /// A row of an audit log: the row as it is now, or for a delete as it was.
    ///
    /// # Errors
    ///
    /// As [`Self::change`].
    pub(super) fn audit<'w, 'a>(self, wanted: &'w Wanted<'a>) -> Result<RowChange<'w, 'a>, String> {
        let change = &wanted.change;
        let mut literals = match &wanted.row {
            Some(row) => self.row(row)?,
            None => self.row(&self.shape.row(change)?)?,
        };
        let facts = audit::literals(change);
        for ((name, _), literal) in AUDIT_COLUMNS.iter().zip(&facts) {
            self.add(&mut literals, name, literal)?;
        }
        let at = self.table.column(AUDIT_COLUMNS[0].0).unwrap_or_default();
        let [id, ..] = facts;
        let key = RowKey { columns: vec![at], literals: vec![id] };
        Ok(RowChange { wanted, key, row: Some(literals), extent: Extent::Whole })
    }

    /// What is wrong with the target's table, where nothing keeps two rows of one key apart.
    pub(super) fn lacks_index(self, key: &RowKey) -> String {
        let columns = key.columns.iter().filter_map(|at| self.table.columns.get(*at));
        let names: Vec<String> = columns.map(|column| named(&column.name)).collect();
        format!(
            "the target's table has no unique index on exactly the columns of the key: run there: \
             ALTER TABLE {} ADD UNIQUE ({})",
            self.table.quoted(),
            names.join(", ")
        )
    }

    fn key(self, change: &Change<'_>) -> Result<RowKey, String> {
        let mut key = RowKey { columns: Vec::new(), literals: Vec::new() };
        for (name, json) in change.key.iter() {
            let name = self.shape.name_of(name);
            let Some(at) = self.table.column(&name) else {
                return Err(format!("the target has no column {name}, which is of the key"));
            };
            let mut literal = String::new();
            push(&mut literal, self.table.columns[at].kind, json)
                .map_err(|why| format!("{name}: {why}"))?;
            key.columns.push(at);
            key.literals.push(literal);
        }
        Ok(key)
    }

    /// The columns of a row, without those that the target computes.
    fn row(self, row: &[Column<'_>]) -> Result<Literals, String> {
        let mut literals = Literals::default();
        let mut guess = 0;
        for (name, json) in row {
            // Columns mostly come in the table's order.
            let at = match self.table.columns.get(guess) {
                Some(column) if column.name == **name => Some(guess),
                _ => self.table.column(name),
            };
            let at = at.ok_or_else(|| {
                let how = match self.creates {
                    true => "as dts tells it, the source's table has none either: add it there",
                    false => "add it there, set create = true",
                };
                format!(
                    "the target has no column {name}: {how}, or leave it out with columns.exclude"
                )
            })?;
            guess = at + 1;
            let column = &self.table.columns[at];
            if column.is_generated {
                continue;
            }
            let start = literals.begin();
            self.push(&mut literals.text, column, json).map_err(|why| format!("{name}: {why}"))?;
            match (column.kind, &literals.text[start..]) {
                // The document `null` looks as NULL does.
                (Kind::Json, "NULL") if !column.is_nullable => {
                    literals.replace(start, "'null'");
                }
                (Kind::Enum, "''") => {
                    literals.empty.push(at);
                    // Some member, for the moment.
                    literals.replace(start, "1");
                }
                _ => {}
            }
            literals.end(at);
        }
        Ok(literals)
    }

    /// Appends the value of a column, if the column holds it as it is.
    fn push(self, sql: &mut String, column: &TargetColumn, json: &str) -> Result<(), String> {
        let value = CellValue::read(column.kind, json)?;
        // The text of a member may be taken for that of another one.
        if let Some(number) = column.members.number(&value) {
            sql.push_str(&number.to_string());
            return Ok(());
        }
        if let Err(misfit) = column.fit.holds(&value, &column.declared) {
            let cure = self.table.cure(column, &misfit, &value);
            return Err(format!("{} ({}), and is not rounded{cure}", misfit.why, column.declared));
        }
        push_value(sql, column.kind, value)
    }

    fn add(self, literals: &mut Literals, name: &str, literal: &str) -> Result<(), String> {
        let at = self.table.column(name);
        let at = at.ok_or_else(|| format!("the target has no column {name}: add it there"))?;
        literals.begin();
        literals.text.push_str(literal);
        literals.end(at);
        Ok(())
    }
}

impl RowChange<'_, '_> {
    pub(super) fn seq(&self) -> Option<u64> {
        self.wanted.change.read.seq
    }
}

impl RowKey {
    /// The columns with their literals.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        self.columns.iter().copied().zip(self.literals.iter().map(String::as_str))
    }
}

impl Literals {
    /// The columns with their literals.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|end| end + 1));
        let texts = starts.zip(&self.ends).map(|(start, end)| &self.text[start..*end]);
        self.columns.iter().copied().zip(texts)
    }

    fn begin(&mut self) -> usize {
        if !self.columns.is_empty() {
            self.text.push(',');
        }
        self.text.len()
    }

    fn replace(&mut self, start: usize, literal: &str) {
        self.text.truncate(start);
        self.text.push_str(literal);
    }

    fn end(&mut self, column: usize) {
        self.columns.push(column);
        self.ends.push(self.text.len());
    }
}
