//! From a value of a SELECT to its JSON form: the one that the binlog decoder writes for the same
//! value (`docs/event-format.md`).

use binlog::{
    Charset, Fault, geometry,
    moments::{self, Moment, Time},
    vector,
};
use change_event::json;
use mysql_async::{
    Value,
    consts::{ColumnFlags, ColumnType},
};

/// The type of a column, with all that the JSON forms of its values depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Integer {
        unsigned: bool,
    },
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    /// With this many digits of fraction. The same holds for the next two.
    Time(u8),
    DateTime(u8),
    Timestamp(u8),
    Date,
    Year,
    Bit,
    /// The character set, and its name.
    Text {
        read: Charset,
        charset: String,
    },
    /// BINARY, VARBINARY and BLOB.
    Binary,
    Enum(Charset),
    Set(Charset),
    Json,
    Geometry,
    Vector,
    /// UUID, INET4 or INET6 of MariaDB: the server's text is the JSON string.
    Address(&'static str),
}

impl Form {
    /// From `information_schema.COLUMNS`: DATA_TYPE and COLUMN_TYPE; the character set; precision,
    /// scale and digits of fraction. If the type is not handled: the beginning of a message about
    /// it.
    pub(crate) fn of(
        (data_type, column_type): (&str, &str),
        charset: Option<&str>,
        (precision, scale, fraction): (u8, u8, u8),
    ) -> Result<Self, String> {
        let read = || match charset {
            // Members of a binary ENUM are names, too.
            None | Some("binary") => Ok(Charset::Utf8mb4),
            Some(name) => Charset::named(name).ok_or(format!("the character set {name} is")),
        };
        Ok(match data_type {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => {
                Self::Integer { unsigned: column_type.contains("unsigned") }
            }
            "float" => Self::Float,
            "double" => Self::Double,
            "decimal" => Self::Decimal { precision, scale },
            "bit" => Self::Bit,
            "year" => Self::Year,
            "date" => Self::Date,
            "time" => Self::Time(fraction),
            "datetime" => Self::DateTime(fraction),
            "timestamp" => Self::Timestamp(fraction),
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
                Self::Text { read: read()?, charset: charset.unwrap_or_default().to_owned() }
            }
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
                Self::Binary
            }
            "enum" => Self::Enum(read()?),
            "set" => Self::Set(read()?),
            "json" => Self::Json,
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geomcollection" | "geometrycollection" => Self::Geometry,
            "vector" => Self::Vector,
            "uuid" => Self::Address("UUID"),
            "inet4" => Self::Address("INET4"),
            "inet6" => Self::Address("INET6"),
            _ => return Err(format!("the type {} is", data_type.to_uppercase())),
        })
    }

    /// Whether the column of a result has this type.
    pub(crate) fn fits(&self, column: &mysql_async::Column) -> bool {
        use ColumnType as T;
        let (kind, flags) = (column.column_type(), column.flags());
        let is_text = |read: &Charset| Charset::of_collation(column.character_set()) == Some(*read);
        let is_string = matches!(
            kind,
            T::MYSQL_TYPE_STRING
                | T::MYSQL_TYPE_VAR_STRING
                | T::MYSQL_TYPE_VARCHAR
                | T::MYSQL_TYPE_TINY_BLOB
                | T::MYSQL_TYPE_BLOB
                | T::MYSQL_TYPE_MEDIUM_BLOB
                | T::MYSQL_TYPE_LONG_BLOB
        );
        let is_member = flags.intersects(ColumnFlags::ENUM_FLAG | ColumnFlags::SET_FLAG);
        match self {
            Self::Integer { unsigned } => {
                let is_integer = matches!(
                    kind,
                    T::MYSQL_TYPE_TINY
                        | T::MYSQL_TYPE_SHORT
                        | T::MYSQL_TYPE_INT24
                        | T::MYSQL_TYPE_LONG
                        | T::MYSQL_TYPE_LONGLONG
                );
                is_integer && flags.contains(ColumnFlags::UNSIGNED_FLAG) == *unsigned
            }
            Self::Float => kind == T::MYSQL_TYPE_FLOAT,
            Self::Double => kind == T::MYSQL_TYPE_DOUBLE,
            Self::Decimal { scale, .. } => {
                kind == T::MYSQL_TYPE_NEWDECIMAL && column.decimals() == *scale
            }
            Self::Time(digits) => kind == T::MYSQL_TYPE_TIME && column.decimals() == *digits,
            Self::DateTime(digits) => {
                kind == T::MYSQL_TYPE_DATETIME && column.decimals() == *digits
            }
            Self::Timestamp(digits) => {
                kind == T::MYSQL_TYPE_TIMESTAMP && column.decimals() == *digits
            }
            Self::Date => kind == T::MYSQL_TYPE_DATE,
            Self::Year => kind == T::MYSQL_TYPE_YEAR,
            Self::Bit => kind == T::MYSQL_TYPE_BIT,
            Self::Text { read, .. } => is_string && !is_member && is_text(read),
            Self::Binary => is_string && column.character_set() == BINARY,
            Self::Enum(_) => flags.contains(ColumnFlags::ENUM_FLAG),
            Self::Set(_) => flags.contains(ColumnFlags::SET_FLAG),
            Self::Json => kind == T::MYSQL_TYPE_JSON,
            Self::Geometry => kind == T::MYSQL_TYPE_GEOMETRY,
            // The second is MariaDB's.
            Self::Vector => {
                kind == T::MYSQL_TYPE_VECTOR || (is_string && column.character_set() == BINARY)
            }
            Self::Address(_) => is_string && !is_member,
        }
    }
}

/// The collation id of bytes that are not text.
const BINARY: u16 = 63;

/// Writes a value; `null` for NULL.
#[inline]
pub(crate) fn write(out: &mut Vec<u8>, form: &Form, value: &Value) -> Result<(), Fault> {
    match value {
        Value::NULL => out.extend_from_slice(b"null"),
        Value::Bytes(bytes) => return write_bytes(out, form, bytes),
        Value::Int(year) if *form == Form::Year => return write_year(out, (*year).try_into().ok()),
        Value::UInt(year) if *form == Form::Year => {
            return write_year(out, (*year).try_into().ok());
        }
        Value::Int(n) => json::write_i64(out, *n),
        Value::UInt(n) => json::write_u64(out, *n),
        Value::Float(n) if n.is_finite() => json::write_f32(out, *n),
        Value::Double(n) if n.is_finite() => json::write_f64(out, *n),
        Value::Float(_) | Value::Double(_) => {
            return Err(Fault::Corrupt("a floating point number that is not finite"));
        }
        Value::Date(year, month, day, hour, minute, second, micros) => {
            let date = (u32::from(*year), u32::from(*month), u32::from(*day));
            let hms = (u32::from(*hour), u32::from(*minute), u32::from(*second));
            return write_moment(out, form, &Moment { date, hms, micros: *micros });
        }
        Value::Time(negative, days, hours, minutes, seconds, micros) => {
            let Form::Time(fraction) = form else { return Err(unfit()) };
            let hours = days.saturating_mul(24).saturating_add(u32::from(*hours));
            let hms = (hours, u32::from(*minutes), u32::from(*seconds));
            let time = Time { negative: *negative, hms, micros: *micros };
            return moments::write_time(out, *fraction, &time);
        }
    }
    Ok(())
}

fn write_bytes(out: &mut Vec<u8>, form: &Form, bytes: &[u8]) -> Result<(), Fault> {
    match form {
        Form::Text { read, .. } | Form::Enum(read) => read.write(out, bytes),
        Form::Set(read) => write_set(out, *read, bytes),
        Form::Decimal { .. } => write_decimal(out, bytes),
        Form::Json => write_document(out, bytes),
        Form::Binary => json::write_base64(out, bytes),
        Form::Geometry => geometry::write(out, bytes),
        Form::Vector => vector::write(out, bytes),
        Form::Bit if bytes.len() <= 8 => {
            json::write_u64(out, bytes.iter().fold(0, |n, byte| (n << 8) | u64::from(*byte)));
        }
        Form::Address(_) => Charset::Utf8mb4.write(out, bytes),
        _ => return Err(unfit()),
    }
    Ok(())
}

fn write_moment(out: &mut Vec<u8>, form: &Form, moment: &Moment) -> Result<(), Fault> {
    match form {
        Form::Date => moments::write_date(out, moment.date),
        Form::DateTime(fraction) => moments::write_datetime(out, *fraction, moment),
        Form::Timestamp(fraction) => moments::write_timestamp(out, *fraction, moment),
        _ => Err(unfit()),
    }
}

fn write_year(out: &mut Vec<u8>, year: Option<u32>) -> Result<(), Fault> {
    let year = year.filter(|year| *year <= 9999).ok_or_else(unfit)?;
    out.push(b'"');
    out.extend_from_slice(&json::digits(year / 100));
    out.extend_from_slice(&json::digits(year));
    out.push(b'"');
    Ok(())
}

/// The server's text, without the zeros that ZEROFILL adds at the front.
fn write_decimal(out: &mut Vec<u8>, text: &[u8]) {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (&b"-"[..], digits),
        digits => (&b""[..], digits),
    };
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let rest = digits.get(zeros..).unwrap_or_default();
    out.push(b'"');
    out.extend_from_slice(sign);
    if !rest.first().is_some_and(u8::is_ascii_digit) {
        out.push(b'0');
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// The text has commas between the members; no member has a comma.
fn write_set(out: &mut Vec<u8>, read: Charset, text: &[u8]) {
    out.push(b'[');
    let comma: &[u8] = match read {
        Charset::Ucs2 | Charset::Utf16 => b"\0,",
        Charset::Utf16Le => b",\0",
        Charset::Utf32 => b"\0\0\0,",
        // No character of several bytes contains the byte of a comma.
        _ => b",",
    };
    let mut rest = text;
    while !rest.is_empty() {
        let mut units = rest.chunks(comma.len());
        let end = units.position(|unit| unit == comma).map(|units| units * comma.len());
        let (member, after) = rest.split_at(end.unwrap_or(rest.len()));
        read.write(out, member);
        rest = after.get(comma.len()..).unwrap_or_default();
        if end.is_some() {
            out.push(b',');
            if rest.is_empty() {
                read.write(out, b"");
            }
        }
    }
    out.push(b']');
}

/// The server's text of a document, without the spaces outside of strings. The decoder writes all
/// the rest as the server does.
fn write_document(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let plain = rest.iter().position(|byte| *byte == b'"').unwrap_or(rest.len());
        let (plain, after) = rest.split_at(plain);
        out.extend(plain.iter().filter(|byte| **byte != b' '));
        if after.is_empty() {
            return;
        }
        let (string, after) = after.split_at(string_end(after));
        out.extend_from_slice(string);
        rest = after;
    }
}

/// The end of the string that begins here.
fn string_end(text: &[u8]) -> usize {
    let mut escaped = false;
    let closing = text.iter().skip(1).position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    });
    closing.map_or(text.len(), |at| at + 2)
}

#[cold]
fn unfit() -> Fault {
    Fault::Corrupt("the server's answer does not fit the column's type")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_document_loses_its_spaces_outside_of_strings_only() {
        for (text, expected) in [
            (
                r#"{"a": [1, 2.50, "b c"], "d ": {"": null}}"#,
                r#"{"a":[1,2.50,"b c"],"d ":{"":null}}"#,
            ),
            (r#""a \" , \\""#, r#""a \" , \\""#),
            (r#"["\\", "\\\"", " "]"#, r#"["\\","\\\""," "]"#),
            ("1.5e-20", "1.5e-20"),
            ("[]", "[]"),
        ] {
            assert_eq!(written(|out| write_document(out, text.as_bytes())), expected);
        }
    }

    #[test]
    fn a_decimal_has_no_padding() {
        for (text, expected) in [
            ("19.90", "\"19.90\""),
            ("00019.90", "\"19.90\""),
            ("-0.50", "\"-0.50\""),
            ("000", "\"0\""),
            ("0.00", "\"0.00\""),
            ("-10", "\"-10\""),
        ] {
            assert_eq!(written(|out| write_decimal(out, text.as_bytes())), expected);
        }
    }

    #[test]
    fn a_set_is_cut_at_commas_of_its_character_set() {
        let utf8 = |text: &str| written(|out| write_set(out, Charset::Utf8mb4, text.as_bytes()));
        assert_eq!(utf8(""), "[]");
        assert_eq!(utf8("a"), "[\"a\"]");
        assert_eq!(utf8("a,b \"c\""), "[\"a\",\"b \\\"c\\\"\"]");
        assert_eq!(utf8(",a"), "[\"\",\"a\"]");
        assert_eq!(utf8("a,"), "[\"a\",\"\"]");
        // U+2C00: its bytes contain the byte of a comma.
        let wide = b"\x2c\x00\0,\0a";
        assert_eq!(written(|out| write_set(out, Charset::Utf16, wide)), "[\"\u{2c00}\",\"a\"]");
    }
}
