//! Asks a server which text each sequence of bytes is in each of its character sets.

use std::ops::RangeInclusive;

use anyhow::{Context as _, Result};
use mysql_async::{Conn, Row, prelude::Queryable as _};

/// Which values each byte of a sequence takes.
pub type Pattern = Vec<RangeInclusive<u8>>;

/// A sequence of bytes, and the text that it is; none where it is not text.
pub type Reading = (Vec<u8>, Option<String>);

/// A character set and the ids of its collations.
#[derive(Clone, Debug)]
pub struct ServerCharset {
    /// As the server names it; `utf8mb3` whatever it says.
    pub name: String,
    /// From low to high.
    pub collations: Vec<u16>,
}

/// The character sets of a server, by name.
///
/// # Errors
///
/// When it does not answer.
pub async fn charsets(conn: &mut Conn) -> Result<Vec<ServerCharset>> {
    // MariaDB lists the collations of several character sets in this one alone.
    let mariadb = conn
        .query_first::<String, _>("SELECT VERSION()")
        .await?
        .is_some_and(|version| version.contains("MariaDB"));
    let table = if mariadb { "COLLATION_CHARACTER_SET_APPLICABILITY" } else { "COLLATIONS" };
    let rows: Vec<(String, u16)> = conn
        .query(format!(
            "SELECT CHARACTER_SET_NAME, ID FROM information_schema.{table} ORDER BY 1, 2"
        ))
        .await?;
    let mut charsets: Vec<ServerCharset> = Vec::new();
    for (name, id) in rows {
        let name = if name == "utf8" { "utf8mb3".to_owned() } else { name };
        match charsets.last_mut().filter(|last| last.name == name) {
            Some(last) => last.collations.push(id),
            None => charsets.push(ServerCharset { name, collations: vec![id] }),
        }
    }
    charsets.retain(|charset| charset.name != "binary");
    Ok(charsets)
}

/// Sequences that, together, have each character of a character set, and whatever could be taken
/// for one.
pub fn patterns(charset: &str) -> Vec<Pattern> {
    patterns_with(charset, &[0x81..=0xfe])
}

/// The same without most of the characters past U+FFFF that gb18030 has in Unicode's own order.
pub fn quick_patterns(charset: &str) -> Vec<Pattern> {
    patterns_with(charset, &[0x81..=0x84, 0x90..=0x90, 0xe3..=0xe3])
}

/// `leads` are the first bytes of the characters of four bytes in gb18030.
fn patterns_with(charset: &str, leads: &[RangeInclusive<u8>]) -> Vec<Pattern> {
    let any = || 0..=255;
    let pairs = vec![any(), any()];
    match charset {
        "big5" | "cp932" | "euckr" | "gb2312" | "gbk" | "sjis" => vec![vec![any()], pairs],
        "ujis" | "eucjpms" => vec![vec![any()], pairs, vec![0x8f..=0x8f, any(), any()]],
        "gb18030" => {
            // Around what a character of four bytes can be.
            let near = vec![0x80..=0x82, 0x2f..=0x3a, 0x80..=0xff, 0x2f..=0x3a];
            let four = |lead: &RangeInclusive<u8>| {
                vec![lead.clone(), 0x30..=0x39, 0x81..=0xfe, 0x30..=0x39]
            };
            leads.iter().map(four).chain([vec![any()], pairs, near]).collect()
        }
        // In whole units only: the server fills up what is shorter.
        "ucs2" => vec![pairs],
        "utf16" => vec![pairs, vec![0xd7..=0xe0, 0..=3, 0xdb..=0xe0, any()]],
        "utf16le" => vec![pairs, vec![0..=3, 0xd7..=0xe0, any(), 0xdb..=0xe0]],
        "utf32" => {
            let near = vec![any(), 0..=0, 0..=0, 0..=9];
            vec![vec![0..=0, 0..=0x11, any(), 0..=15], near]
        }
        "utf8mb3" | "utf8mb4" => {
            let three = vec![0xe0..=0xef, 0x7f..=0xc0, 0x7f..=0xc0];
            let four = vec![0xef..=0xf5, 0x7f..=0xc0, 0x7f..=0x81, 0xbe..=0xc0];
            vec![vec![any()], pairs, three, four]
        }
        _ => vec![vec![any()]],
    }
}

/// The text that each sequence of a pattern is, by the server; in no order.
///
/// # Errors
///
/// When it does not answer.
pub async fn read_all(conn: &mut Conn, charset: &str, pattern: &Pattern) -> Result<Vec<Reading>> {
    let rows: Vec<Row> = conn.query(query(charset, pattern)).await?;
    rows.into_iter().map(|row| reading(charset, row)).collect()
}

fn query(charset: &str, pattern: &Pattern) -> String {
    let digits: Vec<String> = (0..16).map(|digit| format!("SELECT '{digit:X}' AS d")).collect();
    let bytes: Vec<String> = (0..pattern.len()).map(|n| format!("b{n}.b")).collect();
    let tables: Vec<String> = (0..pattern.len()).map(|n| format!("bytes AS b{n}")).collect();
    let ranges = pattern.iter().enumerate().map(|(n, range)| {
        format!("b{n}.b BETWEEN '{:02X}' AND '{:02X}'", range.start(), range.end())
    });
    format!(
        "WITH digits AS ({}), \
         bytes AS (SELECT CONCAT(high.d, low.d) AS b FROM digits AS high, digits AS low), \
         codes AS (SELECT CONCAT({}) AS code FROM {} WHERE {}), \
         texts AS (SELECT code, CONVERT(UNHEX(code) USING {charset}) AS text FROM codes) \
         SELECT code, CHAR_LENGTH(text), HEX(CONVERT(text USING utf8mb4)) \
         FROM texts",
        digits.join(" UNION ALL "),
        bytes.join(", "),
        tables.join(", "),
        ranges.collect::<Vec<_>>().join(" AND "),
    )
}

fn reading(charset: &str, row: Row) -> Result<Reading> {
    let (code, length, text): (String, Option<u64>, Option<String>) =
        mysql_async::from_row_opt(row)?;
    let bytes = unhex(&code)?;
    let (Some(length), Some(text)) = (length, text) else { return Ok((bytes, None)) };
    let text = whole_text(charset, (&bytes, length), unhex(&text)?);
    Ok((bytes, text))
}

/// The text, if a server found a character for all of its bytes when it converted them to UTF-8.
///
/// A server may cut off what is not text, or write a surrogate as UTF-8; and for a character that
/// cannot be converted the server writes a question mark. So the text must have as many characters
/// as the server counted, and no more question marks than the bytes have.
pub fn whole_text(
    charset: &str,
    (bytes, length): (&[u8], u64),
    converted: Vec<u8>,
) -> Option<String> {
    let text = String::from_utf8(converted).ok()?;
    let own = match charset {
        "ucs2" | "utf16" => bytes.chunks(2).filter(|unit| *unit == b"\0?").count(),
        "utf16le" => bytes.chunks(2).filter(|unit| *unit == b"?\0").count(),
        "utf32" => bytes.chunks(4).filter(|unit| *unit == b"\0\0\0?").count(),
        _ => bytes.iter().filter(|&&byte| byte == b'?').count(),
    };
    let marks = text.chars().filter(|&character| character == '?').count();
    (text.chars().count() as u64 == length && marks <= own).then_some(text)
}

fn unhex(digits: &str) -> Result<Vec<u8>> {
    let pairs = (0..digits.len()).step_by(2).map(|at| digits.get(at..at + 2));
    pairs.map(|pair| Ok(u8::from_str_radix(pair.context("half a byte")?, 16)?)).collect()
}
