//! Every character set reads as the server reads it: every byte, pair of bytes, and all longer
//! sequences that could be a character.

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use binlog::Charset;
use e2e::{
    charsets::{Pattern, ServerCharset, charsets, patterns, quick_patterns, read_all},
    programs::{seed, size},
    servers::connect,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

#[tokio::test]
async fn every_character_set_reads_as_mysql_97_reads_it() -> Result<()> {
    compare_all(&e2e::servers::mysql_97_url()).await
}

#[tokio::test]
async fn every_character_set_reads_as_mysql_80_reads_it() -> Result<()> {
    compare_all(&e2e::servers::mysql_80_url()).await
}

async fn compare_all(url: &str) -> Result<()> {
    let mut conn = connect(url).await?;
    for charset in charsets(&mut conn).await? {
        check_collations(&charset)?;
        let mut count = 0;
        for pattern in asked(&charset.name) {
            let readings = read_all(&mut conn, &charset.name, &pattern).await?;
            count += readings.len();
            for (bytes, text) in readings {
                check(&charset.name, &bytes, text.as_deref())?;
            }
        }
        ensure!(count >= 256, "only {count} sequences of {}", charset.name);
    }
    Ok(())
}

/// All patterns in the full size.
fn asked(charset: &str) -> Vec<Pattern> {
    if size(0, 1) == 1 { patterns(charset) } else { quick_patterns(charset) }
}

fn check_collations(charset: &ServerCharset) -> Result<()> {
    let named = Charset::named(&charset.name).with_context(|| charset.name.clone())?;
    for id in &charset.collations {
        let found = Charset::of_collation(*id);
        ensure!(found == Some(named), "collation {id} of {} is {found:?}", charset.name);
    }
    Ok(())
}

fn check(charset: &str, bytes: &[u8], text: Option<&str>) -> Result<()> {
    let mut out = Vec::new();
    Charset::named(charset).context("unknown")?.write(&mut out, bytes);
    let found: serde_json::Value = serde_json::from_slice(&out)?;
    let right = match text {
        Some(text) => found.as_str() == Some(text),
        None => found.get("base64").is_some(),
    };
    ensure!(right, "{charset} {bytes:02x?}: the server reads {text:?}, we {found}");
    Ok(())
}

/// Bytes that no server accepts may be in an old table, or in a damaged event.
#[test]
fn any_bytes_in_any_character_set_are_text_or_come_whole_in_base64() -> Result<()> {
    const RUNS: u64 = 1_000_000;
    let seed = seed();
    let charsets: Vec<_> = (0..=u16::MAX).filter_map(Charset::of_collation).collect();
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut bytes, mut out) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let charset = charsets[rng.random_range(0..charsets.len())];
        let lowest = [0, 0x30, 0x81][rng.random_range(0..3)];
        bytes.clear();
        bytes.extend((0..rng.random_range(0..12)).map(|_| rng.random_range(lowest..=0xff_u8)));
        out.clear();
        charset.write(&mut out, &bytes);
        let found: serde_json::Value = serde_json::from_slice(&out)?;
        let whole = format!("{{\"base64\":\"{}\"}}", STANDARD.encode(&bytes));
        let is_right = found.is_string() || out == whole.as_bytes();
        ensure!(is_right, "{charset:?} {bytes:02x?}: {found}, TEST_SEED={seed}");
    }
    Ok(())
}

/// The tests above can fail.
#[test]
fn a_wrong_character_or_a_lost_one_is_found() {
    assert!(check("gbk", b"\xd6\xd0", Some("中")).is_ok());
    assert!(check("gbk", b"\xd6\xd0", Some("国")).is_err());
    assert!(check("gbk", b"\xd6\xd0", None).is_err());
    assert!(check("gbk", b"\xa2\xa0", None).is_ok());
    assert!(check("gbk", b"\xa2\xa0", Some("?")).is_err());
}
