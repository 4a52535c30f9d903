//! JSON documents: edge cases, random ones, and whether two texts are the same document.

use std::collections::VecDeque;

use rand::{RngExt as _, rngs::StdRng};
use serde_json::value::RawValue;

use super::{domain::hex_text, pieces};

/// Whether two texts are the same document: the same members in the same order, the same strings,
/// and numbers that are written alike or are the same `f64` with a point or an exponent.
pub fn same_json(left: &str, right: &str) -> bool {
    let (left, right) = (left.trim(), right.trim());
    match (left.as_bytes().first(), right.as_bytes().first()) {
        (Some(b'['), Some(b'[')) => {
            let (Some(left), Some(right)) = (elements(left), elements(right)) else { return false };
            left.len() == right.len()
                && left.iter().zip(&right).all(|(l, r)| same_json(l.get(), r.get()))
        }
        (Some(b'{'), Some(b'{')) => {
            let (Some(left), Some(right)) = (members(left), members(right)) else { return false };
            left.len() == right.len()
                && left.iter().zip(&right).all(|((lk, lv), (rk, rv))| lk == rk && same_json(lv, rv))
        }
        (Some(b'"'), Some(b'"')) => {
            let text = |json| serde_json::from_str::<String>(json).ok();
            text(left).is_some() && text(left) == text(right)
        }
        _ => left == right || same_double(left, right),
    }
}

fn same_double(left: &str, right: &str) -> bool {
    let double = |text: &str| {
        let has_mark = text.contains(['.', 'e', 'E']);
        text.parse::<f64>().ok().filter(|_| has_mark).map(f64::to_bits)
    };
    double(left).is_some() && double(left) == double(right)
}

fn elements(json: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(json).ok()
}

fn members(json: &str) -> Option<VecDeque<(String, &str)>> {
    let columns = change_event::Columns::read(json).ok()?;
    Some(columns.iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Documents as text: every scalar and its limits, empty and nested ones.
const DOCUMENTS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-1",
    "32767",
    "32768",
    "-32768",
    "-32769",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "1.5",
    "1e300",
    "-0.0",
    "1e-7",
    "5e-324",
    "123456789012345678901234567890",
    "\"\"",
    "\"a\\\"b\\\\c\\n\\u0001\"",
    "\"\\u2028 é 😀\"",
    "[]",
    "{}",
    "[[]]",
    "[{}]",
    "{\"\": {\"\": []}}",
    "{\"\": 1, \"a\": null}",
    "[null, true, false, 1, -1, 40000, -40000, 3000000000, 1.25, \"x\", [], {}]",
    "{\"b\": 1, \"a\": 2, \"aa\": 3, \"ä\": 4, \"\\\"\": 5, \"\\u0000\": 6}",
];

/// SQL expressions: every opaque, and the shapes that change the format: deep, and past 64 KiB.
const BUILT: &[&str] = &[
    "CAST(CAST(0.50 AS DECIMAL(10,2)) AS JSON)",
    "CAST(CAST(-0.000001 AS DECIMAL(20,6)) AS JSON)",
    "CAST(CAST(CONCAT('-', REPEAT('9', 35), '.', REPEAT('9', 30)) AS DECIMAL(65,30)) AS JSON)",
    "CAST(CAST(7 AS DECIMAL(65,0)) AS JSON)",
    "CAST(CAST(0 AS DECIMAL(5,5)) AS JSON)",
    "CAST(DATE'2024-02-29' AS JSON)",
    "CAST(TIMESTAMP'9999-12-31 23:59:59.999999' AS JSON)",
    "CAST(CAST('2024-02-29 01:02:03.4' AS DATETIME(1)) AS JSON)",
    "JSON_ARRAY(TIME'-838:59:59', TIME'-13:00:35.5', TIME'00:00:00', \
         TIME'-00:00:00.000001', TIME'838:59:59')",
    "JSON_ARRAY(DATE'0001-01-01', TIMESTAMP'1000-01-01 00:00:00')",
    "CAST(X'0102FF' AS JSON)",
    "CAST(_binary'' AS JSON)",
    "CAST(b'1010' AS JSON)",
    "CAST(CAST(2024 AS YEAR) AS JSON)",
    "JSON_ARRAY(CAST(REPEAT('x', 300) AS BINARY(300)), X'')",
    "CAST(ST_GeomFromText('POINT(1 2)') AS JSON)",
    "JSON_OBJECT('k', REPEAT('v', 127), REPEAT('k', 300), REPEAT('v', 128))",
    "JSON_QUOTE(REPEAT('€', 30000))",
    "JSON_ARRAY(REPEAT('a', 65535), 1, 70000, -70000, REPEAT('b', 65536))",
    "JSON_OBJECT('a', REPEAT('x', 70000), 'n', 3000000000, 'i', -5, 'l', 123456, \
         'e', JSON_OBJECT(), 'z', JSON_ARRAY(1))",
    "CAST(CONCAT(REPEAT('[', 99), '1', REPEAT(']', 99)) AS JSON)",
    "CAST(CONCAT(REPEAT('{\"a\":', 99), '1', REPEAT('}', 99)) AS JSON)",
    "CAST(CONCAT('[', REPEAT('1,', 40000), '2]') AS JSON)",
    "CAST(CONCAT('[', REPEAT('\"ab\",', 12000), '\"\"]') AS JSON)",
    "(WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 9000) \
         SELECT JSON_OBJECTAGG(CONCAT('key', i), i) FROM n)",
];

/// The documents at which implementations break, as SQL expressions.
pub(super) fn edges() -> Vec<String> {
    let casts = DOCUMENTS.iter().map(|text| format!("CAST({} AS JSON)", hex_text(text)));
    casts.chain(BUILT.iter().map(|&expression| expression.to_owned())).collect()
}

/// A random document, as an SQL expression.
pub(super) fn random(rng: &mut StdRng) -> String {
    if rng.random_bool(0.2) {
        let opaques = [
            format!(
                "CAST({}.{:03} AS DECIMAL(30,3))",
                rng.random::<i32>(),
                rng.random_range(0..1000)
            ),
            format!("TIME'{}'", pieces::time(rng)),
            format!("DATE'{}'", pieces::date(rng)),
            format!(
                "TIMESTAMP'{} {:02}:00:59.{:06}'",
                pieces::date(rng),
                rng.random_range(0..24),
                rng.random_range(0..1_000_000)
            ),
            format!("X'{:08x}'", rng.random::<u32>()),
        ];
        return format!(
            "JSON_OBJECT('n', {}, 'v', JSON_ARRAY({}))",
            rng.random::<i64>(),
            opaques.join(",")
        );
    }
    format!("CAST({} AS JSON)", hex_text(&text(rng, 4)))
}

fn text(rng: &mut StdRng, depth: u32) -> String {
    let string = |rng: &mut StdRng| {
        let length = rng.random_range(0..20);
        serde_json::Value::from(pieces::text(rng, length)).to_string()
    };
    match rng.random_range(0..if depth == 0 { 6 } else { 8 }) {
        0 => ["null", "true", "false"][rng.random_range(0..3)].to_owned(),
        1 => rng.random_range(-70_000..70_000_i64).to_string(),
        2 => rng.random::<i64>().to_string(),
        3 => rng.random::<u64>().to_string(),
        4 => {
            // MySQL reads such long digits itself, and not always to the nearest double; with 15
            // there is no doubt.
            format!(
                "{:.14e}",
                f64::from(rng.random::<i32>()) * 10_f64.powi(rng.random_range(-40..40))
            )
        }
        5 => string(rng),
        6 => {
            let count = rng.random_range(0..6);
            let items: Vec<String> = (0..count).map(|_| text(rng, depth - 1)).collect();
            format!("[{}]", items.join(","))
        }
        _ => {
            let count = rng.random_range(0..6);
            let member = |rng: &mut StdRng| format!("{}:{}", string(rng), text(rng, depth - 1));
            let items: Vec<String> = (0..count).map(|_| member(rng)).collect();
            format!("{{{}}}", items.join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_the_same_whatever_their_spaces_and_never_with_other_values() {
        assert!(same_json(r#"{"a":[1,2.50,"\u00e9"]}"#, r#"{"a": [1, 2.50, "é"]}"#));
        assert!(same_json("1e300", "1.0e300"));
        for (left, right) in [
            ("1", "1.0"),
            ("[1]", "[1,2]"),
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#),
            ("\"a\"", "\"b\""),
            ("18446744073709551615", "18446744073709551614"),
            ("null", "false"),
        ] {
            assert!(!same_json(left, right), "{left} {right}");
        }
    }
}
