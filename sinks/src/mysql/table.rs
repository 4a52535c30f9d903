//! A table of the target, as the target describes it.

use full_sync::{Table, TableColumn};

use super::{
    client::{MysqlClient, TargetConn, TargetError},
    define::{declaration, defined, is_same_type, nullability},
    fit::{Fit, Misfit},
    literal::{named, push_text},
    members::Members,
};
use crate::{
    shape::Shape,
    value::{CellValue, Kind},
};

/// A table of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetTable {
    pub(super) schema: String,
    pub(super) name: String,
    /// Empty when it is not there.
    pub(super) columns: Vec<TargetColumn>,
    /// The places of those that a whole row of the source fills; empty when nobody has told how the
    /// source's table is defined.
    pub(super) from_source: Vec<usize>,
    /// The places of the columns of each unique index, in ascending order.
    pub(super) unique: Vec<Vec<usize>>,
}

/// A column of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetColumn {
    pub(super) name: String,
    /// Its type there, such as `decimal(12,2)`.
    pub(super) declared: String,
    /// What values of it look like in an event: by the source's type, else by the target's.
    pub(super) kind: Kind,
    pub(super) members: Members,
    pub(super) fit: Fit,
    /// How the sink would define it now, where the source's column is another one.
    pub(super) wanted: Option<WantedType>,
    pub(super) is_nullable: bool,
    /// The target computes it.
    pub(super) is_generated: bool,
}

/// The type of the source's column, and its definition at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedType {
    declared: String,
    definition: String,
}

impl TargetTable {
    /// The place of a column. As everywhere in MySQL, capitals do not matter in its name.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Whether no two rows have the same values in these columns.
    pub(super) fn is_unique(&self, columns: &[usize]) -> bool {
        let mut sorted = columns.to_vec();
        sorted.sort_unstable();
        self.unique.contains(&sorted)
    }

    /// The columns whose type is another one than it was, in words.
    pub(super) fn altered_since(&self, before: &Self) -> Vec<String> {
        let was = |name: &str| before.column(name).and_then(|at| before.columns.get(at));
        let columns = self.columns.iter().filter_map(|now| Some((now, was(&now.name)?)));
        let altered = columns.filter(|(now, was)| now.declared != was.declared);
        altered
            .map(|(now, was)| format!("{} was {} and is {}", now.name, was.declared, now.declared))
            .collect()
    }

    /// The statement after which a column holds such a value, if one is known.
    pub(super) fn cure(
        &self,
        column: &TargetColumn,
        misfit: &Misfit,
        value: &CellValue<'_>,
    ) -> String {
        let wanted = column
            .wanted
            .as_ref()
            .filter(|wanted| Fit::of(&wanted.declared).holds(value, &wanted.declared).is_ok());
        let definition = match (wanted, &misfit.fitting) {
            (Some(wanted), _) => wanted.definition.clone(),
            (None, Some(fitting)) => format!("{fitting}{}", nullability(column.is_nullable)),
            (None, None) => return String::new(),
        };
        self.modify(column, &definition)
    }

    /// The statement that defines the column as the source's is, where it is another one and the
    /// server's message names it.
    pub(super) fn cure_of(&self, message: &str) -> Option<String> {
        let name = named_in(message)?;
        let column = self.column(name).and_then(|at| self.columns.get(at))?;
        Some(self.modify(column, &column.wanted.as_ref()?.definition))
    }

    /// The statement that defines a column as the source's is, where it is another one.
    pub(super) fn as_the_source(&self, name: &str) -> Option<String> {
        let column = self.column(name).and_then(|at| self.columns.get(at))?;
        Some(self.statement(column, &column.wanted.as_ref()?.definition))
    }

    /// The same as a part of a message, with what the source's column is, where that is known.
    fn modify(&self, column: &TargetColumn, definition: &str) -> String {
        let source = match &column.wanted {
            Some(wanted) => format!("; the source's column {} is {}", column.name, wanted.declared),
            None => String::new(),
        };
        format!("{source}; run there: {}", self.statement(column, definition))
    }

    fn statement(&self, column: &TargetColumn, definition: &str) -> String {
        let defined = defined(&column.name, definition);
        format!("ALTER TABLE {} MODIFY COLUMN {defined}", self.quoted())
    }

    /// Its name with its schema, between backticks.
    pub(super) fn quoted(&self) -> String {
        match self.schema.is_empty() {
            true => named(&self.name),
            false => format!("{}.{}", named(&self.schema), named(&self.name)),
        }
    }
}

/// Describes a table of the target; without columns when it is not there.
///
/// # Errors
///
/// What the target says.
pub(super) async fn describe(
    (client, conn): (&MysqlClient, &mut TargetConn),
    (schema, name): (&str, &str),
    source: Option<&Table>,
    shape: &Shape,
) -> Result<TargetTable, TargetError> {
    let place = place_of(schema, name);
    let sql = format!(
        "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE = 'YES', EXTRA LIKE '%GENERATED%' AND EXTRA \
         NOT LIKE '%DEFAULT_GENERATED%' FROM information_schema.COLUMNS WHERE {place} ORDER BY \
         ORDINAL_POSITION"
    );
    let rows: Vec<(String, String, bool, bool)> = client.ask(conn, &sql).await?;
    let sources = source.and_then(|source| source.columns.as_ref()).into_iter().flatten();
    let taken: Vec<(String, &TableColumn)> = sources
        .filter(|column| shape.takes(&column.name))
        .map(|column| (shape.name_of(&column.name).into_owned(), column))
        .collect();
    let of_source = |name: &str| taken.iter().find(|(of, _)| of.eq_ignore_ascii_case(name));
    let mut table =
        TargetTable { schema: schema.to_owned(), name: name.to_owned(), ..TargetTable::default() };
    for (at, (name, declared, is_nullable, is_generated)) in rows.into_iter().enumerate() {
        let source = of_source(&name).map(|(_, column)| *column);
        if source.is_some() && !is_generated {
            table.from_source.push(at);
        }
        table.columns.push(TargetColumn {
            kind: source.map_or_else(|| kind_there(&declared), |of| Kind::of(&of.declared)),
            members: Members::of(&declared),
            fit: Fit::of(&declared),
            wanted: source.and_then(|source| wanted(source, &declared, is_nullable)),
            name,
            declared,
            is_nullable,
            is_generated,
        });
    }
    // An expression of an index has no name here.
    let sql = format!(
        "SELECT INDEX_NAME, COLUMN_NAME FROM information_schema.STATISTICS WHERE {place} AND \
         NON_UNIQUE = 0 ORDER BY INDEX_NAME"
    );
    let parts: Vec<(String, Option<String>)> = client.ask(conn, &sql).await?;
    for index in parts.chunk_by(|(one, _), (other, _)| one == other) {
        let columns = index.iter().map(|(_, column)| table.column(column.as_deref()?));
        if let Some(mut columns) = columns.collect::<Option<Vec<usize>>>() {
            columns.sort_unstable();
            table.unique.push(columns);
        }
    }
    Ok(table)
}

/// How a column of the target should be defined, if its source's is another one.
fn wanted(source: &TableColumn, declared: &str, is_nullable: bool) -> Option<WantedType> {
    let is_stricter = source.nullable && !is_nullable;
    let is_other = is_stricter || !is_same_type(&source.declared, declared);
    is_other.then(|| WantedType {
        declared: source.declared.clone(),
        definition: declaration(source, is_nullable),
    })
}

/// The column that a server's message names: `… column 'n' at row 1`, or on MariaDB `… column
/// `s`.`t`.`n` at row 1`. Before it there may be a value.
fn named_in(message: &str) -> Option<&str> {
    let (_, rest) = message.rsplit_once("olumn ")?;
    let end = rest.find(" at row").or_else(|| rest.find(" cannot")).unwrap_or(rest.len());
    let place = rest[..end].trim();
    if let Some(name) = place.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return Some(name);
    }
    place.strip_suffix('`')?.rsplit('`').next()
}

/// The kind of a column by its type at the target. It may be a DOUBLE at the source where it is a
/// FLOAT here; such a value is written with all of its digits, and the target is free to change.
fn kind_there(declared: &str) -> Kind {
    match Kind::of(declared) {
        Kind::Single => Kind::Float,
        other => other,
    }
}

/// The condition for what is about a table.
fn place_of(schema: &str, name: &str) -> String {
    let mut sql = "TABLE_SCHEMA = ".to_owned();
    match schema.is_empty() {
        true => sql.push_str("DATABASE()"),
        false => push_text(&mut sql, schema),
    }
    sql.push_str(" AND TABLE_NAME = ");
    push_text(&mut sql, name);
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_of_a_message_is_found() {
        for message in [
            "Data too long for column 'n' at row 1",
            "Column 'n' cannot be null",
            "Incorrect integer value: 'in column 'x'' for column 'n' at row 1",
            "Incorrect integer value: 'a' for column `s`.`t`.`n` at row 12",
        ] {
            assert_eq!(named_in(message), Some("n"), "{message}");
        }
        assert_eq!(named_in("Duplicate entry '1' for key 'a'"), None);
    }
}
