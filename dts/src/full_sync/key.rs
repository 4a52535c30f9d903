//! The key that a table is read by, and pages of rows in its order, as SQL.
//!
//! The order is the server's: values are compared by it, in each column's own type and collation,
//! and never here.

use mysql_async::{Params, Value};

use super::{
    cursor::{Bounds, Cursor, KeyValue, read_time},
    error::{Error, Result},
    table::Description,
};

/// A larger ENUM is compared as a number, which the server cannot search its index by.
const MAX_LISTED_MEMBERS: u64 = 1000;

/// A unique key without NULLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The index's name.
    pub index: String,
    /// Its parts, in its order.
    pub parts: Vec<KeyPart>,
    /// Whether the index gives the rows in the key's order. If not, each page costs the server a
    /// look at the whole table.
    pub is_ordered: bool,
}

/// A part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPart {
    /// The column, among those of the table.
    pub column: usize,
    /// Only so many characters (or bytes) from its begin are in the key.
    pub prefix: Option<u64>,
    /// Whether the index has its larger values first.
    pub descending: bool,
    /// The column's name, quoted.
    pub(super) name: String,
    pub(super) comparison: Comparison,
    /// What else the order of its values depends on: members, a zone.
    pub(super) sorted_by: String,
}

/// How a value goes to the server, to be compared with a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// As a whole number: integers, BIT and YEAR.
    Number,
    /// As the number of a member of an ENUM that has so many.
    Member { count: u64 },
    /// As the bits of a SET.
    Bits { count: u64 },
    /// As a TIME. (Of text the server makes one by guessing: `12:11:17.000000` may be a date.)
    Time,
    /// As a double: FLOAT, each of which is one, and DOUBLE.
    Double,
    /// As text that the server makes the type of, by this expression.
    Cast(String),
    /// As hexadecimal digits that the server makes text of, by this expression.
    Text(String),
    /// As hexadecimal digits of bytes.
    Bytes,
    /// The same, of what the server takes for no bytes: GEOMETRY and VECTOR, which MariaDB lets be
    /// in a key.
    Digits,
}

/// Which rows, seen from a key's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    After,
    FromOn,
    UpTo,
}

impl Key {
    /// Names the key's definition: a cursor of another one is of no use.
    pub(super) fn identity(&self) -> String {
        let parts = self.parts.iter();
        parts
            .map(|part| format!("{} {}{}", part.sort(), part.operand(), part.sorted_by))
            .collect::<Vec<_>>()
            .join(",")
    }

    pub(super) fn order(&self) -> String {
        self.parts.iter().map(KeyPart::sort).collect::<Vec<_>>().join(", ")
    }
}

impl KeyPart {
    /// What is compared: the column, or its begin; and what text has as bytes, where it is to be
    /// sorted without an index, since what sorts text and what compares it may not agree.
    fn expression(&self) -> String {
        let begin = match self.prefix {
            Some(length) => format!("LEFT({}, {length})", self.name),
            None => self.name.clone(),
        };
        match self.comparison {
            Comparison::Bytes => format!("CAST({begin} AS BINARY)"),
            Comparison::Digits => format!("HEX({begin})"),
            // As a number with a sign, which the order of a SET of 64 members does not have.
            Comparison::Bits { count: 64 } => format!("CAST({begin} AS UNSIGNED)"),
            _ => begin,
        }
    }

    fn sort(&self) -> String {
        let sorted = match self.comparison {
            Comparison::Bits { .. } => self.name.clone(),
            _ => self.expression(),
        };
        format!("{sorted} {}", if self.descending { "DESC" } else { "ASC" })
    }

    /// The expression with one parameter that is compared with.
    pub(super) fn operand(&self) -> &str {
        match &self.comparison {
            Comparison::Cast(expression) | Comparison::Text(expression) => expression,
            Comparison::Bytes => "UNHEX(?)",
            _ => "?",
        }
    }

    /// What is selected beside the column, to know what stands in the key.
    pub(super) fn selected_apart(&self) -> Option<String> {
        match self.comparison {
            Comparison::Member { .. } | Comparison::Bits { .. } => {
                Some(format!("CAST({} AS UNSIGNED)", self.name))
            }
            Comparison::Digits => Some(self.expression()),
            _ => self.prefix.map(|_| self.expression()),
        }
    }

    /// The parameter for a value; `None` for one that is not of such a key.
    fn param(&self, value: &KeyValue) -> Option<Value> {
        Some(match (&self.comparison, value) {
            (
                Comparison::Number | Comparison::Member { .. } | Comparison::Bits { .. },
                KeyValue::Unsigned(n),
            ) => Value::UInt(*n),
            (Comparison::Number, KeyValue::Signed(n)) => Value::Int(*n),
            (Comparison::Double, KeyValue::Double { double }) => {
                Value::Double(double.parse().ok().filter(|n: &f64| n.is_finite())?)
            }
            (Comparison::Time, KeyValue::Text(text)) => read_time(text)?,
            (Comparison::Cast(_), KeyValue::Text(text)) => Value::Bytes(text.clone().into_bytes()),
            (
                Comparison::Text(_) | Comparison::Bytes | Comparison::Digits,
                KeyValue::Bytes { hex },
            ) => Value::Bytes(hex.clone().into_bytes()),
            _ => return None,
        })
    }
}

impl Description {
    /// The query for the next page: so many rows, at most, after a key, within the bounds, in the
    /// key's order. What it selects is for a [`RowWriter`](super::RowWriter) of this description.
    ///
    /// The cursors must have passed [`Description::check`]: of one that the server misreads rows
    /// may be lost.
    ///
    /// Of a table without a key it gives all rows, in no order, and neither a cursor nor bounds can
    /// be given.
    ///
    /// # Errors
    ///
    /// [`Error::Altered`], when a cursor is of another definition of the key.
    pub fn page_query(
        &self,
        after: Option<&Cursor>,
        bounds: &Bounds,
        limit: u64,
    ) -> Result<(String, Params)> {
        let mut query = Query::default();
        query.add("SELECT ");
        query.add(&self.select_list());
        query.add(&format!(" FROM {}", self.quoted_name()));
        if let Some(key) = self.key.as_ref().filter(|key| key.is_ordered) {
            query.add(&format!(" FORCE INDEX ({})", quoted(&key.index)));
        }
        let first = match after {
            Some(cursor) => Some((cursor, Side::After)),
            None => bounds.first.as_ref().map(|cursor| (cursor, Side::FromOn)),
        };
        let last = bounds.last.as_ref().map(|cursor| (cursor, Side::UpTo));
        let mut joint = " WHERE ";
        for (cursor, side) in first.into_iter().chain(last) {
            query.add(joint);
            query.add_side(self.key_of(cursor)?, (&cursor.values, side));
            joint = " AND ";
        }
        if let Some(key) = &self.key {
            query.add(&format!(" ORDER BY {}", key.order()));
        }
        query.add(" LIMIT ?");
        query.params.push(Value::UInt(limit));
        Ok((query.sql, Params::Positional(query.params)))
    }

    /// The key that a cursor is of.
    pub(super) fn key_of(&self, cursor: &Cursor) -> Result<&Key> {
        let fits = |key: &&Key| {
            key.identity() == cursor.key
                && key.parts.len() == cursor.values.len()
                && key
                    .parts
                    .iter()
                    .zip(&cursor.values)
                    .all(|(part, value)| part.param(value).is_some())
        };
        self.key.as_ref().filter(fits).ok_or_else(|| {
            Error::Altered(format!(
                "the key of {} is not the one that it was read by: ({}) before",
                self.name(),
                cursor.key
            ))
        })
    }

    /// All columns, then what else the key needs.
    fn select_list(&self) -> String {
        let columns = self.columns.iter().map(|column| quoted(&column.name));
        let parts = self.key.iter().flat_map(|key| &key.parts);
        columns.chain(parts.filter_map(KeyPart::selected_apart)).collect::<Vec<_>>().join(", ")
    }
}

/// SQL, and the parameters in it.
#[derive(Debug, Default)]
struct Query {
    sql: String,
    params: Vec<Value>,
}

impl Query {
    fn add(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    /// A condition for the rows on one side of a key: of the first part that differs it demands the
    /// right side, of those before it that they are equal. The server makes ranges of its index of
    /// this form, and of no comparison of rows.
    fn add_side(&mut self, key: &Key, (values, side): (&[KeyValue], Side)) {
        self.add("(");
        for differs in 0..key.parts.len() {
            self.add(if differs == 0 { "(" } else { " OR (" });
            for (part, value) in key.parts.iter().zip(values).take(differs) {
                self.add(&format!("{} = {} AND ", part.expression(), part.operand()));
                self.params.extend(part.param(value));
            }
            let is_last = differs + 1 == key.parts.len();
            let inclusive = is_last && side != Side::After;
            if let Some((part, value)) = key.parts.iter().zip(values).nth(differs) {
                let larger = (side == Side::UpTo) == part.descending;
                self.add_comparison(part, (value, larger, inclusive));
            }
            self.add(")");
        }
        self.add(")");
    }

    fn add_comparison(
        &mut self,
        part: &KeyPart,
        (value, larger, inclusive): (&KeyValue, bool, bool),
    ) {
        if let (Comparison::Member { count }, KeyValue::Unsigned(n)) = (&part.comparison, value)
            && *count <= MAX_LISTED_MEMBERS
        {
            return self.add_members(part, members_beyond((*n, *count), larger, inclusive));
        }
        let operator = match (larger, inclusive) {
            (true, false) => ">",
            (true, true) => ">=",
            (false, false) => "<",
            (false, true) => "<=",
        };
        self.add(&format!("{} {operator} {}", part.expression(), part.operand()));
        self.params.extend(part.param(value));
    }

    /// The index of an ENUM is searched for single members, not for ranges.
    fn add_members(&mut self, part: &KeyPart, members: std::ops::RangeInclusive<u64>) {
        let listed: Vec<String> = members.map(|number| number.to_string()).collect();
        if listed.is_empty() {
            self.add("FALSE");
        } else {
            self.add(&format!("{} IN ({})", part.name, listed.join(",")));
        }
    }
}

/// The numbers of members on one side of a number. 0 is the one that an invalid value has.
fn members_beyond(
    (n, count): (u64, u64),
    larger: bool,
    inclusive: bool,
) -> std::ops::RangeInclusive<u64> {
    #[expect(clippy::reversed_empty_ranges, reason = "no members at all")]
    const NONE: std::ops::RangeInclusive<u64> = 1..=0;
    match (larger, inclusive) {
        (true, true) => n..=count,
        (true, false) => n.saturating_add(1)..=count,
        (false, true) => 0..=n.min(count),
        (false, false) => n.checked_sub(1).map_or(NONE, |below| 0..=below.min(count)),
    }
}

/// A name as an SQL identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
