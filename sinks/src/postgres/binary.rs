//! Values in the binary form of their type, which the server takes four times as fast as texts.
//!
//! The forms are those of the functions `…recv` of the server's types. What is not known here goes
//! as text, and so does what does not fit: the server then says what is wrong with it.

/// The day that dates and times are counted from: 2000-01-01, in days since 1970.
const EPOCH_DAYS: i64 = 10_957;

const DAY_MICROS: i64 = 86_400_000_000;

/// How a text becomes the binary form of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Bool,
    Text,
    Bytes,
    Jsonb,
    Numeric,
    Date,
    Timestamp,
}

impl Binary {
    /// Of a type by its name without a length; `None`: it goes as text.
    pub(super) fn of(declared: &str) -> Option<Self> {
        Some(match declared {
            "smallint" => Self::Int2,
            "integer" => Self::Int4,
            "bigint" => Self::Int8,
            "real" => Self::Float4,
            "double precision" => Self::Float8,
            "boolean" => Self::Bool,
            "text" | "character varying" | "json" => Self::Text,
            "bytea" => Self::Bytes,
            "jsonb" => Self::Jsonb,
            "numeric" => Self::Numeric,
            "date" => Self::Date,
            "timestamp without time zone" | "timestamp with time zone" => Self::Timestamp,
            _ => return None,
        })
    }

    /// Appends a value; `None`: it is none of the type.
    pub(super) fn push(self, bytes: &mut Vec<u8>, text: &str) -> Option<()> {
        match self {
            Self::Int2 => bytes.extend(text.parse::<i16>().ok()?.to_be_bytes()),
            Self::Int4 => bytes.extend(text.parse::<i32>().ok()?.to_be_bytes()),
            Self::Int8 => bytes.extend(text.parse::<i64>().ok()?.to_be_bytes()),
            Self::Float4 => {
                let number = text.parse::<f32>().ok().filter(|number| number.is_finite())?;
                bytes.extend(number.to_be_bytes());
            }
            Self::Float8 => {
                let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
                bytes.extend(number.to_be_bytes());
            }
            Self::Bool => bytes.push(match text {
                "t" => 1,
                "f" => 0,
                _ => return None,
            }),
            Self::Text => bytes.extend(text.as_bytes()),
            Self::Bytes => push_hex(bytes, text.strip_prefix("\\x")?)?,
            Self::Jsonb => {
                // The version of the form.
                bytes.push(1);
                bytes.extend(text.as_bytes());
            }
            Self::Numeric => push_numeric(bytes, text)?,
            Self::Date => {
                let days = i32::try_from(days_of(text)? - EPOCH_DAYS).ok()?;
                bytes.extend(days.to_be_bytes());
            }
            Self::Timestamp => bytes.extend(micros_of(text)?.to_be_bytes()),
        }
        Some(())
    }
}

fn push_hex(bytes: &mut Vec<u8>, hex: &str) -> Option<()> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    for pair in hex.as_bytes().chunks_exact(2) {
        bytes.push(u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?);
    }
    Some(())
}

/// Four decimal digits in each two bytes, with the place of the first four, the sign, and how many
/// digits are shown after the point.
fn push_numeric(bytes: &mut Vec<u8>, text: &str) -> Option<()> {
    let (sign, digits): (u16, &str) = match text.strip_prefix('-') {
        Some(rest) => (0x4000, rest),
        None => (0, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(part) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let lead = (4 - whole.len() % 4) % 4;
    let padded = "0".repeat(lead) + whole + part + &"0".repeat((4 - part.len() % 4) % 4);
    let mut groups: Vec<u16> = Vec::with_capacity(padded.len() / 4);
    for at in (0..padded.len()).step_by(4) {
        groups.push(padded[at..at + 4].parse().ok()?);
    }
    let mut weight = i16::try_from(whole.len().div_ceil(4)).ok()? - 1;
    let zeros = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..zeros);
    weight -= i16::try_from(zeros).ok()?;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let (sign, weight) = if groups.is_empty() { (0, 0) } else { (sign, weight) };
    bytes.extend(u16::try_from(groups.len()).ok()?.to_be_bytes());
    bytes.extend(weight.to_be_bytes());
    bytes.extend(sign.to_be_bytes());
    bytes.extend(u16::try_from(part.len()).ok()?.to_be_bytes());
    groups.iter().for_each(|group| bytes.extend(group.to_be_bytes()));
    Some(())
}

/// Days since 1970 of `YYYY-MM-DD`, with whatever follows.
fn days_of(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| digits(text.get(range)?);
    if text.get(4..5) != Some("-") || text.get(7..8) != Some("-") {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if day < 1 || day > last {
        return None;
    }
    // Years begin in March here, so that the leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(days + (153 * month + 2) / 5 + day - 1 - 719_468)
}

/// Microseconds since 2000 of `YYYY-MM-DD HH:MM:SS.ffffff`.
fn micros_of(text: &str) -> Option<i64> {
    let days = days_of(text)? - EPOCH_DAYS;
    let rest = text.get(10..)?;
    if rest.is_empty() {
        return Some(days * DAY_MICROS);
    }
    let number = |range: std::ops::Range<usize>| digits(rest.get(range)?);
    let marks = (rest.get(0..1)?, rest.get(3..4)?, rest.get(6..7)?);
    let (hours, minutes, seconds) = (number(1..3)?, number(4..6)?, number(7..9)?);
    if marks != (" ", ":", ":") || hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let micros = match rest.get(9..)? {
        "" => 0,
        part => {
            let part = part.strip_prefix('.').filter(|part| part.len() <= 6)?;
            digits(part)? * 10_i64.pow(6 - u32::try_from(part.len()).ok()?)
        }
    };
    let seconds = (hours * 60 + minutes) * 60 + seconds;
    Some(days * DAY_MICROS + seconds * 1_000_000 + micros)
}

fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(binary: Binary, text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        binary.push(&mut bytes, text).map(|()| bytes)
    }

    fn words(text: &str) -> Option<Vec<u16>> {
        let bytes = bytes(Binary::Numeric, text)?;
        Some(bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect())
    }

    #[test]
    fn decimals_are_groups_of_four_digits() {
        assert_eq!(words("0"), Some(vec![0, 0, 0, 0]));
        assert_eq!(words("-0.00"), Some(vec![0, 0, 0, 2]));
        assert_eq!(words("19.90"), Some(vec![2, 0, 0, 2, 19, 9000]));
        assert_eq!(words("-12345.6"), Some(vec![3, 1, 0x4000, 1, 1, 2345, 6000]));
        assert_eq!(words("0.00001"), Some(vec![1, u16::MAX - 1, 0, 5, 1000]));
        assert_eq!(words("100000000"), Some(vec![1, 2, 0, 0, 1]));
        for none in ["", "-", "1e5", "1.2.3", ".5"] {
            assert_eq!(words(none), None, "{none}");
        }
    }

    #[test]
    fn dates_are_counted_from_2000() {
        let day = |text| Some(i32::from_be_bytes(bytes(Binary::Date, text)?.try_into().unwrap()));
        assert_eq!(day("2000-01-01"), Some(0));
        assert_eq!(day("1999-12-31"), Some(-1));
        assert_eq!(day("2000-03-01"), Some(60));
        assert_eq!(day("9999-12-31"), Some(2_921_939));
        for none in ["2023-02-29", "2024-13-01", "2024-04-31", "2024-1-01", ""] {
            assert_eq!(day(none), None, "{none}");
        }
    }

    #[test]
    fn times_have_microseconds() {
        let micros =
            |text| Some(i64::from_be_bytes(bytes(Binary::Timestamp, text)?.try_into().unwrap()));
        assert_eq!(micros("2000-01-01 00:00:01.5"), Some(1_500_000));
        assert_eq!(micros("1999-12-31 23:59:59.999999"), Some(-1));
        assert_eq!(micros("2000-01-02"), Some(DAY_MICROS));
        assert_eq!(micros("2000-01-01 24:00:00"), None);
        assert_eq!(micros("2000-01-01T00:00:00"), None);
    }

    #[test]
    fn a_number_out_of_range_is_left_to_the_server() {
        assert_eq!(bytes(Binary::Int2, "-1"), Some(vec![255, 255]));
        assert_eq!(bytes(Binary::Int2, "65536"), None);
        assert_eq!(bytes(Binary::Int4, "1.5"), None);
        assert_eq!(bytes(Binary::Float4, "1e300"), None);
        assert_eq!(bytes(Binary::Bytes, "\\x00ff"), Some(vec![0, 255]));
    }
}
