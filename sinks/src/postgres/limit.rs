//! What a column can hold as it is. PostgreSQL rounds and cuts some values without a word, so they
//! are looked at before they are sent; and of a value that does not fit the column is known.

use crate::digits::{Digits, double, single};

/// What the values of a type must be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Limit {
    /// The server takes a value as it is, or says that it does not.
    #[default]
    Any,
    /// A whole number from the first to the second one.
    Whole(i64, i64),
    Single,
    Double,
    /// So many digits, so many of them behind the point.
    Decimal {
        precision: i64,
        scale: i64,
    },
    /// A time with so many digits behind its seconds.
    Seconds(usize),
    /// A time of day, with so many digits behind its seconds.
    Clock(usize),
    /// An interval whose seconds, or more, are cut off.
    Coarse,
    Day,
    Flag,
    Bits(usize),
    /// So many characters.
    Chars(usize),
    /// So many characters, of which blanks at the end do not count.
    Padded(usize),
    Bytes(usize),
}

/// PostgreSQL keeps microseconds.
const MAX_DIGITS: usize = 6;

impl Limit {
    /// Of a type as `format_type` has it; of an array that of its elements.
    pub(super) fn of(declared: &str) -> Self {
        let declared = declared.trim_end_matches("[]");
        let (word, arguments) = match (declared.find('('), declared.find(')')) {
            (Some(start), Some(end)) if start < end => {
                let word = format!("{}{}", &declared[..start], &declared[end + 1..]);
                let arguments = declared[start + 1..end].split(',');
                (word, arguments.filter_map(|one| one.trim().parse().ok()).collect::<Vec<i64>>())
            }
            _ => (declared.to_owned(), Vec::new()),
        };
        let length = arguments.first().and_then(|length| usize::try_from(*length).ok());
        match (&*word, &*arguments) {
            ("smallint", _) => Self::Whole(i64::from(i16::MIN), i64::from(i16::MAX)),
            ("integer", _) => Self::Whole(i64::from(i32::MIN), i64::from(i32::MAX)),
            ("bigint", _) => Self::Whole(i64::MIN, i64::MAX),
            ("real", _) => Self::Single,
            ("double precision", _) => Self::Double,
            ("numeric", [precision, scale]) => {
                Self::Decimal { precision: *precision, scale: *scale }
            }
            ("money", _) => Self::Decimal { precision: 18, scale: 2 },
            ("date", _) => Self::Day,
            ("boolean", _) => Self::Flag,
            ("bit" | "\"bit\"" | "bit varying", _) => length.map_or(Self::Any, Self::Bits),
            ("character varying", _) => length.map_or(Self::Any, Self::Chars),
            ("character" | "bpchar", _) => Self::Padded(length.unwrap_or(usize::MAX)),
            ("name", _) => Self::Bytes(63),
            ("\"char\"", _) => Self::Bytes(1),
            (word, _) => Self::of_time(word, length.unwrap_or(MAX_DIGITS)),
        }
    }

    fn of_time(word: &str, digits: usize) -> Self {
        let has_seconds = word == "interval" || word.ends_with(" second");
        match word {
            _ if word.starts_with("time ") => Self::Clock(digits),
            _ if word.starts_with("interval") && !has_seconds => Self::Coarse,
            _ if word.starts_with("timestamp") || word.starts_with("interval") => {
                if digits < MAX_DIGITS { Self::Seconds(digits) } else { Self::Any }
            }
            _ => Self::Any,
        }
    }

    /// Looks whether the text of a value stays what it is.
    ///
    /// # Errors
    ///
    /// What would become of it.
    pub(super) fn check(self, text: &str) -> Result<(), &'static str> {
        match self {
            Self::Any => Ok(()),
            Self::Whole(min, max) => whole(text, min, max),
            Self::Single => float(text, single(text)),
            Self::Double => float(text, double(text)),
            Self::Decimal { precision, scale } => decimal(text, precision, scale),
            Self::Seconds(digits) => seconds(text, digits),
            Self::Clock(digits) => clock(text, digits),
            Self::Coarse if has_digit(text) => Err("it would be cut"),
            Self::Day if is_date(text) && text.get(10..).is_some_and(has_digit) => {
                Err("its time of day would be cut off")
            }
            Self::Flag if !matches!(text, "t" | "f") && is_number(text) => {
                Err("only 0 and 1 are held")
            }
            Self::Bits(max) if text.len() > max => Err(TOO_LONG),
            Self::Chars(max) if text.len() > max && text.chars().count() > max => Err(TOO_LONG),
            Self::Padded(_) if text.ends_with(' ') => Err("its blanks at the end would be lost"),
            Self::Padded(max) if text.len() > max && text.chars().count() > max => Err(TOO_LONG),
            Self::Bytes(max) if text.len() > max => Err("it would be cut"),
            _ => Ok(()),
        }
    }

    /// A type that holds what this one does not, where nobody knows the type of the source; `base`
    /// is this one without its length.
    pub(super) fn wider(self, base: &str) -> &str {
        match self {
            Self::Whole(..) | Self::Single | Self::Double => "numeric",
            Self::Clock(_) | Self::Coarse => "interval",
            Self::Day => "timestamp without time zone",
            Self::Flag => "smallint",
            Self::Bits(_) => "bit varying",
            Self::Padded(_) | Self::Bytes(_) => "text",
            Self::Decimal { .. } if base == "money" => "numeric",
            Self::Any | Self::Decimal { .. } | Self::Seconds(_) | Self::Chars(_) => base,
        }
    }
}

const TOO_LONG: &str = "value too long";
const OUT_OF_RANGE: &str = "value out of range";
const ROUNDED: &str = "it would be rounded";

fn whole(text: &str, min: i64, max: i64) -> Result<(), &'static str> {
    match text.trim().parse::<i64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(()),
        Ok(_) => Err(OUT_OF_RANGE),
        Err(_) if !is_number(text) => Ok(()),
        Err(_) if text.contains(['.', 'e', 'E']) => Err("only whole numbers are held"),
        Err(_) => Err(OUT_OF_RANGE),
    }
}

/// `kept`: whether the number is finite, and what would be shown of it.
fn float(text: &str, kept: Option<String>) -> Result<(), &'static str> {
    let Some(digits) = Digits::of(text) else { return Ok(()) };
    match kept {
        Some(shown) if Digits::of(&shown) == Some(digits) => Ok(()),
        Some(_) => Err(ROUNDED),
        None => Err(OUT_OF_RANGE),
    }
}

fn decimal(text: &str, precision: i64, scale: i64) -> Result<(), &'static str> {
    let Some(digits) = Digits::of(text) else { return Ok(()) };
    match digits.places() {
        Some((_, last)) if last < -scale => Err(ROUNDED),
        Some((first, _)) if first >= precision - scale => Err("numeric field overflow"),
        _ => Ok(()),
    }
}

fn seconds(text: &str, digits: usize) -> Result<(), &'static str> {
    let part = text.rsplit_once('.').filter(|(before, _)| before.contains(':'));
    let cut = part.and_then(|(_, part)| part.get(digits..)).unwrap_or_default();
    let mut cut = cut.chars().take_while(char::is_ascii_digit);
    if cut.any(|digit| digit != '0') { Err(ROUNDED) } else { Ok(()) }
}

fn clock(text: &str, digits: usize) -> Result<(), &'static str> {
    if is_date(text) {
        return Err("its date would be cut off");
    }
    let hours = text.split_once(':').map(|(hours, _)| hours.parse::<i64>());
    match hours {
        Some(Ok(hours)) if !(0..=24).contains(&hours) || text.starts_with('-') => Err(OUT_OF_RANGE),
        _ => seconds(text, digits),
    }
}

/// Whether it begins with a date as MySQL prints it.
fn is_date(text: &str) -> bool {
    text.get(4..5) == Some("-") && text.get(7..8) == Some("-")
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'1'..=b'9'))
}

fn is_number(text: &str) -> bool {
    Digits::of(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_type_holds_stays_as_it_is_and_all_else_is_refused() {
        for (declared, held, refused) in [
            ("smallint", &["-32768", "7"][..], &["32768", "1.5", "1e1"][..]),
            ("integer", &["2147483647"], &["5000000000", "2.00"]),
            ("bigint", &["-9223372036854775808", "none"], &["18446744073709551615"]),
            ("numeric(12,2)", &["1.2300", "-9999999999.99", "1e2"], &["1.2345", "10000000000"]),
            ("numeric(5,-2)", &["1200", "0"], &["1250", "10000000"]),
            ("numeric(2,4)", &["0.0012"], &["0.01", "0.00001"]),
            ("numeric", &["1.2345", "1e-300"], &[]),
            ("money", &["1.20"], &["1.234"]),
            ("real", &["0.1", "16777216", "1.5e10"], &["1.23456789012345", "16777217", "1e300"]),
            ("double precision", &["0.30000000000000004"], &["9007199254740993", "1e999"]),
            ("character varying(3)", &["äöü", "a"], &["abcd", "abc "]),
            ("character(3)", &["äöü", "a"], &["abcd", "a "]),
            ("bit(3)", &["101"], &["1010"]),
            (
                "timestamp(0) without time zone",
                &["2026-01-02 03:04:05", "2026-01-02 03:04:05.000"],
                &["2026-01-02 03:04:05.001"],
            ),
            (
                "timestamp(3) with time zone",
                &["2026-01-02 03:04:05.678"],
                &["2026-01-02 03:04:05.6789"],
            ),
            ("timestamp without time zone", &["2026-01-02 03:04:05.678901"], &[]),
            ("interval(1)", &["-838:59:59.5"], &["12:00:00.55"]),
            ("interval hour to minute", &["00:00:00"], &["12:00:00"]),
            ("interval day to second(2)", &["12:00:00.55"], &["12:00:00.555"]),
            (
                "time(1) without time zone",
                &["23:59:59.5"],
                &["2026-01-02 03:04:05", "-00:00:01", "25:00:00", "01:00:00.55"],
            ),
            ("date", &["2026-01-02", "2026-01-02 00:00:00.000"], &["2026-01-02 00:00:01"]),
            ("numeric(4,1)[]", &["0.5"], &["0.55"]),
            ("\"char\"", &["a"], &["ab"]),
            ("text", &["anything "], &[]),
        ] {
            let limit = Limit::of(declared);
            for text in held {
                assert_eq!(limit.check(text), Ok(()), "{declared} {text}");
            }
            for text in refused {
                assert!(limit.check(text).is_err(), "{declared} {text}");
            }
        }
    }
}
