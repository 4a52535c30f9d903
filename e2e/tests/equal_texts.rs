//! Texts that are equal to a server have one order key, whatever the collation.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use change_event::order_key;
use e2e::servers::{connect, mariadb_118_url, mysql_97_url};
use mysql_async::{Conn, prelude::Queryable as _};

/// Those in daily use: the defaults of each server, and those that are recommended for a language.
const OF_MYSQL: [&str; 7] = [
    "utf8mb4_0900_ai_ci",
    "utf8mb4_0900_as_ci",
    "utf8mb4_0900_as_cs",
    "utf8mb4_ja_0900_as_cs",
    "utf8mb4_general_ci",
    "utf8mb4_unicode_ci",
    "utf8mb4_unicode_520_ci",
];
const OF_MARIADB: [&str; 6] = [
    "utf8mb4_uca1400_ai_ci",
    "utf8mb4_uca1400_as_ci",
    "utf8mb4_uca1400_nopad_ai_ci",
    "utf8mb4_general_ci",
    "utf8mb4_unicode_ci",
    "utf8mb4_unicode_520_ci",
];

fn key(c: char) -> Vec<u8> {
    let text = serde_json::Value::from(format!("k{c}x")).to_string();
    order_key(format!("{{\"c\":{text}}}").as_bytes()).into_owned()
}

/// Latin, Greek, Cyrillic, Hebrew, Arabic, Georgian, kana, digits of all scripts, the wide forms.
fn characters() -> Vec<char> {
    let ranges = [0x1..0x300, 0x370..0x530, 0x5d0..0x5eb, 0x620..0x64b, 0x660..0x670, 0x6f0..0x6fa];
    let more = [0x966..0x970, 0xe50..0xe5a, 0x10a0..0x1100, 0x1e00..0x2000, 0x3041..0x3100];
    let wide = [0xff01..0xffa0, 0x1f600..0x1f650];
    ranges.into_iter().chain(more).chain(wide).flatten().filter_map(char::from_u32).collect()
}

async fn fill(conn: &mut Conn, characters: &[char]) -> Result<()> {
    conn.query_drop(
        "CREATE TEMPORARY TABLE mysql.chars (c VARCHAR(4) CHARACTER SET utf8mb4 \
         COLLATE utf8mb4_bin NOT NULL)",
    )
    .await?;
    for some in characters.chunks(2_000) {
        let values: Vec<String> =
            some.iter().map(|c| format!("(_utf8mb4 x'{}')", hex(&c.to_string()))).collect();
        conn.query_drop(format!("INSERT INTO mysql.chars VALUES {}", values.join(","))).await?;
    }
    Ok(())
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Pairs of characters that are equal to the server, and not to us.
async fn split(conn: &mut Conn, collation: &str) -> Result<Vec<(char, char)>> {
    let weights: Vec<(String, Vec<u8>)> = conn
        .query(format!(
            "SELECT c, WEIGHT_STRING(CONCAT('k', c, 'x') COLLATE {collation}) FROM mysql.chars"
        ))
        .await?;
    let mut first: HashMap<Vec<u8>, char> = HashMap::new();
    let mut split = Vec::new();
    for (text, weight) in weights {
        let Some(c) = text.chars().next() else { continue };
        let known = *first.entry(weight).or_insert(c);
        if key(known) != key(c) {
            split.push((known, c));
        }
    }
    Ok(split)
}

async fn check(url: &str, collations: &[&str]) -> Result<()> {
    let mut conn = connect(url).await?;
    fill(&mut conn, &characters()).await?;
    for collation in collations {
        let split = split(&mut conn, collation).await?;
        ensure!(split.is_empty(), "{collation}: equal there, and not to us: {split:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_mysql_takes_for_equal_are_ordered_together() -> Result<()> {
    check(&mysql_97_url(), &OF_MYSQL).await
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_mariadb_takes_for_equal_are_ordered_together() -> Result<()> {
    check(&mariadb_118_url(), &OF_MARIADB).await
}
