//! The key that a table is read by, as SQL.
//!
//! The server's order counts: only the server compares values, in each column's own type and
//! collation.

use mysql_async::Value;

use crate::cursor::{KeyValue, read_time};

/// A unique key without NULLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The index's name.
    pub index: String,
    /// Its parts, in its order.
    pub parts: Vec<KeyPart>,
    /// Whether the index gives the rows in the key's order. If not, the server looks at the whole
    /// table for each page.
    pub is_ordered: bool,
}

/// A part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPart {
    /// The column, among those of the table.
    pub column: usize,
    /// The number of characters (or bytes) from the beginning that are in the key, if not all.
    pub prefix: Option<u64>,
    /// Whether the index has larger values first.
    pub descending: bool,
    /// The column's name, quoted.
    pub(crate) name: String,
    pub(crate) comparison: Comparison,
    /// What else the order of its values depends on: members, a time zone.
    pub(crate) sorted_by: String,
}

/// In which form a value is sent to the server, to be compared with a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// As a whole number: integers, BIT and YEAR.
    Number,
    /// As the number of a member of an ENUM with this many members.
    Member { count: u64 },
    /// As the bits of a SET.
    Bits { count: u64 },
    /// As seconds that the server turns into a TIME. (If the server gets text, it guesses:
    /// `12:11:17.000000` may be a date. MySQL 9 refuses some values near the limits of TIME as
    /// binary parameters. And MySQL reads `k > CAST(? AS TIME)` as `>=` for some.)
    Time,
    /// As a double: DOUBLE, and FLOAT, whose values are doubles, too.
    Double,
    /// As text that this expression turns into the type, on the server.
    Cast(String),
    /// As hexadecimal digits that this expression turns into text, on the server.
    Text(String),
    /// As hexadecimal digits of bytes.
    Bytes,
    /// As hexadecimal digits of a type that the server does not compare as bytes: GEOMETRY and
    /// VECTOR, which MariaDB allows in a key.
    Digits,
}

impl Key {
    /// Names the key's definition: a cursor of another definition cannot be used.
    pub(crate) fn identity(&self) -> String {
        let parts = self.parts.iter();
        parts
            .map(|part| format!("{} {}{}", part.sort(), part.form(), part.sorted_by))
            .collect::<Vec<_>>()
            .join(",")
    }

    pub(crate) fn order(&self) -> String {
        self.parts.iter().map(KeyPart::sort).collect::<Vec<_>>().join(", ")
    }
}

impl KeyPart {
    /// What is compared: the column, or its beginning. Text that is sorted without an index is
    /// compared by its bytes, since the server's sorting and comparing may differ.
    pub(crate) fn expression(&self) -> String {
        let begin = match self.prefix {
            Some(length) => format!("LEFT({}, {length})", self.name),
            None => self.name.clone(),
        };
        match self.comparison {
            Comparison::Bytes => format!("CAST({begin} AS BINARY)"),
            Comparison::Digits => format!("HEX({begin})"),
            // As a signed number: a SET of 64 members is not ordered in this way.
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

    /// The other side of the comparison: an expression with one parameter.
    pub(crate) fn operand(&self) -> &str {
        match &self.comparison {
            Comparison::Time => "SEC_TO_TIME(CAST(? AS DECIMAL(13, 6)))",
            _ => self.form(),
        }
    }

    /// The same as cursors know it: it must stay, or a full sync that has begun cannot go on.
    fn form(&self) -> &str {
        match &self.comparison {
            Comparison::Cast(expression) | Comparison::Text(expression) => expression,
            Comparison::Bytes => "UNHEX(?)",
            _ => "?",
        }
    }

    /// What to select beside the column, to know the value in the key.
    pub(crate) fn selected_apart(&self) -> Option<String> {
        match self.comparison {
            Comparison::Member { .. } | Comparison::Bits { .. } => {
                Some(format!("CAST({} AS UNSIGNED)", self.name))
            }
            Comparison::Digits => Some(self.expression()),
            _ => self.prefix.map(|_| self.expression()),
        }
    }

    /// The parameter for a value; `None` for a value that such a key cannot have.
    pub(crate) fn param(&self, value: &KeyValue) -> Option<Value> {
        Some(match (&self.comparison, value) {
            (
                Comparison::Number | Comparison::Member { .. } | Comparison::Bits { .. },
                KeyValue::Unsigned(n),
            ) => Value::UInt(*n),
            (Comparison::Number, KeyValue::Signed(n)) => Value::Int(*n),
            (Comparison::Double, KeyValue::Double { double }) => {
                Value::Double(double.parse().ok().filter(|n: &f64| n.is_finite())?)
            }
            (Comparison::Time, KeyValue::Text(text)) => Value::Bytes(seconds(text)?.into_bytes()),
            (Comparison::Cast(_), KeyValue::Text(text)) => Value::Bytes(text.clone().into_bytes()),
            (
                Comparison::Text(_) | Comparison::Bytes | Comparison::Digits,
                KeyValue::Bytes { hex },
            ) => Value::Bytes(hex.clone().into_bytes()),
            _ => return None,
        })
    }
}

/// The seconds of a TIME, as a decimal number.
fn seconds(time: &str) -> Option<String> {
    let Value::Time(is_negative, days, hours, minutes, seconds, micros) = read_time(time)? else {
        return None;
    };
    let hours = days * 24 + u32::from(hours);
    let seconds = (hours * 60 + u32::from(minutes)) * 60 + u32::from(seconds);
    let sign = if is_negative { "-" } else { "" };
    Some(format!("{sign}{seconds}.{micros:06}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_sent_as_its_seconds() {
        for (time, expected) in [
            ("-838:59:58.999999", "-3020398.999999"),
            ("00:00:00", "0.000000"),
            ("-00:00:00.500000", "-0.500000"),
            ("12:11:17.000000", "43877.000000"),
        ] {
            assert_eq!(seconds(time).as_deref(), Some(expected));
        }
        assert_eq!(seconds("noon"), None);
    }
}
