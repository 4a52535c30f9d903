//! Whether a column of the target can hold a number or a time as it is. Where it cannot, a server
//! rounds or cuts off, and only gives a note, in its strict mode, too: so the sink looks before.

use crate::{
    digits::{Digits, double, single},
    value::CellValue,
};

/// What a column keeps of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fit {
    /// Whatever does not fit is an error of the server.
    #[default]
    Checked,
    /// So many digits after the point.
    Scale(usize),
    /// What 32 or 64 bits can hold, and perhaps only so many digits after the point.
    Single(Option<usize>),
    Double(Option<usize>),
    /// No time of day.
    Date,
    /// A time of day or an interval, with so many digits of a second.
    Time(usize),
    /// With so many digits of a second.
    DateTime(usize),
}

/// Why a column cannot hold a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) why: String,
    /// A type that can.
    pub(super) fitting: Option<String>,
}

impl Fit {
    /// Of a type as the server shows it, such as `decimal(12,2)`.
    pub(super) fn of(declared: &str) -> Self {
        let word: String = declared.chars().take_while(char::is_ascii_alphanumeric).collect();
        let sizes = sizes(declared);
        match word.to_ascii_lowercase().as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "bit"
            | "year" => Self::Scale(0),
            "decimal" | "numeric" | "dec" | "fixed" => {
                Self::Scale(sizes.get(1).copied().unwrap_or_default())
            }
            "float" => Self::Single(sizes.get(1).copied()),
            "double" | "real" => Self::Double(sizes.get(1).copied()),
            "date" => Self::Date,
            "time" => Self::Time(sizes.first().copied().unwrap_or_default()),
            "datetime" | "timestamp" => Self::DateTime(sizes.first().copied().unwrap_or_default()),
            _ => Self::Checked,
        }
    }

    /// # Errors
    ///
    /// What would be lost of the value in a column of this type.
    pub(super) fn holds(self, value: &CellValue<'_>, declared: &str) -> Result<(), Misfit> {
        match self {
            Self::Checked => Ok(()),
            Self::Scale(digits) => {
                number_of(value).map_or(Ok(()), |text| scaled(text, digits, declared))
            }
            Self::Single(digits) | Self::Double(digits) => {
                let Some(text) = number_of(value) else { return Ok(()) };
                let is_float = matches!(value, CellValue::Float(_));
                match self {
                    Self::Single(_) if !is_single(text) => Err(inexact(text, "double")),
                    // The source's DOUBLE is one in any case.
                    Self::Double(_) if !is_float && !is_same(text, double(text)) => {
                        Err(inexact(text, "decimal"))
                    }
                    Self::Double(Some(digits)) if is_float && is_multiple(text, digits) => Ok(()),
                    _ => digits.map_or(Ok(()), |digits| scaled(text, digits, declared)),
                }
            }
            Self::Date => dated(value),
            Self::Time(digits) => match value {
                CellValue::Time(text) | CellValue::Text(text) => second(text, digits, declared),
                CellValue::Date(_) | CellValue::DateTime(_) | CellValue::Timestamp(_) => {
                    Err(Misfit::new("a TIME holds no date", "datetime(6)"))
                }
                _ => Ok(()),
            },
            Self::DateTime(digits) => match value {
                CellValue::DateTime(text) | CellValue::Text(text) => second(text, digits, declared),
                CellValue::Timestamp(text) => second(text, digits, declared),
                CellValue::Time(_) => {
                    Err(Misfit::new("the value is a TIME, without a date", "time(6)"))
                }
                _ => Ok(()),
            },
        }
    }
}

impl Misfit {
    fn new(why: impl Into<String>, fitting: impl Into<String>) -> Self {
        Self { why: why.into(), fitting: Some(fitting.into()) }
    }
}

/// The numbers between parentheses.
fn sizes(declared: &str) -> Vec<usize> {
    let inner = declared.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let inner = inner.map_or("", |(inner, _)| inner);
    inner.split(',').filter_map(|size| size.trim().parse().ok()).collect()
}

/// The value as the text of a number, if it is one.
fn number_of<'v>(value: &'v CellValue<'_>) -> Option<&'v str> {
    match value {
        CellValue::Integer(text) | CellValue::Float(text) => Some(text),
        CellValue::Decimal(text) | CellValue::Text(text) => Some(text),
        _ => None,
    }
}

fn scaled(text: &str, digits: usize, declared: &str) -> Result<(), Misfit> {
    // Most values are so.
    if !text.contains(['.', 'e', 'E']) {
        return Ok(());
    }
    let Some(found) = Digits::of(text).map(|number| number.after_point()) else { return Ok(()) };
    if found <= digits {
        return Ok(());
    }
    let whole = match sizes(declared)[..] {
        [all, after] => all.saturating_sub(after),
        // DECIMAL(12), which the server shows as decimal(12,0).
        _ => 20,
    };
    let fits = found <= 30 && whole + found <= 65;
    let fitting = fits.then(|| format!("decimal({},{found})", whole + found));
    let why =
        format!("the value has {found} digits after the point, and the column keeps {digits}");
    Err(Misfit { why, fitting })
}

/// Whether the number has so many digits after the point, but for its last bits: 0.57 in a
/// DOUBLE(10,2) may be 0.5700000000000001, as a server computes it.
fn is_multiple(text: &str, digits: usize) -> bool {
    let Some((number, digits)) = text.parse::<f64>().ok().zip(i32::try_from(digits).ok()) else {
        return false;
    };
    let units = number * 10_f64.powi(digits);
    (units - units.round()).abs() <= 4.0 * f64::EPSILON * units.abs()
}

fn inexact(text: &str, wider: &str) -> Misfit {
    let after = Digits::of(text).map_or(0, |number| number.after_point());
    let fitting = match wider {
        "decimal" => (after <= 30).then(|| format!("decimal(65,{after})")),
        other => Some(other.to_owned()),
    };
    Misfit { why: "the column cannot hold all digits of the value".to_owned(), fitting }
}

fn dated(value: &CellValue<'_>) -> Result<(), Misfit> {
    let time = match value {
        CellValue::DateTime(text) | CellValue::Text(text) => text.get(10..),
        CellValue::Timestamp(text) => text.get(10..),
        CellValue::Time(_) => {
            return Err(Misfit::new("the value is a TIME, without a date", "time(6)"));
        }
        _ => None,
    };
    match time.is_some_and(|time| time.contains(|c: char| matches!(c, '1'..='9'))) {
        true => Err(Misfit::new("a DATE holds no time of day", "datetime(6)")),
        false => Ok(()),
    }
}

fn second(text: &str, digits: usize, declared: &str) -> Result<(), Misfit> {
    let Some((_, fraction)) = text.split_once('.') else { return Ok(()) };
    if fraction.len() <= digits {
        return Ok(());
    }
    let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
    let found = fraction[..end].trim_end_matches('0').len();
    if found <= digits {
        return Ok(());
    }
    let word = declared.split('(').next().unwrap_or(declared);
    let why = format!("the value has {found} digits of a second, and the column keeps {digits}");
    Err(Misfit::new(why, format!("{word}({found})")))
}

/// Whether 32 bits hold the number.
pub(super) fn is_single(text: &str) -> bool {
    is_same(text, single(text))
}

/// Whether both are the same number, or it is not for the sink to say.
fn is_same(text: &str, held: Option<String>) -> bool {
    let Some(held) = held else { return true };
    // So few digits are held by any of them.
    text.len() <= 6 || Digits::of(text) == Digits::of(&held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Kind;

    /// Why a column of this type does not hold a value of the source's type, and what would.
    fn misfit(column: &str, source: &str, json: &str) -> Option<(String, Option<String>)> {
        let value = CellValue::read(Kind::of(source), json).unwrap();
        Fit::of(column).holds(&value, column).err().map(|misfit| (misfit.why, misfit.fitting))
    }

    #[test]
    fn what_would_be_rounded_does_not_fit() {
        for (column, source, json, fitting) in [
            ("decimal(12,2)", "decimal(14,4)", "\"1.2345\"", "decimal(14,4)"),
            ("decimal(12,2)", "double", "1e-7", "decimal(17,7)"),
            ("int", "decimal(4,1)", "\"-0.5\"", "decimal(21,1)"),
            ("int(11)", "double", "2.5", "decimal(21,1)"),
            ("double(10,2)", "double", "0.575", "decimal(11,3)"),
            ("double(10,2)", "decimal(20,16)", "\"0.5700000000000001\"", "decimal(24,16)"),
            ("bigint", "text", "\"1.5\"", "decimal(21,1)"),
            ("float", "double", "1.23456789012345", "double"),
            ("float", "bigint", "16777217", "double"),
            ("double", "bigint", "9007199254740993", "decimal(65,0)"),
            ("double", "decimal(30,2)", "\"12345678901234567890.12\"", "decimal(65,2)"),
            ("datetime", "datetime(3)", "\"2026-01-02 03:04:05.678\"", "datetime(3)"),
            ("datetime(3)", "timestamp(6)", "\"2026-01-02T03:04:05.678901Z\"", "datetime(6)"),
            ("time(1)", "time(2)", "\"-00:00:00.12\"", "time(2)"),
            ("date", "datetime", "\"2026-01-02 00:00:01\"", "datetime(6)"),
            ("time", "datetime", "\"2026-01-02 00:00:01\"", "datetime(6)"),
            ("datetime", "time", "\"10:11:12\"", "time(6)"),
        ] {
            let found = misfit(column, source, json);
            let (_, would) = found.unwrap_or_else(|| panic!("{column} {json}"));
            assert_eq!(would.as_deref(), Some(fitting), "{column} {json}");
        }
    }

    #[test]
    fn what_fits_exactly_fits() {
        for (column, source, json) in [
            ("decimal(12,2)", "decimal(14,4)", "\"1.2300\""),
            ("decimal(12,0)", "double", "1e+20"),
            ("int", "decimal(4,1)", "\"7.0\""),
            ("int", "int", "null"),
            ("float", "float", "3.4028235e+38"),
            ("float", "float", "16777216"),
            // Two texts are the shortest.
            ("float", "float", "-6658.5312"),
            ("float", "float", "2773316.2"),
            ("float", "double", "0.1"),
            ("float", "decimal(9,7)", "\"0.1250000\""),
            ("double", "double", "1.7976931348623157e+308"),
            // As a server rounds it.
            ("double(10,2)", "double(10,2)", "0.5700000000000001"),
            ("double(20,2)", "double(20,2)", "-1000000000000000.1"),
            ("double", "decimal(9,2)", "\"-1.10\""),
            ("double", "bigint", "-9007199254740992"),
            ("datetime", "datetime(3)", "\"2026-01-02 03:04:05.000\""),
            ("timestamp(3)", "timestamp(6)", "\"2026-01-02T03:04:05.678000Z\""),
            ("date", "datetime(3)", "\"2026-01-02 00:00:00.000\""),
            ("date", "date", "\"2026-01-02\""),
            ("varchar(3)", "double", "2.5"),
            ("bit(3)", "bit(3)", "5"),
            ("year", "year", "\"0000\""),
        ] {
            assert_eq!(misfit(column, source, json), None, "{column} {json}");
        }
    }
}
