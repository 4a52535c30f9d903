//! Values as literals of SQL, for a session with the charset utf8mb4 and the time zone UTC.

use std::fmt::Write as _;

use super::fit::is_single;
use crate::{
    geometry,
    value::{CellValue, Kind},
};

/// Appends a column's value as a literal.
///
/// # Errors
///
/// What is wrong with the value.
pub(super) fn push(sql: &mut String, kind: Kind, json: &str) -> Result<(), String> {
    push_value(sql, kind, CellValue::read(kind, json)?)
}

/// The same for a value that was read.
///
/// # Errors
///
/// As [`push`].
pub(super) fn push_value(sql: &mut String, kind: Kind, value: CellValue<'_>) -> Result<(), String> {
    match value {
        // The greatest of them is, with so few digits, greater than a FLOAT may be. With more
        // digits than that it is a DOUBLE: the column was made one, and nobody has told so yet.
        CellValue::Float(digits) if kind == Kind::Single && is_single(digits) => {
            let number: f32 = digits.parse().map_err(|_| "it is not a number".to_owned())?;
            // Writing to a string does not fail.
            let _ = write!(sql, "{:e}", f64::from(number));
        }
        // With an exponent it is a DOUBLE for the server, else a DECIMAL, which has no -0.
        CellValue::Float(digits) if !digits.contains(['e', 'E']) => {
            sql.push_str(digits);
            sql.push_str("e0");
        }
        CellValue::Null => sql.push_str("NULL"),
        CellValue::Integer(digits) | CellValue::Float(digits) => sql.push_str(digits),
        CellValue::Decimal(text)
        | CellValue::Text(text)
        | CellValue::Date(text)
        | CellValue::Time(text)
        | CellValue::DateTime(text)
        | CellValue::Json(text) => push_text(sql, &text),
        CellValue::Timestamp(text) => push_text(sql, &text),
        CellValue::Set(members) => push_text(sql, &members.join(",")),
        CellValue::Bytes(bytes) => push_bytes(sql, &bytes),
        CellValue::Geometry(json) => push_bytes(sql, &geometry::stored(json)?),
        CellValue::Vector(numbers) => {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            push_bytes(sql, &bytes);
        }
    }
    Ok(())
}

/// A text between quotes, for a session with NO_BACKSLASH_ESCAPES: only quotes are written twice
/// (MySQL manual, "String Literals").
pub(super) fn push_text(sql: &mut String, text: &str) {
    sql.push('\'');
    let mut parts = text.split('\'');
    sql.push_str(parts.next().unwrap_or_default());
    for part in parts {
        sql.push_str("''");
        sql.push_str(part);
    }
    sql.push('\'');
}

fn push_bytes(sql: &mut String, bytes: &[u8]) {
    sql.reserve(bytes.len() * 2 + 3);
    sql.push_str("x'");
    for byte in bytes {
        let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
        sql.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    sql.push('\'');
}

/// A name between backticks.
pub(super) fn named(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(declared: &str, json: &str) -> String {
        let mut sql = String::new();
        push(&mut sql, Kind::of(declared), json).unwrap();
        sql
    }

    #[test]
    fn values_become_literals() {
        assert_eq!(literal("int", "null"), "NULL");
        assert_eq!(literal("bit(3)", "5"), "5");
        assert_eq!(literal("double", "-0.0"), "-0.0e0");
        assert_eq!(literal("float", "3.4028235e+38"), "3.4028234663852886e38");
        assert_eq!(literal("decimal(4,2)", "\"-0.50\""), "'-0.50'");
        assert_eq!(literal("text", r#""a'b\\c\n\u0000\u001aä""#), "'a''b\\c\n\0\u{1a}ä'");
        assert_eq!(literal("blob", "\"AAEC\""), "x'000102'");
        assert_eq!(literal("set('a','b')", r#"["a","b"]"#), "'a,b'");
        assert_eq!(literal("vector(1)", "[1.0]"), "x'0000803f'");
        let timestamp = literal("timestamp(3)", "\"2026-01-02T03:04:05.678Z\"");
        assert_eq!(timestamp, "'2026-01-02 03:04:05.678'");
    }

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(named("a`b"), "`a``b`");
    }
}
