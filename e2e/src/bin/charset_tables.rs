//! Writes the tables of character sets that `dts` reads text by, as real servers answer:
//!
//!     cargo run --release --bin charset-tables -- mysql://root@127.0.0.1:23397 [URL]...
//!
//! The first server says what the bytes mean; all servers say which collations there are. The
//! format of `tables.bin` is described in `crates/binlog/src/charset/table.rs`.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use anyhow::{Result, ensure};
use clap::Parser;
use e2e::{charsets, servers};
use mysql_async::Conn;

/// Those that need no table.
const UNICODE: [&str; 6] = ["utf8mb4", "utf8mb3", "ucs2", "utf16", "utf16le", "utf32"];

/// Those that have most of what others have, which then need no cells of their own.
const FIRST: [&str; 4] = ["ujis", "eucjpms", "gb18030", "gbk"];

/// Codes without a character that cost less than another segment.
const MAX_GAP: u32 = 5;

/// Characters in Unicode's order that cost more than segments of their own.
const MIN_IN_ORDER: usize = 13;

const SEGMENT_BYTES: usize = 12;

#[derive(Parser)]
struct Options {
    /// The servers, such as `mysql://root@127.0.0.1:3306`.
    #[arg(required = true)]
    urls: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = servers::repository().join("crates/binlog/src/charset");
    let urls = Options::parse().urls;
    write_collations(&urls, &folder.join("collations.rs")).await?;
    write_tables(&urls[0], &folder.join("tables.bin")).await
}

async fn write_collations(urls: &[String], path: &Path) -> Result<()> {
    let mut names: BTreeMap<u16, String> = BTreeMap::new();
    for url in urls {
        for charset in charsets::charsets(&mut servers::connect(url).await?).await? {
            for id in charset.collations {
                let known = names.entry(id).or_insert_with(|| charset.name.clone());
                ensure!(*known == charset.name, "{id} is of {known} and of {}", charset.name);
            }
        }
    }
    let mut ranges: Vec<(u16, u16, String)> = Vec::new();
    for (id, name) in names {
        match ranges.last_mut() {
            Some((_, last, of)) if *of == name && *last + 1 == id => *last = id,
            _ => ranges.push((id, id, name)),
        }
    }
    let mut text = "//! Which character set a collation is of: a catalogue that \
         `e2e/src/bin/charset_tables.rs` wrote.\n\n\
         /// The first and the last id of a range, and the character set.\n\
         pub(super) static COLLATIONS: &[(u16, u16, &str)] = &[\n"
        .to_owned();
    for (first, last, name) in ranges {
        writeln!(text, "    ({first}, {last}, \"{name}\"),")?;
    }
    std::fs::write(path, text + "];\n")?;
    Ok(())
}

async fn write_tables(url: &str, path: &Path) -> Result<()> {
    let mut conn = servers::connect(url).await?;
    let mut names: Vec<String> =
        charsets::charsets(&mut conn).await?.into_iter().map(|charset| charset.name).collect();
    names.retain(|name| !UNICODE.contains(&name.as_str()));
    names.sort_by_key(|name| {
        (FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()), name.clone())
    });
    let (mut directory, mut leads) = (Vec::new(), Vec::new());
    let (mut segments, mut pool) = (Vec::new(), Vec::new());
    let count = u16::try_from(names.len())?;
    for name in names {
        let runs = runs(&characters(&mut conn, &name).await?);
        let parts: Vec<Run> = runs.iter().flat_map(Run::parts).collect();
        directory.extend(format!("{name:\0<8}").bytes());
        directory.extend(u16::try_from(parts.len())?.to_le_bytes());
        for lead in 0..=u8::MAX {
            let up_to = parts.partition_point(|part| part.code.to_be_bytes()[0] <= lead);
            leads.extend(u16::try_from(up_to)?.to_le_bytes());
        }
        parts.iter().for_each(|part| segments.extend(part.segment(&mut pool)));
    }
    let all = u16::try_from(segments.len() / SEGMENT_BYTES)?;
    let mut file: Vec<u8> = [count, all].iter().flat_map(|number| number.to_le_bytes()).collect();
    file.extend(directory);
    file.extend(leads);
    file.extend(segments);
    file.extend(pool.iter().flat_map(|unit| unit.to_le_bytes()));
    std::fs::write(path, file)?;
    Ok(())
}

/// A character and its code.
struct Character {
    bytes: Vec<u8>,
    /// Its number in Unicode.
    scalar: u32,
}

async fn characters(conn: &mut Conn, charset: &str) -> Result<Vec<Character>> {
    let mut found = BTreeMap::new();
    for pattern in charsets::patterns(charset) {
        for (bytes, text) in charsets::read_all(conn, charset, &pattern).await? {
            let text = text.unwrap_or_default();
            let mut characters = text.chars();
            if let (Some(character), None) = (characters.next(), characters.next()) {
                found.insert(bytes, u32::from(character));
            }
        }
    }
    Ok(found.into_iter().map(|(bytes, scalar)| Character { bytes, scalar }).collect())
}

/// Characters whose codes follow each other; 0 is a code without a character.
struct Run {
    code: u32,
    bytes: usize,
    scalars: Vec<u32>,
}

fn runs(characters: &[Character]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut next = 0;
    for Character { bytes, scalar } in characters {
        let number = number(bytes);
        let gap = number.wrapping_sub(next);
        match runs.last_mut() {
            Some(run) if run.bytes == bytes.len() && gap <= MAX_GAP => {
                run.scalars.extend((0..gap).map(|_| 0));
                run.scalars.push(*scalar);
            }
            _ => runs.push(Run { code: code(bytes), bytes: bytes.len(), scalars: vec![*scalar] }),
        }
        next = number + 1;
    }
    runs
}

fn code(bytes: &[u8]) -> u32 {
    (0..4).fold(0, |code, n| code << 8 | bytes.get(n).map_or(0, |byte| u32::from(*byte)))
}

/// Where a code comes among all of its length.
fn number(bytes: &[u8]) -> u32 {
    match *bytes {
        [a, b, c, d] => {
            let digits = [a - 0x81, b - 0x30, c - 0x81, d - 0x30].map(u32::from);
            ((digits[0] * 10 + digits[1]) * 126 + digits[2]) * 10 + digits[3]
        }
        _ => code(bytes) >> (32 - 8 * bytes.len()),
    }
}

/// The code of a number.
fn code_of(number: u32, bytes: usize) -> u32 {
    if bytes < 4 {
        return number << (32 - 8 * bytes);
    }
    let (rest, d) = (number / 10, number % 10);
    let (rest, c) = (rest / 126, rest % 126);
    let (a, b) = (rest / 10, rest % 10);
    u32::from_be_bytes([a + 0x81, b + 0x30, c + 0x81, d + 0x30].map(|byte| byte as u8))
}

impl Run {
    /// The same characters, with those in Unicode's order apart where they are enough.
    fn parts(&self) -> Vec<Self> {
        let first = number(&self.code.to_be_bytes()[..self.bytes]);
        let mut parts: Vec<Self> = Vec::new();
        let mut add = |from: usize, to: usize| {
            let scalars = &self.scalars[from..to];
            let blank = |scalar: &&u32| **scalar == 0;
            let is_first = from == 0 && self.code == 0;
            // Gaps at its ends need no cells.
            let leading = if is_first { 0 } else { scalars.iter().take_while(blank).count() };
            let trailing =
                scalars.iter().rev().take_while(blank).count().min(scalars.len() - leading);
            let scalars = scalars[leading..scalars.len() - trailing].to_vec();
            if !scalars.is_empty() {
                let code = code_of(first + (from + leading) as u32, self.bytes);
                parts.push(Self { code, bytes: self.bytes, scalars });
            }
        };
        let mut begin = 0;
        let mut at = 0;
        while at < self.scalars.len() {
            let length = in_order(&self.scalars[at..]);
            if length >= MIN_IN_ORDER {
                add(begin, at);
                add(at, at + length);
                begin = at + length;
            }
            at += length;
        }
        add(begin, at);
        parts
    }

    fn segment(&self, pool: &mut Vec<u16>) -> [u8; SEGMENT_BYTES] {
        let place = if in_order(&self.scalars) == self.scalars.len() {
            1 << 31 | self.scalars[0]
        } else {
            let units: Vec<u16> =
                self.scalars.iter().map(|scalar| u16::try_from(*scalar).expect("BMP")).collect();
            let found = pool.windows(units.len()).position(|window| window == units);
            found.unwrap_or_else(|| {
                pool.extend(&units);
                pool.len() - units.len()
            }) as u32
        };
        let shape = (self.bytes as u32) << 28 | self.scalars.len() as u32;
        let mut segment = [0; SEGMENT_BYTES];
        for (to, field) in segment.chunks_mut(4).zip([self.code, shape, place]) {
            to.copy_from_slice(&field.to_le_bytes());
        }
        segment
    }
}

/// How many from the first on are in Unicode's order.
fn in_order(scalars: &[u32]) -> usize {
    let first = scalars.first().copied().unwrap_or_default();
    let expected = (first..).zip(scalars).take_while(|(expected, found)| expected == *found);
    expected.count().max(1)
}
