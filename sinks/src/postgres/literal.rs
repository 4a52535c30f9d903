//! Values, as texts that a column of PostgreSQL reads.

use std::{borrow::Cow, fmt::Write as _};

use super::table::Form;
use crate::value::CellValue;

/// The text of a value for a column; `None` for NULL.
///
/// # Errors
///
/// Why the column cannot hold it.
pub(super) fn text_of(value: CellValue<'_>, form: Form) -> Result<Option<String>, String> {
    let text = match (form, value) {
        (_, CellValue::Null) => return Ok(None),
        (Form::Bytes, value) => hex(&bytes_of(value)),
        (Form::Bits(length), CellValue::Integer(digits)) => bits(digits, length)?,
        // Any other number is for the column's limit to refuse.
        (Form::Bool, CellValue::Integer("0")) => "f".to_owned(),
        (Form::Bool, CellValue::Integer("1")) => "t".to_owned(),
        // A constant of the config.
        (Form::Bool, CellValue::Text(text)) if text == "false" => "f".to_owned(),
        (Form::Bool, CellValue::Text(text)) if text == "true" => "t".to_owned(),
        (Form::Array, value) => array(value)?,
        (Form::Json, value) => json(value)?,
        (Form::Date | Form::Timestamp, CellValue::Date(text) | CellValue::DateTime(text)) => {
            return Ok(real_date(text));
        }
        (Form::Date | Form::Timestamp, CellValue::Timestamp(text)) => {
            return Ok(real_date(text.into()));
        }
        (_, value) => plain(value)?,
    };
    Ok(Some(text))
}

/// Appends a value to the text of an array.
pub(super) fn push_element(array: &mut String, value: Option<&str>) {
    array.push(if array.is_empty() { '{' } else { ',' });
    let Some(text) = value else {
        array.push_str("NULL");
        return;
    };
    array.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\\']) {
        let (before, after) = rest.split_at(at);
        array.push_str(before);
        array.push('\\');
        let (escaped, after) = after.split_at(1);
        array.push_str(escaped);
        rest = after;
    }
    array.push_str(rest);
    array.push('"');
}

/// Ends the text of an array.
pub(super) fn end_array(array: &mut String) {
    array.push_str(if array.is_empty() { "{}" } else { "}" });
}

/// PostgreSQL knows no day and no month 0, and no year 0: such a date is NULL.
fn real_date(text: Cow<'_, str>) -> Option<String> {
    let has_zero = text.get(..4) == Some("0000")
        || text.get(5..7) == Some("00")
        || text.get(8..10) == Some("00");
    (!has_zero).then(|| text.into_owned())
}

fn bytes_of(value: CellValue<'_>) -> Vec<u8> {
    match value {
        CellValue::Bytes(bytes) => bytes,
        other => plain(other).unwrap_or_default().into_bytes(),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The digits of a BIT; `length` is that of the column, 0 where it may vary.
fn bits(digits: &str, length: usize) -> Result<String, String> {
    let number: u64 = digits.parse().map_err(|_| "it is not a number of bits".to_owned())?;
    Ok(format!("{number:0length$b}"))
}

fn array(value: CellValue<'_>) -> Result<String, String> {
    let mut text = String::new();
    match value {
        CellValue::Set(members) => {
            for member in &members {
                push_element(&mut text, Some(without_nul(member)?));
            }
        }
        CellValue::Vector(numbers) => {
            for number in numbers {
                push_element(&mut text, Some(&number.to_string()));
            }
        }
        other => return plain(other),
    }
    end_array(&mut text);
    Ok(text)
}

fn json(value: CellValue<'_>) -> Result<String, String> {
    let text = match value {
        CellValue::Json(json) => json.into_owned(),
        CellValue::Geometry(json) => json.to_owned(),
        CellValue::Integer(digits) | CellValue::Float(digits) => digits.to_owned(),
        CellValue::Decimal(digits) => digits.into_owned(),
        CellValue::Set(members) => serde_json::json!(members).to_string(),
        CellValue::Vector(numbers) => serde_json::json!(numbers).to_string(),
        CellValue::Bytes(bytes) => {
            let base64 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes);
            serde_json::json!({ "base64": base64 }).to_string()
        }
        // A MariaDB keeps documents as texts.
        CellValue::Text(text) if is_json(&text) => text.into_owned(),
        other => serde_json::json!(plain(other)?).to_string(),
    };
    match has_escaped_nul(&text) {
        true => Err("the document has a character \\u0000, which jsonb cannot hold: make the \
                     column json or text there"
            .to_owned()),
        false => Ok(text),
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Whether a JSON text has the escape of the character 0, and not of a backslash before `u0000`.
fn has_escaped_nul(json: &str) -> bool {
    json.match_indices("\\u0000").any(|(at, _)| {
        let backslashes = json[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
        backslashes % 2 == 0
    })
}

/// As MySQL prints it.
fn plain(value: CellValue<'_>) -> Result<String, String> {
    let text = match value {
        CellValue::Null => String::new(),
        CellValue::Integer(text) | CellValue::Float(text) | CellValue::Geometry(text) => {
            text.to_owned()
        }
        CellValue::Decimal(text)
        | CellValue::Text(text)
        | CellValue::Date(text)
        | CellValue::Time(text)
        | CellValue::DateTime(text)
        | CellValue::Json(text) => text.into_owned(),
        CellValue::Timestamp(text) => text,
        CellValue::Set(members) => members.join(","),
        CellValue::Vector(numbers) => {
            let mut text = String::new();
            for number in numbers {
                // Writing to a string does not fail.
                let _ = write!(text, "{}{number}", if text.is_empty() { "[" } else { "," });
            }
            text + "]"
        }
        CellValue::Bytes(bytes) => String::from_utf8(bytes).map_err(|_| {
            "it has bytes that are no text in UTF-8: make the column bytea there".to_owned()
        })?,
    };
    without_nul(&text)?;
    Ok(text)
}

fn without_nul(text: &str) -> Result<&str, String> {
    match text.contains('\0') {
        true => Err("the text has a character 0, which PostgreSQL cannot hold in a text: make \
                     the column bytea there, or leave it out with columns.exclude"
            .to_owned()),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Kind;

    fn text(declared: &str, json: &str, form: Form) -> Result<Option<String>, String> {
        text_of(CellValue::read(Kind::of(declared), json)?, form)
    }

    fn some(declared: &str, json: &str, form: Form) -> String {
        text(declared, json, form).unwrap().unwrap()
    }

    #[test]
    fn values_become_what_the_column_reads() {
        assert_eq!(
            some("bigint unsigned", "18446744073709551615", Form::Other),
            "18446744073709551615"
        );
        assert_eq!(some("bit(5)", "5", Form::Bits(5)), "00101");
        assert_eq!(some("bit(5)", "5", Form::Bits(0)), "101");
        assert_eq!(some("bit(5)", "5", Form::Other), "5");
        assert_eq!(some("tinyint(1)", "1", Form::Bool), "t");
        assert_eq!(some("blob", "\"AAEC\"", Form::Bytes), "\\x000102");
        assert_eq!(some("set('a','b,c')", r#"["a","b,c"]"#, Form::Array), r#"{"a","b,c"}"#);
        assert_eq!(some("set('a','b')", "[]", Form::Array), "{}");
        assert_eq!(some("vector(2)", "[0.1,-2.5]", Form::Array), r#"{"0.1","-2.5"}"#);
        assert_eq!(some("longtext", r#""{\"a\":1}""#, Form::Json), "{\"a\":1}");
        assert_eq!(some("varchar(9)", "\"a b\"", Form::Json), "\"a b\"");
        assert_eq!(some("time", "\"-838:59:59\"", Form::Other), "-838:59:59");
    }

    #[test]
    fn dates_that_are_none_become_null() {
        for zero in ["0000-00-00", "2024-00-00", "2024-01-00", "0000-01-01"] {
            assert_eq!(text("date", &format!("\"{zero}\""), Form::Date), Ok(None), "{zero}");
        }
        let zero = "\"0000-00-00 00:00:00\"";
        assert_eq!(text("timestamp", zero, Form::Timestamp), Ok(None));
        assert_eq!(some("date", "\"2024-10-20\"", Form::Date), "2024-10-20");
    }

    #[test]
    fn what_postgresql_cannot_hold_is_said() {
        let said = text("varchar(9)", "\"a\\u0000\"", Form::Other).unwrap_err();
        assert!(said.contains("bytea"), "{said}");
        let said = text("json", r#"{"a":"\u0000"}"#, Form::Json).unwrap_err();
        assert!(said.contains("jsonb"), "{said}");
        assert!(text("json", r#"{"a":"\\u0000"}"#, Form::Json).is_ok());
        assert!(text("text", r#"{"base64":"/w=="}"#, Form::Other).unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn an_array_of_texts_is_read_back_as_it_was() {
        let mut array = String::new();
        for value in [Some("a\"b\\c,{}"), None, Some(""), Some("NULL")] {
            push_element(&mut array, value);
        }
        end_array(&mut array);
        assert_eq!(array, r#"{"a\"b\\c,{}",NULL,"","NULL"}"#);
    }
}
