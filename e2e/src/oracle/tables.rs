//! The tables that cover every type and option.

use anyhow::{Context as _, Result};
use mysql_async::Conn;

use super::{Domain, Role, Table, TextCharset, charsets};
use crate::{charsets::charsets as charsets_of, programs::size};

/// A table, and how many random rows it is worth of every thousand.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The table.
    pub table: Table,
    pub(super) weight: usize,
}

impl Sample {
    /// Its part of so many random rows. In the full size each type has 10,000 values at least.
    pub fn rows(&self, of: usize) -> usize {
        const LEAST: usize = 10_000;
        let columns = &self.table.columns;
        let same =
            |domain: &Domain| columns.iter().filter(|column| column.domain == *domain).count();
        let rarest = columns.iter().map(|column| same(&column.domain)).min().unwrap_or(1);
        let least = usize::try_from(size(0, LEAST as u64)).unwrap_or(LEAST);
        (of * self.weight / 1000).max(least / rarest)
    }
}

/// All tables that the server can have: one for each of its character sets among them.
///
/// # Errors
///
/// When it does not answer.
pub async fn samples(conn: &mut Conn) -> Result<Vec<Sample>> {
    let tables = [
        (integers(), 160),
        (floats(), 120),
        (decimals(), 120),
        (times(), 160),
        (texts(), 100),
        (binaries(), 80),
        (members(), 100),
        (bits(), 40),
        (documents(), 90),
        (orders(), 20),
        (names(), 8),
        (wide(), 2),
        (derived(), 20),
        (opaques(), 20),
        (without_nulls(), 20),
        (without_key(), 20),
        (places(), 30),
    ];
    let version = conn.server_version();
    let has_vectors = version >= (11, 7, 0) || ((9, 0, 0)..(10, 0, 0)).contains(&version);
    let vectors = has_vectors.then(|| (vectors(), 20));
    let in_charsets = charsets_of(conn).await?.into_iter().map(|charset| {
        let table = charsets::table(&charset.name);
        Ok((table.with_context(|| format!("{} has no samples", charset.name))?, 2))
    });
    let in_charsets: Vec<_> = in_charsets.collect::<Result<_>>()?;
    let all = tables.into_iter().chain(vectors).chain(in_charsets);
    Ok(all.map(|(table, weight)| Sample { table, weight }).collect())
}

fn integers() -> Table {
    let sizes = [8, 16, 24, 32, 64];
    let signed = sizes.map(|bits| (format!("i{bits}"), Domain::Int(bits)));
    let unsigned = sizes.map(|bits| (format!("u{bits}"), Domain::UnsignedInt(bits)));
    Table::new("integers", signed.into_iter().chain(unsigned))
}

fn floats() -> Table {
    let columns = [
        ("f", Domain::Float("")),
        ("f73", Domain::Float("(7,3)")),
        ("fu", Domain::Float(" UNSIGNED")),
        ("d", Domain::Double("")),
        ("d102", Domain::Double("(10,2)")),
    ];
    Table::new("floats", named(columns))
}

fn decimals() -> Table {
    let shapes = [
        (65, 30),
        (1, 1),
        (1, 0),
        (12, 2),
        (9, 0),
        (10, 0),
        (18, 9),
        (19, 10),
        (38, 10),
        (65, 0),
        (30, 30),
        (5, 5),
        (20, 3),
        (7, 1),
    ];
    let columns = shapes.map(|(p, s)| (format!("d{p}_{s}"), Domain::Decimal(p, s)));
    Table::new("decimals", columns)
}

fn times() -> Table {
    let mut columns = named([("da", Domain::Date), ("ye", Domain::Year)]);
    for fraction in 0..=6 {
        columns.push((format!("ti{fraction}"), Domain::Time(fraction)));
        columns.push((format!("dt{fraction}"), Domain::DateTime(fraction)));
        columns.push((format!("ts{fraction}"), Domain::Timestamp(fraction)));
    }
    Table::new("times", columns)
}

fn texts() -> Table {
    use TextCharset::{Ascii, Latin1, Utf8mb3, Utf8mb4, Utf8mb4Bin};
    let columns = [
        ("c10", Domain::Text("CHAR(10)", Utf8mb4, 10)),
        ("c63", Domain::Text("CHAR(63)", Utf8mb4Bin, 63)),
        ("c64", Domain::Text("CHAR(64)", Utf8mb4Bin, 64)),
        ("c255", Domain::Text("CHAR(255)", Utf8mb4, 255)),
        ("c200", Domain::Text("CHAR(200)", Utf8mb3, 200)),
        ("ca", Domain::Text("CHAR(255)", Ascii, 255)),
        ("cl", Domain::Text("CHAR(255)", Latin1, 255)),
        ("v63", Domain::Text("VARCHAR(63)", Utf8mb4, 63)),
        ("v64", Domain::Text("VARCHAR(64)", Utf8mb4, 64)),
        ("v255", Domain::Text("VARCHAR(255)", Ascii, 255)),
        ("v256", Domain::Text("VARCHAR(256)", Latin1, 256)),
        ("v3", Domain::Text("VARCHAR(85)", Utf8mb3, 85)),
        ("tt", Domain::Text("TINYTEXT", Utf8mb4, 60)),
        ("tx", Domain::Text("TEXT", Utf8mb4Bin, 16_000)),
        ("tl", Domain::Text("TEXT", Latin1, 60_000)),
        ("tm", Domain::Text("MEDIUMTEXT", Utf8mb4, 100_000)),
        ("ta", Domain::Text("LONGTEXT", Ascii, 100_000)),
    ];
    Table::new("texts", named(columns))
}

fn binaries() -> Table {
    let kinds = [
        "BINARY(1)",
        "BINARY(2)",
        "BINARY(3)",
        "BINARY(16)",
        "BINARY(255)",
        "VARBINARY(10)",
        "VARBINARY(255)",
        "VARBINARY(256)",
        "VARBINARY(1000)",
        "TINYBLOB",
        "BLOB",
        "MEDIUMBLOB",
        "LONGBLOB",
    ];
    let columns = kinds.iter().enumerate();
    Table::new("binaries", columns.map(|(n, kind)| (format!("b{n}"), Domain::Binary(kind))))
}

fn members() -> Table {
    let numbered = |count: usize| (1..=count).map(|n| format!("m{n}")).collect::<Vec<_>>();
    let odd = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let columns = [
        ("e3", Domain::Enum(odd(&["a", "B b", "é€😀"]))),
        ("eq", Domain::Enum(odd(&["it's", "\"q\"", "a,b", " lead", "1"]))),
        ("e1", Domain::Enum(odd(&["only"]))),
        ("e255", Domain::Enum(numbered(255))),
        ("e256", Domain::Enum(numbered(256))),
        ("e700", Domain::Enum(numbered(700))),
        ("s1", Domain::Set(odd(&["only"]))),
        ("sq", Domain::Set(odd(&["it's", "\"q\"", "é€😀", "a b"]))),
        ("s8", Domain::Set(numbered(8))),
        ("s9", Domain::Set(numbered(9))),
        ("s17", Domain::Set(numbered(17))),
        ("s33", Domain::Set(numbered(33))),
        ("s63", Domain::Set(numbered(63))),
        ("s64", Domain::Set(numbered(64))),
    ];
    Table::new("members", named(columns))
}

fn bits() -> Table {
    Table::new("bits", (1..=64).map(|bits| (format!("b{bits}"), Domain::Bit(bits))))
}

fn documents() -> Table {
    Table::new(
        "documents",
        named([("j", Domain::Json), ("n", Domain::Int(32)), ("k", Domain::Json)]),
    )
}

/// The table of the benchmarks.
fn orders() -> Table {
    let columns = [
        ("a", Domain::Int(32)),
        ("b", Domain::Text("VARCHAR(64)", TextCharset::Utf8mb4, 64)),
        ("c", Domain::DateTime(3)),
        ("d", Domain::Decimal(12, 2)),
        ("e", Domain::Json),
        ("f", Domain::Double("")),
    ];
    Table::new("orders", named(columns))
}

/// Names that need quoting, in SQL and in JSON, and a key of several columns out of order, one of
/// them by a prefix.
fn names() -> Table {
    let columns = [
        ("with `backtick`", Domain::Int(8)),
        ("with \"quote\" \\ and 'more'", Domain::Text("VARCHAR(100)", TextCharset::Utf8mb4, 100)),
        ("表 é", Domain::Year),
        ("SELECT", Domain::Text("VARCHAR(50)", TextCharset::Latin1, 50)),
    ];
    let mut table = Table::new("t`able \"表\" \\", named(columns));
    table.key = vec!["表 é", "id", "with \"quote\" \\ and 'more'"];
    for column in &mut table.columns {
        if table.key.contains(&&*column.name) {
            column.role = Role::NotNull;
        }
    }
    table
}

/// Nearly as many columns as a table can have, of mixed types.
fn wide() -> Table {
    let kinds = [
        Domain::Int(24),
        Domain::Text("VARCHAR(10)", TextCharset::Latin1, 10),
        Domain::Decimal(5, 2),
        Domain::Bit(3),
        Domain::UnsignedInt(8),
        Domain::Binary("BINARY(4)"),
        Domain::Year,
        Domain::Text("VARCHAR(5)", TextCharset::Utf8mb4, 5),
    ];
    let columns = (0..1000).map(|n| (format!("column_{n}"), kinds[n % kinds.len()].clone()));
    Table::new("wide", columns)
}

/// Columns that the server fills, and some that it hides.
fn derived() -> Table {
    let columns = [
        ("a", Domain::Int(32)),
        ("double a", Domain::Int(64)),
        ("hidden", Domain::Text("VARCHAR(20)", TextCharset::Utf8mb4, 20)),
        ("stored", Domain::Text("VARCHAR(30)", TextCharset::Utf8mb4, 30)),
        ("document", Domain::Json),
        ("b", Domain::Date),
    ];
    let mut table = Table::new("derived", named(columns));
    let roles = [
        ("double a", Role::Generated("(`a` * 2) VIRTUAL")),
        ("hidden", Role::Invisible),
        ("stored", Role::Generated("(CONCAT(`hidden`, '-é')) STORED")),
        ("document", Role::Generated("(JSON_ARRAY(`a`, `hidden`)) VIRTUAL")),
    ];
    for column in &mut table.columns {
        if let Some((_, role)) = roles.iter().find(|(name, _)| column.name == *name) {
            column.role = *role;
        }
    }
    table
}

/// Every kind of type once.
fn each_kind() -> Vec<(String, Domain)> {
    let members = vec!["a".to_owned(), "b".to_owned()];
    let columns = [
        ("i", Domain::Int(64)),
        ("u", Domain::UnsignedInt(24)),
        ("f", Domain::Float("")),
        ("d", Domain::Decimal(20, 3)),
        ("bit", Domain::Bit(64)),
        ("y", Domain::Year),
        ("da", Domain::Date),
        ("ti", Domain::Time(6)),
        ("dt", Domain::DateTime(6)),
        ("ts", Domain::Timestamp(6)),
        ("c", Domain::Text("CHAR(20)", TextCharset::Utf8mb4, 20)),
        ("v", Domain::Text("VARCHAR(20)", TextCharset::Latin1, 20)),
        ("b", Domain::Binary("BINARY(20)")),
        ("e", Domain::Enum(members.clone())),
        ("s", Domain::Set(members)),
        ("j", Domain::Json),
    ];
    named(columns)
}

/// A document of every type of column: what JSON does not have stands in it as MySQL stores it.
fn opaques() -> Table {
    const ALL: &str = "(JSON_ARRAY(i, u, f, d, bit, y, da, ti, dt, ts, c, v, b, e, s, b0, b1, b2, \
         JSON_OBJECT('ts', ts, 'b', b1))) STORED";
    let binaries = ["VARBINARY(300)", "TINYBLOB", "BLOB"].iter().enumerate();
    let mut columns = each_kind();
    columns.extend(binaries.map(|(n, kind)| (format!("b{n}"), Domain::Binary(kind))));
    let mut table = Table::new("opaques", columns);
    let documents = table.columns.iter_mut().filter(|column| column.domain == Domain::Json);
    documents.for_each(|column| column.role = Role::Generated(ALL));
    table
}

fn without_nulls() -> Table {
    let mut table = Table::new("without nulls", each_kind());
    table.columns.iter_mut().for_each(|column| column.role = Role::NotNull);
    table
}

fn without_key() -> Table {
    let mut table = Table::new("without a key", each_kind());
    table.key.clear();
    table
}

/// Every kind of geometry, and texts between them, so that each column must find its own
/// character set.
fn places() -> Table {
    let columns = [
        ("g", Domain::Geometry("GEOMETRY")),
        ("latin", Domain::Text("VARCHAR(20)", TextCharset::Latin1, 20)),
        ("p", Domain::Geometry("POINT")),
        ("l", Domain::Geometry("LINESTRING")),
        ("text", Domain::Text("VARCHAR(20)", TextCharset::Utf8mb4, 20)),
        ("pg", Domain::Geometry("POLYGON")),
        ("mp", Domain::Geometry("MULTIPOINT")),
        ("e", Domain::Enum(vec!["a".to_owned(), "é".to_owned()])),
        ("ml", Domain::Geometry("MULTILINESTRING")),
        ("mpg", Domain::Geometry("MULTIPOLYGON")),
        ("gc", Domain::Geometry("GEOMETRYCOLLECTION")),
        ("b", Domain::Binary("VARBINARY(20)")),
    ];
    Table::new("places", named(columns))
}

fn vectors() -> Table {
    let columns = [
        ("v3", Domain::Vector(3)),
        ("b12", Domain::Binary("VARBINARY(12)")),
        ("v1", Domain::Vector(1)),
        ("v100", Domain::Vector(100)),
        // A text after them has a character set of its own.
        ("latin", Domain::Text("VARCHAR(20)", TextCharset::Latin1, 20)),
        ("text", Domain::Text("TEXT", TextCharset::Utf8mb4, 20)),
    ];
    Table::new("vectors", named(columns))
}

fn named<const N: usize>(columns: [(&str, Domain); N]) -> Vec<(String, Domain)> {
    columns.into_iter().map(|(name, domain)| (name.to_owned(), domain)).collect()
}
