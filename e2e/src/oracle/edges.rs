//! The values at which implementations break, as SQL expressions.

use super::{
    Domain, TextCharset, charsets,
    domain::{binary_size, hex, hex_text, quoted},
    json, mariadb, spatial,
};

const FLOATS: &str = "0 -0e0 0.1 -1.5 1e-45 3.4028234663852886e38 1.17549435e-38 16777217 \
     123456.789 999.9995 1e10 -1e-10";
const DOUBLES: &str = "0 -0e0 0.1 -1.5 5e-324 1.7976931348623157e308 2.2250738585072014e-308 1e15 \
     1e16 1e21 1e22 123456789012345678 0.30000000000000004 -1e-7";
const DATES: &str = "0000-00-00 0000-00-01 0001-01-01 1000-01-01 1970-01-01 2000-02-29 2024-00-00 \
     2026-00-10 2024-02-00 2023-02-31 9999-12-31";
const TIMES: &str = "-838:59:59 838:59:59 00:00:00 -00:00:00.1 -00:00:00.000001 -00:00:01 \
     -00:00:00.99 -00:00:01.5 12:34:56.789012 -01:00:00 99:59:59.999999 100:00:00 \
     -12:34:56.000256 -255:00:00.65536";
const DAY_TIMES: &str = "00:00:00 23:59:59 12:34:56.789012 00:00:00.000001 23:59:58.99";
const TIMESTAMPS: &str = "0000-00-00T00:00:00 1970-01-01T00:00:01 1970-01-01T00:00:01.999999 \
     2038-01-19T03:14:07 2038-01-19T03:14:06.999999 2000-02-29T12:34:56.5 \
     2024-12-31T23:59:59.000001 1999-12-31T23:59:59.123456";

/// Those of a column.
pub(super) fn of(domain: &Domain) -> Vec<String> {
    match domain {
        Domain::Int(bits) => {
            let max = i64::MAX >> (64 - bits);
            numbers(&[0, 1, -1, max, -max - 1, max / 2, -128, 127])
        }
        Domain::UnsignedInt(bits) | Domain::Bit(bits) => unsigned(u64::MAX >> (64 - bits)),
        Domain::Set(members) => unsigned(u64::MAX >> (64 - members.len())),
        Domain::Float(_) => words(FLOATS),
        Domain::Double(_) => words(DOUBLES),
        Domain::Decimal(precision, scale) => decimals(*precision, *scale),
        Domain::Year => words("0 '0000' 1901 2155 2024 1970"),
        Domain::Date => quoted(DATES),
        Domain::Time(_) => quoted(TIMES),
        Domain::DateTime(_) => {
            let dates = DATES.split(' ').zip(DAY_TIMES.split(' ').cycle());
            dates.map(|(date, time)| format!("'{date} {time}'")).collect()
        }
        Domain::Timestamp(_) => quoted(TIMESTAMPS),
        Domain::Text(_, charset, fits) => texts(*charset, *fits),
        Domain::Binary(kind) => binaries(kind),
        Domain::Enum(members) => {
            let values = members.iter().map(|member| hex_text(member));
            values.chain(["'no such member'".to_owned()]).collect()
        }
        Domain::Json => json::edges(),
        Domain::Geometry(_) | Domain::Vector(_) => spatial::edges(domain),
        Domain::JsonText
        | Domain::LateTimestamp(_)
        | Domain::Uuid
        | Domain::Inet4
        | Domain::Inet6 => mariadb::edges(domain),
    }
}

fn words(list: &str) -> Vec<String> {
    list.split(' ').map(str::to_owned).collect()
}

fn numbers<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(T::to_string).collect()
}

fn unsigned(max: u64) -> Vec<String> {
    numbers(&[0, 1, max, max / 2, max / 2 + 1, max / 3])
}

fn decimals(precision: u32, scale: u32) -> Vec<String> {
    let (whole, fraction) = ((precision - scale) as usize, scale as usize);
    let number = |digit: &str| format!("'{}.{}'", digit.repeat(whole), digit.repeat(fraction));
    let mut edges = words("0 1 -1 0.5 -0.5 '-0'");
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

fn texts(charset: TextCharset, fits: usize) -> Vec<String> {
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
    if let TextCharset::Named(name) = charset {
        edges.extend(charsets::edges(name, fits));
    }
    if charset == TextCharset::Latin1 {
        // Every byte is a character in MySQL's latin1, the undefined ones of cp1252 too.
        let bytes: Vec<u8> = (0..=255).collect();
        edges.extend(
            bytes.chunks(fits.clamp(1, 256)).map(|chunk| format!("_latin1 {}", hex(chunk))),
        );
    }
    edges
}

fn binaries(kind: &str) -> Vec<String> {
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
