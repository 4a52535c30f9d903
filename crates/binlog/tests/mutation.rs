//! Damaged events: real ones of both servers, changed at random. The decoder may refuse them or
//! read something from them. It must not panic, hang, or write more than the bytes can explain.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use binlog::{Decoder, Error, Image, RawEvent, TRANSACTION_PAYLOAD, Unpacker};
use e2e::{
    oracle::{Sample, mariadb_samples, samples},
    programs::{seed, size},
    source,
};
use mysql_async::prelude::Queryable as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::recorded::{self, Event};

/// Raw event types of MariaDB alone, and those of them that are compressed.
const MARIADB: std::ops::RangeInclusive<u8> = 160..=171;
const MARIADB_COMPRESSED: std::ops::RangeInclusive<u8> = 165..=171;
/// No damaged group may take longer; whole ones take microseconds.
const MAX_TIME: Duration = Duration::from_secs(5);
/// The decoder stops unpacking a damaged group at this size.
const MAX_UNPACKED_BYTES: usize = 1 << 24;
/// Larger events would only make the run slower.
const MAX_BODY_BYTES: usize = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn damaged_events_never_panic_hang_or_grow() -> Result<()> {
    let seed = seed();
    let mut groups = Vec::new();
    // The small form records on the newest of each.
    let servers = usize::try_from(size(1, 2))?;
    for url in [e2e::servers::mysql_97_url(), e2e::servers::mysql_80_url()].iter().take(servers) {
        let samples = samples(&mut source::connect(url).await?).await?;
        groups.extend(record(url, seed, samples).await.context("recording")?);
    }
    let of_mariadb = [e2e::servers::mariadb_118_url(), e2e::servers::mariadb_1011_url()];
    for url in of_mariadb.iter().take(servers) {
        groups.extend(record_mariadb(url, seed).await.context("recording")?);
    }
    for name in ["groups", "xa", "tagged", "partial_json", "minimal_image", "statement"] {
        groups.push(recorded::events(name)?);
    }
    groups.push(recorded::packed_events("compressed")?);
    for group in &groups {
        attempt(group).context("a group that is not damaged")?;
    }
    let run = std::env::var("TEST_MUTATION_SECONDS").ok().and_then(|text| text.parse().ok());
    let run = Duration::from_secs(run.unwrap_or_else(|| size(10, 120)));
    let count = tokio::task::spawn_blocking(move || damage_all(&groups, seed, run)).await??;
    println!("{count} damaged groups");
    Ok(())
}

fn damage_all(groups: &[Vec<Event>], seed: u64, run: Duration) -> Result<u64> {
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < run {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(count));
        let mut group = groups[rng.random_range(0..groups.len())].clone();
        for _ in 0..rng.random_range(1..=3) {
            let event = rng.random_range(0..group.len());
            let other = groups[rng.random_range(0..groups.len())].clone();
            damage(&mut group[event], &other[rng.random_range(0..other.len())], &mut rng);
        }
        attempt(&group).with_context(|| format!("TEST_SEED={}", seed.wrapping_add(count)))?;
        count += 1;
    }
    Ok(count)
}

/// The same on a MariaDB, with and without compressed events.
async fn record_mariadb(url: &str, seed: u64) -> Result<Vec<Vec<Event>>> {
    let mut conn = source::connect(url).await?;
    let samples = mariadb_samples(&mut conn).await?;
    let mut groups = record(url, seed, samples.clone()).await?;
    conn.query_drop("SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10")
        .await?;
    let packed = record(url, seed.wrapping_add(1), samples).await;
    conn.query_drop("SET GLOBAL log_bin_compress = OFF").await?;
    groups.extend(packed?);
    let packed = |event: &Event| MARIADB_COMPRESSED.contains(&event.0.kind);
    ensure!(groups.iter().flatten().any(packed), "nothing was compressed");
    Ok(groups)
}

/// The transactions that fill a table of each sample, one group each.
async fn record(url: &str, seed: u64, samples: Vec<Sample>) -> Result<Vec<Vec<Event>>> {
    let schema = format!("mutation {}", std::process::id());
    let mut conn = source::connect(url).await?;
    conn.query_drop(format!("CREATE DATABASE {}", e2e::oracle::quoted(&schema))).await?;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut groups = Vec::new();
    for Sample { table, .. } in samples {
        conn.query_drop(table.create(&schema)).await?;
        let start = source::end(&mut conn).await?;
        conn.query_drop("BEGIN").await?;
        let mut rows = table.edges();
        rows.extend((0..5).map(|_| table.random_row(&mut rng)));
        for (row, id) in rows.into_iter().zip(1..) {
            conn.query_drop(table.insert(&schema, id, &[row])).await?;
        }
        conn.query_drop(table.update(&schema, 1, &mut rng)).await?;
        conn.query_drop("COMMIT").await?;
        let mut group = Vec::new();
        source::read(url, &start, |event| {
            if event.body.len() <= MAX_BODY_BYTES {
                group.push((event.header, event.body.to_vec()));
            }
            Ok(())
        })
        .await?;
        groups.push(group);
    }
    conn.query_drop(format!("DROP DATABASE {}", e2e::oracle::quoted(&schema))).await?;
    Ok(groups)
}

fn damage((header, body): &mut Event, other: &Event, rng: &mut StdRng) {
    if rng.random_bool(0.02) {
        header.kind = [rng.random_range(0..45), rng.random_range(158..174)][rng.random_range(0..2)];
    }
    if body.is_empty() {
        return;
    }
    let at = rng.random_range(0..body.len());
    // Heads and type bytes are at the front: damage there reaches more code.
    let at = if rng.random_bool(0.5) { at.min(rng.random_range(0..120)) } else { at };
    match rng.random_range(0..7) {
        0 => body[at] ^= 1 << rng.random_range(0..8),
        1 => body[at] = [0, 1, 0x7f, 0x80, 0xfa, 0xfc, 0xfd, 0xfe, 0xff][rng.random_range(0..9)],
        2 => body[at] = rng.random(),
        3 => body.truncate(at),
        4 => {
            body.remove(at);
        }
        5 => body.insert(at, rng.random()),
        _ => {
            let from = rng.random_range(0..=other.1.len());
            let length = rng.random_range(0..=other.1.len() - from).min(64);
            let end = (at + length).min(body.len());
            body.splice(at..end, other.1[from..from + length].iter().copied());
        }
    }
}

/// Decodes a group and writes every value.
fn attempt(group: &[Event]) -> Result<()> {
    let started = Instant::now();
    let written = catch_unwind(AssertUnwindSafe(|| decode(group)));
    let written = written.ok().context("the decoder panicked")?;
    let taken = started.elapsed();
    ensure!(taken < MAX_TIME, "it took {taken:?}");
    let bytes: usize = group.iter().map(|(_, body)| body.len()).sum();
    let limit = limit(group, bytes);
    ensure!(written <= limit, "{written} bytes were written of {bytes}");
    Ok(())
}

/// The most that the rows of this many bytes may become. Deflated bytes become at most 1,032 times
/// as many. A BINARY(1023) without bytes has 1,364 digits, and a SET names its members; a table map
/// has each member once.
fn limit(group: &[Event], bytes: usize) -> usize {
    const TABLE_MAP: u8 = 19;
    let maps = group.iter().filter(|(header, _)| header.kind == TABLE_MAP);
    let longest = maps.map(|(_, body)| body.len()).max().unwrap_or_default();
    let deflated = group.iter().any(|(header, _)| MARIADB.contains(&header.kind));
    let is_packed = group.iter().any(|(header, _)| header.kind == TRANSACTION_PAYLOAD);
    let unpacked = if is_packed { 2 * MAX_UNPACKED_BYTES } else { 0 };
    bytes * (1400 + 6 * longest) * if deflated { 1032 } else { 1 } + unpacked
}

fn decode(group: &[Event]) -> usize {
    let mut decoder = Decoder::new(|_, _| true);
    decoder.restart("binlog.000001", 4);
    let mut written = 0;
    for (header, body) in group {
        written += decode_event(&mut decoder, &RawEvent { header: *header, body });
        if header.kind != TRANSACTION_PAYLOAD {
            continue;
        }
        let mut unpacker = Unpacker::default();
        let mut more = unpacker.begin(body).is_ok();
        while more && let Ok(Some((header, body))) = unpacker.next(body) {
            written += decode_event(&mut decoder, &RawEvent { header, body: &body });
            // Damaged events may decode to anything; only the cost counts here.
            more = written < MAX_UNPACKED_BYTES;
        }
    }
    written
}

/// After an error the decoder goes on in its current state, so that the events after a damaged one
/// are read too.
fn decode_event(decoder: &mut Decoder, event: &RawEvent<'_>) -> usize {
    let (mut written, mut out) = (0, Vec::new());
    let _ = decoder.decode(event, &mut |row| {
        for image in [&row.before, &row.after].into_iter().flatten() {
            // A refused value must not hide the others.
            let columns = 0..row.table.columns.len();
            let failed = columns.filter(|column| !write(image, *column, &mut out)).count();
            written += out.len() + failed;
            out.clear();
        }
        Ok::<(), Error>(())
    });
    written
}

fn write(image: &Image<'_>, column: usize, out: &mut Vec<u8>) -> bool {
    image.write_value(column, out).is_ok()
}
