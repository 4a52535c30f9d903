//! A column's value without JSON around it, by its type at the source (`docs/event-format.md`,
//! "Types"). Each target writes it as its own types need.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::value::RawValue;

/// What a column holds, as far as values of it look different.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    Bit,
    /// FLOAT: a number with the fewest digits from which the same 32 bits can be read.
    Single,
    /// DOUBLE: the same of 64 bits.
    Float,
    Decimal,
    Date,
    Time,
    DateTime,
    Timestamp,
    Year,
    #[default]
    Text,
    Binary,
    Enum,
    Set,
    Json,
    Geometry,
    Vector,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CellValue<'a> {
    Null,
    /// A whole number, by its digits; a BIT, too.
    Integer(&'a str),
    /// A number with a point or an exponent.
    Float(&'a str),
    Decimal(Cow<'a, str>),
    Text(Cow<'a, str>),
    Bytes(Vec<u8>),
    /// As MySQL prints it.
    Date(Cow<'a, str>),
    Time(Cow<'a, str>),
    DateTime(Cow<'a, str>),
    /// As MySQL prints it in a session with the time zone UTC.
    Timestamp(String),
    /// The names of the members.
    Set(Vec<String>),
    /// The text of the document.
    Json(Cow<'a, str>),
    /// An object as GeoJSON has it, with its `srid`.
    Geometry(&'a str),
    Vector(Vec<f32>),
}

impl Kind {
    /// The kind of a type as `CREATE TABLE` has it, such as `int unsigned` or `varchar(10)`.
    pub(crate) fn of(declared: &str) -> Self {
        let word: String = declared
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .flat_map(char::to_lowercase)
            .collect();
        match word.as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "bool"
            | "boolean" => Self::Integer,
            "bit" => Self::Bit,
            "float" => Self::Single,
            "double" | "real" => Self::Float,
            "decimal" | "numeric" | "dec" | "fixed" => Self::Decimal,
            "date" => Self::Date,
            "time" => Self::Time,
            "datetime" => Self::DateTime,
            "timestamp" => Self::Timestamp,
            "year" => Self::Year,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
                Self::Binary
            }
            "enum" => Self::Enum,
            "set" => Self::Set,
            "json" => Self::Json,
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geometrycollection" | "geomcollection" => Self::Geometry,
            "vector" => Self::Vector,
            // Also what only MariaDB has: uuid, inet4, inet6 come as texts.
            _ => Self::Text,
        }
    }
}

impl<'a> CellValue<'a> {
    /// Reads a value of a kind from its JSON text.
    ///
    /// # Errors
    ///
    /// What is wrong, without the value.
    pub(crate) fn read(kind: Kind, json: &'a str) -> Result<Self, String> {
        if json == "null" {
            return Ok(Self::Null);
        }
        // A document may look the same.
        if kind != Kind::Json
            && let Some(bytes) = undecoded(json)
        {
            return bytes.map(Self::Bytes);
        }
        Ok(match kind {
            Kind::Integer | Kind::Bit => Self::Integer(number(json)?),
            Kind::Single | Kind::Float => Self::Float(number(json)?),
            Kind::Decimal => Self::Decimal(text(json)?),
            Kind::Date => Self::Date(text(json)?),
            Kind::Time => Self::Time(text(json)?),
            Kind::DateTime => Self::DateTime(text(json)?),
            Kind::Timestamp => Self::Timestamp(timestamp(&text(json)?)),
            Kind::Year | Kind::Text | Kind::Enum => Self::Text(text(json)?),
            Kind::Binary => Self::Bytes(base64(&text(json)?)?),
            Kind::Set => Self::Set(serde_json::from_str(json).map_err(|_| wrong("a list"))?),
            Kind::Json => Self::Json(Cow::Borrowed(json)),
            Kind::Geometry => Self::Geometry(json),
            Kind::Vector => {
                Self::Vector(serde_json::from_str(json).map_err(|_| wrong("a list of numbers"))?)
            }
        })
    }
}

fn wrong(wanted: &str) -> String {
    format!("it is not {wanted}, as the type of its column says")
}

/// The bytes of a value that its charset or format does not have: `{"base64":"…"}` in its place.
fn undecoded(json: &str) -> Option<Result<Vec<u8>, String>> {
    let inner = json.strip_prefix(r#"{"base64":"#)?.strip_suffix('}')?;
    Some(text(inner).and_then(|text| base64(&text)))
}

/// A number's text; with `bigint = "string"` it is in quotes. A constant of the config may be true.
fn number(json: &str) -> Result<&str, String> {
    match json {
        "true" => return Ok("1"),
        "false" => return Ok("0"),
        _ => {}
    }
    let inner = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(json);
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
    match !inner.is_empty() && inner.chars().all(is_number) {
        true => Ok(inner),
        false => Err(wrong("a number")),
    }
}

fn text(json: &str) -> Result<Cow<'_, str>, String> {
    let plain = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match plain {
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        Some(_) => {
            let read: Result<String, _> = serde_json::from_str(json);
            read.map(Cow::Owned).map_err(|_| wrong("a text"))
        }
        // A JSON document that a MariaDB keeps as text comes as a text; a number is one here.
        None => match serde_json::from_str::<&RawValue>(json) {
            Ok(raw) => Ok(Cow::Borrowed(raw.get())),
            Err(_) => Err(wrong("a text")),
        },
    }
}

fn base64(text: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD.decode(text).map_err(|_| wrong("base64"))
}

/// RFC 3339 without its letters; the zero timestamp has none.
fn timestamp(text: &str) -> String {
    text.trim_end_matches('Z').replacen('T', " ", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(declared: &str, json: &'static str) -> CellValue<'static> {
        CellValue::read(Kind::of(declared), json).unwrap()
    }

    #[test]
    fn each_type_has_its_kind() {
        for (declared, kind) in [
            ("bigint unsigned", Kind::Integer),
            ("INT(10) zerofill", Kind::Integer),
            ("bit(3)", Kind::Bit),
            ("decimal(10,2)", Kind::Decimal),
            ("double", Kind::Float),
            ("timestamp(3)", Kind::Timestamp),
            ("varbinary(16)", Kind::Binary),
            ("enum('a','b')", Kind::Enum),
            ("set('a','b')", Kind::Set),
            ("geomcollection", Kind::Geometry),
            ("longtext", Kind::Text),
            ("uuid", Kind::Text),
        ] {
            assert_eq!(Kind::of(declared), kind, "{declared}");
        }
    }

    #[test]
    fn values_lose_their_json_and_nothing_else() {
        use CellValue as V;
        assert_eq!(read("int", "null"), V::Null);
        assert_eq!(
            read("bigint unsigned", "18446744073709551615"),
            V::Integer("18446744073709551615")
        );
        assert_eq!(read("bigint", "\"-9007199254740993\""), V::Integer("-9007199254740993"));
        assert_eq!(read("float", "1e+300"), V::Float("1e+300"));
        assert_eq!(read("decimal(4,2)", "\"-0.50\""), V::Decimal("-0.50".into()));
        assert_eq!(read("varchar(9)", r#""a\n\"ä\u0000""#), V::Text("a\n\"ä\0".into()));
        assert_eq!(read("blob", "\"AAEC\""), V::Bytes(vec![0, 1, 2]));
        assert_eq!(read("text", r#"{"base64":"/w=="}"#), V::Bytes(vec![255]));
        assert_eq!(
            read("timestamp(3)", "\"2026-01-02T03:04:05.678Z\""),
            V::Timestamp("2026-01-02 03:04:05.678".into())
        );
        let zero = "0000-00-00 00:00:00";
        assert_eq!(read("timestamp", "\"0000-00-00 00:00:00\""), V::Timestamp(zero.into()));
        assert_eq!(read("set('a','c')", r#"["a","c"]"#), V::Set(vec!["a".into(), "c".into()]));
        assert_eq!(read("json", r#"{"a":[1,2.50]}"#), V::Json(r#"{"a":[1,2.50]}"#.into()));
        assert_eq!(read("vector(2)", "[0.1,-2.5]"), V::Vector(vec![0.1, -2.5]));
        assert!(CellValue::read(Kind::Integer, "\"x\"").unwrap_err().contains("not a number"));
    }

    #[test]
    fn a_document_with_a_member_base64_is_a_document() {
        let json = r#"{"base64":"/w=="}"#;
        assert_eq!(CellValue::read(Kind::Json, json), Ok(CellValue::Json(json.into())));
    }
}
