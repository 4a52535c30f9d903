//! How far a table is read: the key of a row, kept exactly.

use mysql_async::Value;
use serde::{Deserialize, Serialize};

/// The key of a row: where a page ended, or a bound. It is kept as JSON, and is of one definition of
/// the key: of another it is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// How the key was defined.
    pub(super) key: String,
    /// One for each of its parts.
    pub(super) values: Vec<KeyValue>,
}

/// The first and the last key that are read, both included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Without it from the first row on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Cursor>,
    /// Without it to the last row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Cursor>,
}

/// A value as it is given back to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum KeyValue {
    Unsigned(u64),
    Signed(i64),
    /// What the server itself turns into the type: a decimal, a date, an address.
    Text(String),
    /// The shortest text that reads back as the same number.
    Double {
        double: String,
    },
    /// The hexadecimal digits of a text in its own character set, or of bytes.
    Bytes {
        hex: String,
    },
}

impl KeyValue {
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let digit = |n: u8| char::from(DIGITS[usize::from(n)]);
        let hex = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        Self::Bytes { hex }
    }

    pub(super) fn of_double(n: f64) -> Self {
        Self::Double { double: format!("{n:e}") }
    }

    /// The parameter for it.
    pub(super) fn to_param(&self) -> Value {
        match self {
            Self::Unsigned(n) => Value::UInt(*n),
            Self::Signed(n) => Value::Int(*n),
            Self::Text(text) => Value::Bytes(text.clone().into_bytes()),
            Self::Double { double } => Value::Double(double.parse().unwrap_or(f64::NAN)),
            Self::Bytes { hex } => Value::Bytes(hex.clone().into_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_exactly() {
        let doubles = [0.1, -0.0, 5e-324, f64::MAX, 1e15, 2_251_799_813_685_248.25];
        let mut values = vec![
            KeyValue::Unsigned(u64::MAX),
            KeyValue::Unsigned(0),
            KeyValue::Signed(i64::MIN),
            KeyValue::Signed(-1),
            KeyValue::Text("-838:59:59.000001".to_owned()),
            KeyValue::Text("7".to_owned()),
            KeyValue::of_bytes(&[]),
            KeyValue::of_bytes(b"\0\xff\"a"),
        ];
        values.extend(doubles.map(KeyValue::of_double));
        let cursor = Cursor { key: "`a` ASC".to_owned(), values };
        let json = serde_json::to_string(&cursor).unwrap();
        let read: Cursor = serde_json::from_str(&json).unwrap();
        assert_eq!(read, cursor, "{json}");
        for (value, n) in read.values.iter().rev().zip(doubles.iter().rev()) {
            let Value::Double(found) = value.to_param() else { panic!("{value:?}") };
            assert_eq!(found.to_bits(), n.to_bits());
        }
    }
}
