//! The JSON form of a value that the server answered, by the documented rule.

use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use mysql_async::Value;

use super::{Domain, same_json, spatial};

/// What a value's JSON text must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// Exactly this text.
    Text(String),
    /// The shortest digits of this number.
    Float(f32),
    /// The shortest digits of this number.
    Double(f64),
    /// This document, with its order and its digits, however it is spaced and escaped.
    Json(String),
    /// This text, in which each number has the shortest digits that read back as it.
    Numbers(String),
    /// An array of the shortest digits of these.
    Floats(Vec<f32>),
}

impl Expected {
    /// By the column's declaration and the server's answer.
    ///
    /// # Errors
    ///
    /// When the answer is not one that such a column gives.
    pub fn of(domain: &Domain, value: Value) -> Result<Self> {
        let text = match (domain, value) {
            (_, Value::NULL) => "null".to_owned(),
            (Domain::Float(_), Value::Float(n)) => return Ok(Self::Float(n)),
            (Domain::Double(_), Value::Double(n)) => return Ok(Self::Double(n)),
            (Domain::Json, Value::Bytes(text)) => return Ok(Self::Json(String::from_utf8(text)?)),
            (Domain::Geometry(_), Value::Bytes(stored)) => {
                return Ok(Self::Numbers(spatial::geojson(&stored)?));
            }
            (Domain::Vector(_), Value::Bytes(bytes)) => {
                let (numbers, rest) = bytes.as_chunks();
                ensure!(rest.is_empty(), "a vector of {} bytes", bytes.len());
                return Ok(Self::Floats(numbers.iter().map(|n| f32::from_le_bytes(*n)).collect()));
            }
            (Domain::Year, Value::UInt(year)) => format!("\"{year:04}\""),
            (Domain::Year, Value::Int(year)) => format!("\"{year:04}\""),
            (_, Value::Int(n)) => n.to_string(),
            (_, Value::UInt(n)) => n.to_string(),
            (Domain::Bit(_), Value::Bytes(bytes)) => {
                bytes.iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte)).to_string()
            }
            (Domain::Binary(_), Value::Bytes(bytes)) => format!("\"{}\"", STANDARD.encode(bytes)),
            (Domain::Set(_), Value::Bytes(text)) => set(&String::from_utf8(text)?)?,
            (
                Domain::Decimal(..)
                | Domain::Text(..)
                | Domain::Enum(_)
                | Domain::JsonText
                | Domain::Uuid
                | Domain::Inet4
                | Domain::Inet6,
                Value::Bytes(text),
            ) => serde_json::to_string(&String::from_utf8(text)?)?,
            (domain, moment @ (Value::Date(..) | Value::Time(..))) => moment_text(domain, &moment)?,
            (domain, value) => bail!("{domain:?} and the answer {value:?} do not fit"),
        };
        Ok(Self::Text(text))
    }

    /// Whether this JSON text is right.
    pub fn matches(&self, found: &str) -> bool {
        match self {
            Self::Text(expected) => found == expected,
            Self::Float(n) => {
                found.parse::<f32>().is_ok_and(|read| read.to_bits() == n.to_bits())
                    && digits(found) <= digits(&format!("{n:e}"))
            }
            Self::Double(n) => {
                found.parse::<f64>().is_ok_and(|read| read.to_bits() == n.to_bits())
                    && digits(found) <= digits(&format!("{n:e}"))
            }
            Self::Json(document) => same_json(found, document),
            Self::Numbers(expected) => same_numbers(found, expected),
            Self::Floats(numbers) => {
                let list = found.strip_prefix('[').and_then(|list| list.strip_suffix(']'));
                let found: Vec<&str> = list.unwrap_or_default().split(',').collect();
                found.len() == numbers.len()
                    && numbers.iter().zip(found).all(|(n, found)| Self::Float(*n).matches(found))
            }
        }
    }
}

/// Whether both are the same but for how numbers are written, which must be as short as can be.
fn same_numbers(found: &str, expected: &str) -> bool {
    const AROUND: [char; 7] = ['[', ']', '{', '}', ',', ':', '"'];
    let around = |text: &str| text.matches(AROUND).collect::<String>();
    let pieces = || found.split(AROUND).zip(expected.split(AROUND));
    let is_same = |(found, expected): (&str, &str)| {
        let number = expected.parse().ok().filter(|n: &f64| n.is_finite());
        found == expected || number.is_some_and(|n| Expected::Double(n).matches(found))
    };
    around(found) == around(expected) && pieces().all(is_same)
}

/// How many digits a number has, without the zeros around them. (Which ones is not always said:
/// 2475226.25 is as near to 2475226.2 as to 2475226.3, and as `f32` both are it.)
fn digits(number: &str) -> usize {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').len()
}

fn set(members: &str) -> Result<String> {
    let members: Vec<&str> = members.split(',').filter(|member| !member.is_empty()).collect();
    Ok(serde_json::to_string(&members)?)
}

fn moment_text(domain: &Domain, value: &Value) -> Result<String> {
    Ok(match (domain, value) {
        (Domain::Date, Value::Date(year, month, day, ..)) => {
            format!("\"{year:04}-{month:02}-{day:02}\"")
        }
        (Domain::DateTime(fraction), Value::Date(year, month, day, h, m, s, micros)) => {
            let date = format!("{year:04}-{month:02}-{day:02}");
            format!("\"{date} {h:02}:{m:02}:{s:02}{}\"", digits_of(*micros, *fraction)?)
        }
        (
            Domain::Timestamp(fraction) | Domain::LateTimestamp(fraction),
            Value::Date(year, month, day, h, m, s, micros),
        ) => {
            // All zero is no moment, so it is left as MySQL prints it.
            let (t, z) = if *year == 0 { (" ", "") } else { ("T", "Z") };
            let date = format!("{year:04}-{month:02}-{day:02}");
            format!("\"{date}{t}{h:02}:{m:02}:{s:02}{}{z}\"", digits_of(*micros, *fraction)?)
        }
        (Domain::Time(fraction), Value::Time(negative, days, h, m, s, micros)) => {
            let sign = if *negative { "-" } else { "" };
            let hours = days * 24 + u32::from(*h);
            format!("\"{sign}{hours:02}:{m:02}:{s:02}{}\"", digits_of(*micros, *fraction)?)
        }
        _ => bail!("{domain:?} and the answer {value:?} do not fit"),
    })
}

fn digits_of(micros: u32, fraction: u8) -> Result<String> {
    if fraction == 0 {
        return Ok(String::new());
    }
    let text = format!(".{micros:06}");
    Ok(text.get(..=usize::from(fraction)).context("a fraction of more than six digits")?.to_owned())
}
