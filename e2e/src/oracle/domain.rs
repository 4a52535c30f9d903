//! What can stand in a column: its declaration, its edge values, and random values, as SQL.

use rand::{RngExt as _, rngs::StdRng};

use super::json;

/// A type with its options.
#[derive(Clone, Debug, PartialEq)]
pub enum Domain {
    /// An integer of so many bits.
    Int(u32),
    /// An unsigned integer of so many bits.
    UnsignedInt(u32),
    /// FLOAT, with what is declared after it.
    Float(&'static str),
    /// DOUBLE, with what is declared after it.
    Double(&'static str),
    /// DECIMAL(precision, scale).
    Decimal(u32, u32),
    /// BIT(n).
    Bit(u32),
    /// YEAR.
    Year,
    /// DATE.
    Date,
    /// TIME with so many digits of fraction.
    Time(u8),
    /// DATETIME with so many digits of fraction.
    DateTime(u8),
    /// TIMESTAMP with so many digits of fraction.
    Timestamp(u8),
    /// A text type as declared, without its character set, and how many characters fit.
    Text(&'static str, TextCharset, usize),
    /// A binary type as declared.
    Binary(&'static str),
    /// ENUM with these members.
    Enum(Vec<String>),
    /// SET with these members.
    Set(Vec<String>),
    /// JSON.
    Json,
}

/// A character set and collation that text columns are declared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextCharset {
    /// utf8mb4 with its default collation, which does not pad.
    Utf8mb4,
    /// utf8mb4 with a collation that pads.
    Utf8mb4Bin,
    /// utf8mb3.
    Utf8mb3,
    /// ascii.
    Ascii,
    /// latin1.
    Latin1,
}

impl TextCharset {
    fn declared(self) -> &'static str {
        match self {
            Self::Utf8mb4 => "CHARSET utf8mb4 COLLATE utf8mb4_0900_ai_ci",
            Self::Utf8mb4Bin => "CHARSET utf8mb4 COLLATE utf8mb4_bin",
            Self::Utf8mb3 => "CHARSET utf8mb3",
            Self::Ascii => "CHARSET ascii",
            Self::Latin1 => "CHARSET latin1",
        }
    }

    /// A literal with these characters, as far as the character set has them.
    fn literal(self, text: &str) -> String {
        let kept = |c: &char| match self {
            Self::Utf8mb4 | Self::Utf8mb4Bin => true,
            Self::Utf8mb3 => c.len_utf8() < 4,
            Self::Ascii => c.is_ascii(),
            Self::Latin1 => {
                u32::from(*c) < 0x80 || (0xa0..0x100).contains(&u32::from(*c)) || *c == '€'
            }
        };
        hex_text(&text.chars().filter(kept).collect::<String>())
    }
}

impl Domain {
    /// The type as it stands in CREATE TABLE.
    pub fn declared(&self) -> String {
        match self {
            Self::Int(bits) => int_name(*bits).to_owned(),
            Self::UnsignedInt(bits) => format!("{} UNSIGNED", int_name(*bits)),
            Self::Float(rest) => format!("FLOAT{rest}"),
            Self::Double(rest) => format!("DOUBLE{rest}"),
            Self::Decimal(precision, scale) => format!("DECIMAL({precision},{scale})"),
            Self::Bit(bits) => format!("BIT({bits})"),
            Self::Year => "YEAR".to_owned(),
            Self::Date => "DATE".to_owned(),
            Self::Time(fraction) => format!("TIME({fraction})"),
            Self::DateTime(fraction) => format!("DATETIME({fraction})"),
            Self::Timestamp(fraction) => format!("TIMESTAMP({fraction})"),
            Self::Text(kind, charset, _) => format!("{kind} {}", charset.declared()),
            Self::Binary(kind) => (*kind).to_owned(),
            Self::Enum(members) => format!("ENUM({})", member_list(members)),
            Self::Set(members) => format!("SET({})", member_list(members)),
            Self::Json => "JSON".to_owned(),
        }
    }

    /// The values at which implementations break, as SQL expressions.
    pub fn edges(&self) -> Vec<String> {
        match self {
            Self::Int(bits) => {
                let max = i64::MAX >> (64 - bits);
                [0, 1, -1, max, -max - 1, max / 2, -128, 127].map(|n| n.to_string()).to_vec()
            }
            Self::UnsignedInt(bits) => {
                let max = u64::MAX >> (64 - bits);
                [0, 1, max, max / 2, max / 2 + 1].map(|n| n.to_string()).to_vec()
            }
            Self::Float(_) => strings(&[
                "0",
                "-0e0",
                "0.1",
                "-1.5",
                "1e-45",
                "3.4028234663852886e38",
                "1.17549435e-38",
                "16777217",
                "123456.789",
                "999.9995",
                "1e10",
                "-1e-10",
            ]),
            Self::Double(_) => strings(&[
                "0",
                "-0e0",
                "0.1",
                "-1.5",
                "5e-324",
                "1.7976931348623157e308",
                "2.2250738585072014e-308",
                "1e15",
                "1e16",
                "1e21",
                "1e22",
                "123456789012345678",
                "0.30000000000000004",
                "-1e-7",
            ]),
            Self::Decimal(precision, scale) => decimal_edges(*precision, *scale),
            Self::Bit(bits) => {
                let max = u64::MAX >> (64 - bits);
                [0, 1, max, max / 3, max / 2 + 1].map(|n| n.to_string()).to_vec()
            }
            Self::Year => strings(&["0", "'0000'", "1901", "2155", "2024", "1970"]),
            Self::Date => date_edges().iter().map(|date| format!("'{date}'")).collect(),
            Self::Time(_) => strings(&[
                "'-838:59:59'",
                "'838:59:59'",
                "'00:00:00'",
                "'-00:00:00.1'",
                "'-00:00:00.000001'",
                "'-00:00:01'",
                "'-00:00:00.99'",
                "'-00:00:01.5'",
                "'12:34:56.789012'",
                "'-01:00:00'",
                "'99:59:59.999999'",
                "'100:00:00'",
                "'-12:34:56.000256'",
                "'-255:00:00.65536'",
            ]),
            Self::DateTime(_) => datetime_edges(),
            Self::Timestamp(_) => strings(&[
                "'0000-00-00 00:00:00'",
                "'1970-01-01 00:00:01'",
                "'1970-01-01 00:00:01.999999'",
                "'2038-01-19 03:14:07'",
                "'2038-01-19 03:14:06.999999'",
                "'2000-02-29 12:34:56.5'",
                "'2024-12-31 23:59:59.000001'",
                "'1999-12-31 23:59:59.123456'",
            ]),
            Self::Text(_, charset, fits) => text_edges(*charset, *fits),
            Self::Binary(kind) => binary_edges(kind),
            Self::Enum(members) => {
                let values = members.iter().map(|member| hex_text(member));
                values.chain(["'no such member'".to_owned()]).collect()
            }
            Self::Set(members) => {
                let all = u64::MAX >> (64 - members.len());
                [0, 1, all, all / 3, all / 2 + 1].map(|n| n.to_string()).to_vec()
            }
            Self::Json => json::edges(),
        }
    }

    /// A random value, as an SQL expression.
    pub fn random(&self, rng: &mut StdRng) -> String {
        match self {
            Self::Int(bits) => {
                let value = rng.random::<i64>() >> (64 - bits);
                (value >> rng.random_range(0..*bits)).to_string()
            }
            Self::UnsignedInt(bits) | Self::Bit(bits) => {
                let value = rng.random::<u64>() >> (64 - bits);
                (value >> rng.random_range(0..*bits)).to_string()
            }
            Self::Float(_) => random_float(rng, -30..30),
            Self::Double(_) => random_float(rng, -290..290),
            Self::Decimal(precision, scale) => random_decimal(rng, *precision, *scale),
            Self::Year => [0, rng.random_range(1901..=2155)][rng.random_range(0..2)].to_string(),
            Self::Date => format!("'{}'", random_date(rng)),
            Self::Time(_) => format!("'{}'", random_time(rng)),
            Self::DateTime(_) => format!("'{} {}'", random_date(rng), random_day_time(rng)),
            Self::Timestamp(_) => format!(
                "'{:04}-{:02}-{:02} {}'",
                rng.random_range(1971..2038),
                rng.random_range(1..=12),
                rng.random_range(1..=28),
                random_day_time(rng)
            ),
            Self::Text(_, charset, fits) => {
                let length = rng.random_range(0..=(*fits).min(60));
                charset.literal(&random_text(rng, length))
            }
            Self::Binary(kind) => {
                let length = rng.random_range(0..=binary_size(kind).min(60));
                hex(&(0..length).map(|_| random_byte(rng)).collect::<Vec<_>>())
            }
            Self::Enum(members) => rng.random_range(1..=members.len()).to_string(),
            Self::Set(members) => (rng.random::<u64>() >> (64 - members.len())).to_string(),
            Self::Json => json::random(rng),
        }
    }
}

fn int_name(bits: u32) -> &'static str {
    match bits {
        8 => "TINYINT",
        16 => "SMALLINT",
        24 => "MEDIUMINT",
        32 => "INT",
        _ => "BIGINT",
    }
}

fn member_list(members: &[String]) -> String {
    let quoted = members.iter().map(|member| format!("'{}'", member.replace('\'', "''")));
    quoted.collect::<Vec<_>>().join(",")
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

/// UTF-8 text as a literal in which no character needs quoting.
pub(super) fn hex_text(text: &str) -> String {
    format!("_utf8mb4 {}", hex(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("X'{digits}'")
}

fn decimal_edges(precision: u32, scale: u32) -> Vec<String> {
    let (whole, fraction) = ((precision - scale) as usize, scale as usize);
    let number = |digit: &str| format!("'{}.{}'", digit.repeat(whole), digit.repeat(fraction));
    let mut edges = strings(&["0", "1", "-1", "0.5", "-0.5", "'-0'"]);
    for digit in ["9", "1", "5"] {
        edges.push(number(digit));
        edges.push(number(digit).replacen('\'', "'-", 1));
    }
    if fraction > 0 {
        edges.push(format!("'0.{}1'", "0".repeat(fraction - 1)));
        edges.push(format!("'-0.{}1'", "0".repeat(fraction - 1)));
    }
    if whole > 0 {
        edges.push(format!("'1{}'", "0".repeat(whole - 1)));
        edges.push(format!("'-1{}'", "0".repeat(whole - 1)));
    }
    edges
}

fn date_edges() -> Vec<&'static str> {
    vec![
        "0000-00-00",
        "0000-00-01",
        "0001-01-01",
        "1000-01-01",
        "1970-01-01",
        "2000-02-29",
        "2024-00-00",
        "2024-02-00",
        "2023-02-31",
        "9999-12-31",
    ]
}

fn datetime_edges() -> Vec<String> {
    let times = ["00:00:00", "23:59:59", "12:34:56.789012", "00:00:00.000001", "23:59:58.99"];
    let dates = date_edges().into_iter();
    dates.zip(times.iter().cycle()).map(|(date, time)| format!("'{date} {time}'")).collect()
}

fn text_edges(charset: TextCharset, fits: usize) -> Vec<String> {
    let ascii: String = (0..=127_u8).map(char::from).collect();
    let latin: String = ('\u{a0}'..='\u{ff}').collect();
    let texts = [
        "",
        "a",
        "a  ",
        "  ",
        "\t",
        "\0",
        "\"\\/",
        "é€",
        "😀👨‍👩‍👧",
        "\u{2028}\u{2029}",
        "\u{fffd}\u{feff}",
        "'`\"",
        &ascii,
        &latin,
        &"x".repeat(255),
        &"€".repeat(256),
        &"😀".repeat(300),
        &"ab\n".repeat(30_000),
    ];
    let cut = texts.iter().map(|text| text.chars().take(fits).collect::<String>());
    let mut edges: Vec<String> = cut.map(|text| charset.literal(&text)).collect();
    if charset == TextCharset::Latin1 {
        // Every byte is a character in MySQL's latin1, the undefined ones of cp1252 too.
        let bytes: Vec<u8> = (0..=255).collect();
        edges.extend(
            bytes.chunks(fits.clamp(1, 256)).map(|chunk| format!("_latin1 {}", hex(chunk))),
        );
    }
    edges
}

fn binary_size(kind: &str) -> usize {
    let number: String = kind.chars().filter(char::is_ascii_digit).collect();
    number.parse().unwrap_or(255)
}

fn binary_edges(kind: &str) -> Vec<String> {
    let all: Vec<u8> = (0..=255).collect();
    let values = [
        &b""[..],
        b"\0",
        b"a",
        b"a\0",
        b"\0\0\0",
        b"ab\0\0",
        b"abc",
        b"a b ",
        b"\xff\xfe",
        &all,
        &all[..255],
    ];
    let size = binary_size(kind);
    let cut = values.iter().map(|value| hex(&value[..value.len().min(size)]));
    let large = kind.contains("BLOB") && kind != "TINYBLOB";
    cut.chain(large.then(|| "REPEAT(X'0100FF', 20000)".to_owned())).collect()
}

fn random_float(rng: &mut StdRng, exponents: std::ops::Range<i32>) -> String {
    if rng.random_bool(0.3) {
        return (f64::from(rng.random_range(-100_000..100_000)) / 100.0).to_string();
    }
    format!("{}e{}", rng.random_range(-1.0..1.0_f64), rng.random_range(exponents))
}

fn random_decimal(rng: &mut StdRng, precision: u32, scale: u32) -> String {
    let whole = rng.random_range(0..=precision - scale);
    let digits = |rng: &mut StdRng, count: u32| -> String {
        (0..count).map(|_| char::from(b'0' + rng.random_range(0..10_u8))).collect()
    };
    let sign = ["", "-"][rng.random_range(0..2)];
    format!("'{sign}0{}.{}'", digits(rng, whole), digits(rng, scale))
}

pub(super) fn random_date(rng: &mut StdRng) -> String {
    let (month, day) = (rng.random_range(1..=12), rng.random_range(1..=28));
    format!("{:04}-{month:02}-{day:02}", rng.random_range(1..9999))
}

fn random_day_time(rng: &mut StdRng) -> String {
    let (hour, second) = (rng.random_range(0..24), rng.random_range(0..60));
    // Not the last minute: rounding a fraction up must not leave the range of dates.
    let minute = rng.random_range(0..59);
    format!("{hour:02}:{minute:02}:{second:02}.{:06}", rng.random_range(0..1_000_000))
}

pub(super) fn random_time(rng: &mut StdRng) -> String {
    let sign = ["", "-"][rng.random_range(0..2)];
    let hour = if rng.random_bool(0.3) { 0 } else { rng.random_range(0..838) };
    let (minute, second) = (rng.random_range(0..60), rng.random_range(0..60));
    format!("{sign}{hour:02}:{minute:02}:{second:02}.{:06}", rng.random_range(0..1_000_000))
}

/// Text of so many characters, with those that need care more often than they occur.
pub(super) fn random_text(rng: &mut StdRng, length: usize) -> String {
    let pools = [
        "abcxyz019 ",
        "\"\\/'`\n\r\t\0\u{1}\u{1f}\u{7f}",
        "éüß\u{a0}ÿ",
        "€中文\u{2028}\u{feff}",
        "😀𝄞👩",
    ];
    let pool: Vec<char> = pools[..rng.random_range(1..=pools.len())].concat().chars().collect();
    (0..length).map(|_| pool[rng.random_range(0..pool.len())]).collect()
}

fn random_byte(rng: &mut StdRng) -> u8 {
    if rng.random_bool(0.3) { 0 } else { rng.random() }
}
