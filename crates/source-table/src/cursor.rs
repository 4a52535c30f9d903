//! How far a table is read: the key of a row, kept exactly.

use mysql_async::Value;
use serde::{Deserialize, Serialize};

/// The key of a row: where a page ended, or a bound. It is kept as JSON. It belongs to one
/// definition of the key, and is refused with any other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// How the key was defined.
    pub(crate) key: String,
    /// One value for each of its parts.
    pub(crate) values: Vec<KeyValue>,
}

impl Cursor {
    /// Whether both are a whole number, and this one is larger.
    pub fn is_larger_number(&self, other: &Self) -> bool {
        match (self.values.as_slice(), other.values.as_slice()) {
            ([one], [other]) => match (one.whole_number(), other.whole_number()) {
                (Some(one), Some(other)) => one > other,
                _ => false,
            },
            _ => false,
        }
    }
}

/// The first and the last key that are read, both included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// `None`: from the first row on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Cursor>,
    /// `None`: to the last row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Cursor>,
}

/// A key's value, in the form that is sent to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum KeyValue {
    Unsigned(u64),
    Signed(i64),
    /// Text that the server itself turns into the type: a decimal, a date, an address.
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
    fn whole_number(&self) -> Option<i128> {
        match self {
            Self::Unsigned(n) => Some((*n).into()),
            Self::Signed(n) => Some((*n).into()),
            _ => None,
        }
    }

    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self::Bytes { hex: hex_digits(bytes) }
    }

    pub(crate) fn of_double(n: f64) -> Self {
        Self::Double { double: format!("{n:e}") }
    }
}

/// In the form that the server's `HEX` gives.
pub(crate) fn hex_digits(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |n: u8| char::from(DIGITS[usize::from(n)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads a TIME like `-838:59:59.000000`; the sign and the fraction may be absent.
pub(crate) fn read_time(text: &str) -> Option<Value> {
    const MAX_HOURS: u32 = 838;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (hms, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let mut parts = hms.split(':');
    let mut number = |digits: std::ops::RangeInclusive<usize>, max: u32| -> Option<u32> {
        let part = parts.next()?;
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
        let is_right = is_number && digits.contains(&part.len());
        part.parse().ok().filter(|n| is_right && *n <= max)
    };
    let hours = number(2..=3, MAX_HOURS)?;
    let minutes = u8::try_from(number(2..=2, 59)?).ok()?;
    let seconds = u8::try_from(number(2..=2, 59)?).ok()?;
    let is_fraction = (1..=6).contains(&fraction.len())
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && parts.next().is_none();
    let micros = format!("{fraction:0<6}").parse().ok().filter(|_| is_fraction)?;
    let (days, hours) = (hours / 24, u8::try_from(hours % 24).ok()?);
    Some(Value::Time(text.starts_with('-'), days, hours, minutes, seconds, micros))
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
            let KeyValue::Double { double } = value else { panic!("{value:?}") };
            assert_eq!(double.parse::<f64>().unwrap().to_bits(), n.to_bits());
        }
    }

    #[test]
    fn a_time_is_read_whole_or_refused() {
        for (text, expected) in [
            ("00:00:00", Value::Time(false, 0, 0, 0, 0, 0)),
            ("12:11:17.000000", Value::Time(false, 0, 12, 11, 17, 0)),
            ("-838:59:59", Value::Time(true, 34, 22, 59, 59, 0)),
            ("-00:00:00.1", Value::Time(true, 0, 0, 0, 0, 100_000)),
            ("100:00:00.000001", Value::Time(false, 4, 4, 0, 0, 1)),
        ] {
            assert_eq!(read_time(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "12",
            "12:00",
            "1:00:00",
            "12:60:00",
            "12:00:60",
            "839:00:00",
            "12:00:00.",
            "noon",
            "12:00:00.1234567",
            "12:00:00:00",
            "--12:00:00",
            "+12:00:00",
            "12:00:00.x",
            "1a:00:00",
        ] {
            assert_eq!(read_time(text), None, "{text}");
        }
    }
}
