//! The tables that cover every type and option.

use super::{Domain, Table, TextCharset};

/// A table, and how many random rows it is worth of every thousand.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The table.
    pub table: Table,
    /// Its part of a thousand rows.
    pub weight: usize,
}

/// All tables.
pub fn samples() -> Vec<Sample> {
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
    ];
    tables.into_iter().map(|(table, weight)| Sample { table, weight }).collect()
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
        column.in_key = table.key.contains(&&*column.name);
    }
    table
}

/// More columns than a byte can count, of mixed types.
fn wide() -> Table {
    let kinds = [
        Domain::Int(24),
        Domain::Text("VARCHAR(10)", TextCharset::Latin1, 10),
        Domain::Decimal(5, 2),
        Domain::Bit(3),
        Domain::UnsignedInt(8),
        Domain::Binary("BINARY(4)"),
        Domain::Year,
        Domain::Text("VARCHAR(10)", TextCharset::Utf8mb4, 10),
    ];
    let columns = (0..400).map(|n| (format!("column_{n}"), kinds[n % kinds.len()].clone()));
    Table::new("wide", columns)
}

fn named<const N: usize>(columns: [(&str, Domain); N]) -> Vec<(String, Domain)> {
    columns.into_iter().map(|(name, domain)| (name.to_owned(), domain)).collect()
}
