//! Text in every character set that a server has: a table for each, and what its text must be.

use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use mysql_async::Value;
use rand::{RngExt as _, rngs::StdRng};

use super::{Domain, Expected, Table, TextCharset, domain::hex, pieces};
use crate::charsets::whole_text;

/// The character sets of MySQL and MariaDB, and characters that they have.
const SAMPLES: [(&str, &str); 40] = [
    ("armscii8", "Հայ"),
    ("ascii", "az~"),
    ("big5", "中文繁體"),
    ("cp1250", "Łőž"),
    ("cp1251", "Привет"),
    ("cp1256", "سلام"),
    ("cp1257", "ąčę"),
    ("cp850", "éÇ░"),
    ("cp852", "čŁő"),
    ("cp866", "Привет"),
    ("cp932", "日本①ソ表ｱ"),
    ("dec8", "éÅŒ"),
    ("eucjpms", "日本①ｱ丂"),
    ("euckr", "한국어"),
    ("gb18030", "中文國😀𠀀㐀"),
    ("gb2312", "中文"),
    ("gbk", "中文國"),
    ("geostd8", "ქართ"),
    ("greek", "Ελά"),
    ("hebrew", "שלום"),
    ("hp8", "éÀÅ"),
    ("keybcs2", "čěř"),
    ("koi8r", "Привет"),
    ("koi8u", "Їжак"),
    ("latin1", "é€ÿ"),
    ("latin2", "ŁłŐ"),
    ("latin5", "ğİş"),
    ("latin7", "ąčę"),
    ("macce", "čěŁ"),
    ("macroman", "éßπ"),
    ("sjis", "日本ソ表ｱ"),
    ("swe7", "ÅÄÖåäö"),
    ("tis620", "ไทย"),
    ("ucs2", "é中ｱ"),
    ("ujis", "日本ｱ丂"),
    ("utf16", "é中😀"),
    ("utf16le", "é中😀"),
    ("utf32", "é中😀"),
    ("utf8mb3", "é中ｱ"),
    ("utf8mb4", "é中😀"),
];

/// Bytes, in hexadecimal digits, at which implementations break: second bytes that look like ASCII,
/// pairs without a character, private ones, the first and the last of a length.
const BYTES: &str = "815C 835C41 8140 FEFE A2A0 A1A1 F040 FA40 FCFC EAA2 8EB1 8EDF 8FB0A1 8FA2AF \
     8FFEFE 41A141 80 FF 81308130 8130813081 8431A439 90308130 E3329A35 8135F437 8136C738 A6D9 \
     FE50 0041D83DDE00 3DD800DE0041 FFFE FEFF 0010FFFF 00000041 E000 EFBFBF F48FBFBF";

/// A table with texts and members in a character set, if it is one that is known.
pub(super) fn table(charset: &str) -> Option<Table> {
    let (name, sample) = SAMPLES.iter().find(|(name, _)| *name == charset)?;
    let text = |kind, fits| Domain::Text(kind, TextCharset::Named(name), fits);
    let members: Vec<String> = sample.chars().map(|c| format!("{c}{c}x")).collect();
    let columns = [
        ("c", text("CHAR(10)", 10)),
        ("v", text("VARCHAR(60)", 60)),
        ("t", text("TEXT", 2_000)),
        ("e", Domain::Enum(members.clone())),
        ("s", Domain::Set(members)),
    ];
    let columns = columns.map(|(name, domain)| (name.to_owned(), domain));
    let mut table = Table::new(&format!("in {charset}"), columns);
    charset.clone_into(&mut table.charset);
    Some(table)
}

/// What a SELECT also asks for, to show whether the server could convert a text.
pub(super) fn proof(column: &str) -> String {
    format!(", CONVERT({column} USING binary), CHAR_LENGTH({column})")
}

/// The form of a text, by what the server made of it, its bytes, and its length.
pub(super) fn expect(
    charset: &str,
    text: Value,
    proofs: &mut impl Iterator<Item = Value>,
) -> Result<Expected> {
    let (bytes, length) = proofs.next().zip(proofs.next()).context("no proof of the text")?;
    if text == Value::NULL {
        return Ok(Expected::Text("null".to_owned()));
    }
    let bytes: Vec<u8> = mysql_async::from_value_opt(bytes)?;
    let length: u64 = mysql_async::from_value_opt(length)?;
    let converted: Vec<u8> = mysql_async::from_value_opt(text)?;
    Ok(Expected::Text(match whole_text(charset, (&bytes, length), converted) {
        Some(text) => serde_json::to_string(&text)?,
        None => format!("{{\"base64\":\"{}\"}}", STANDARD.encode(bytes)),
    }))
}

/// What only this character set has, as SQL expressions.
pub(super) fn edges(charset: &str, fits: usize) -> Vec<String> {
    let all: Vec<u8> = (0..=255).collect();
    let runs = all.chunks(fits.min(64)).map(hex);
    let bytes = BYTES.split_whitespace().map(|digits| format!("X'{digits}'"));
    runs.chain(bytes).map(|bytes| format!("CONVERT({bytes} USING {charset})")).collect()
}

/// A random text, as an SQL expression: of characters, or of bytes that look like some.
pub(super) fn random(charset: &'static str, fits: usize, rng: &mut StdRng) -> String {
    let length = rng.random_range(0..=fits.min(40));
    if rng.random_bool(0.5) {
        let bytes: Vec<u8> = (0..length).flat_map(|_| character(charset, rng)).collect();
        return format!("CONVERT({} USING {charset})", hex(&bytes));
    }
    let own = SAMPLES.iter().find(|(name, _)| *name == charset).map_or("", |(_, sample)| *sample);
    let own: Vec<char> = own.chars().collect();
    let text = pieces::text(rng, length);
    let mixed = text.chars().map(|other| {
        if rng.random_bool(0.5) { own[rng.random_range(0..own.len())] } else { other }
    });
    TextCharset::Named(charset).literal(&mixed.collect::<String>())
}

/// Bytes that may be a character. The server cuts a text off at bytes that are none.
fn character(charset: &str, rng: &mut StdRng) -> Vec<u8> {
    let ascii = rng.random_range(0..0x80);
    let (lead, trail) = (rng.random_range(0xa1..=0xfe), rng.random_range(0xa1..=0xfe));
    match (charset, rng.random_range(0..4)) {
        ("ucs2" | "utf16", _) => vec![rng.random(), rng.random()],
        ("utf16le", _) => vec![rng.random(), rng.random()],
        ("utf32", _) => vec![0, rng.random_range(0..=0x10), rng.random(), rng.random()],
        ("utf8mb3" | "utf8mb4", _) => pieces::text(rng, 1).into_bytes(),
        ("gb18030", 0) => vec![lead, rng.random_range(0x30..=0x39), trail, 0x30],
        ("ujis" | "eucjpms", 0) => vec![0x8f, lead, trail],
        ("ujis" | "eucjpms", 1) => vec![0x8e, trail],
        ("big5" | "cp932" | "euckr" | "gb18030" | "gb2312" | "gbk" | "sjis", 1) => {
            vec![lead - 0x20, rng.random_range(0x40..=0xfe)]
        }
        (_, 2) => vec![ascii],
        _ => vec![lead, trail],
    }
}
