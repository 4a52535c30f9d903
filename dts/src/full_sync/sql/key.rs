//! The key that a table is read by, as SQL.
//!
//! The order is the server's: values are compared by it, in each column's own type and collation,
//! and never here.

use mysql_async::Value;

use super::cursor::{KeyValue, read_time};

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
    pub(crate) name: String,
    pub(crate) comparison: Comparison,
    /// What else the order of its values depends on: members, a zone.
    pub(crate) sorted_by: String,
}

/// How a value goes to the server, to be compared with a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
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

impl Key {
    /// Names the key's definition: a cursor of another one is of no use.
    pub(crate) fn identity(&self) -> String {
        let parts = self.parts.iter();
        parts
            .map(|part| format!("{} {}{}", part.sort(), part.operand(), part.sorted_by))
            .collect::<Vec<_>>()
            .join(",")
    }

    pub(crate) fn order(&self) -> String {
        self.parts.iter().map(KeyPart::sort).collect::<Vec<_>>().join(", ")
    }
}

impl KeyPart {
    /// What is compared: the column, or its begin; and what text has as bytes, where it is to be
    /// sorted without an index, since what sorts text and what compares it may not agree.
    pub(super) fn expression(&self) -> String {
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
    pub(crate) fn operand(&self) -> &str {
        match &self.comparison {
            Comparison::Cast(expression) | Comparison::Text(expression) => expression,
            Comparison::Bytes => "UNHEX(?)",
            _ => "?",
        }
    }

    /// What is selected beside the column, to know what stands in the key.
    pub(crate) fn selected_apart(&self) -> Option<String> {
        match self.comparison {
            Comparison::Member { .. } | Comparison::Bits { .. } => {
                Some(format!("CAST({} AS UNSIGNED)", self.name))
            }
            Comparison::Digits => Some(self.expression()),
            _ => self.prefix.map(|_| self.expression()),
        }
    }

    /// The parameter for a value; `None` for one that is not of such a key.
    pub(super) fn param(&self, value: &KeyValue) -> Option<Value> {
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
