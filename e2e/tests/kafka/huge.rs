//! One huge transaction of MySQL, with `dts` killed in the middle of it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    mysqlbinlog,
    processes::{PATIENCE, Process, wait_until},
    programs::size,
    running::Source,
    servers::{Kafka, Mysql, execute},
    topics::{Topics, read_records},
};
use mysql_async::prelude::Queryable;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use serde_json::Value;
use tokio::task::JoinHandle;

const SCHEMA: &str = "huge";
const BIG: &str = "e2e.huge.big";
const OTHER: &str = "e2e.huge.other";

/// What a row of `big` takes in the binlog, about.
const ROW_BYTES: u64 = 1040;
const KILLS: u64 = 3;
const MAX_RESIDENT_KIB: u64 = 64 << 10;
/// The brokers end the transaction of a killed `dts` when the next one fences it, or after 10 s.
const MAX_LAG_BEFORE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(100);
/// MySQL makes a transaction of gigabytes in minutes.
const LONG: Duration = Duration::from_mins(20);

/// A source, and a `dts` that has published one row of it.
struct Huge {
    source: Source,
    dts: Process,
}

impl Huge {
    async fn start() -> Result<Self> {
        let tables = [
            "CREATE DATABASE huge",
            "CREATE TABLE huge.big (id INT PRIMARY KEY, text VARCHAR(1100) CHARSET ascii)",
            "CREATE TABLE huge.other (id INT PRIMARY KEY AUTO_INCREMENT, a INT)",
            "INSERT INTO huge.other (a) VALUES (0)",
        ];
        let source = Source::start("kafka-huge").await?.over_kafka("").await?;
        let source = source.capture(SCHEMA, &tables).await?;
        let dts = source.site.start_dts()?;
        source.site.wait_for_exactly(1).await?;
        Ok(Self { source, dts })
    }

    /// Kills `dts` when more than `durable` records of the transaction are, and starts it again;
    /// gives how many there were, or `None` where all of them were published before that was seen.
    async fn kill_beyond(&mut self, durable: u64, rows: u64) -> Result<Option<u64>> {
        let (mut seen, mut is_over) = (0, false);
        wait_until("a part of the transaction is durable", LONG, async || {
            let status = self.source.site.status().await;
            let count = |at: &str| status.pointer(at).and_then(Value::as_u64).unwrap_or(0);
            seen = count("/position/skip");
            is_over = count("/accounting/published") > rows;
            seen > durable || is_over
        })
        .await?;
        if is_over {
            return Ok(None);
        }
        self.check_memory(&format!("{seen} records durable, killed"))?;
        self.dts.kill().await?;
        self.dts = self.source.site.start_dts()?;
        Ok(Some(seen))
    }

    fn check_memory(&self, when: &str) -> Result<()> {
        let peak = self.dts.peak_resident_kib()?;
        println!("{when}: peak RSS of dts {:.1} MiB", peak as f64 / 1024.0);
        ensure!(peak < MAX_RESIDENT_KIB, "{when}: {peak} KiB");
        Ok(())
    }

    async fn count(&self, table: &str) -> Result<u64> {
        let query = format!("SELECT COUNT(*) FROM huge.{table}");
        let count: Option<u64> = self.source.mysql.connect().await?.query_first(query).await?;
        count.context("no count")
    }
}

/// Makes all rows of `big` in one transaction: text that packs badly, so that bytes are bytes.
fn insert_all(mysql: &Mysql, rows: u64) -> JoinHandle<Result<()>> {
    let url = mysql.url();
    let hashes: Vec<String> = (0..8).map(|part| format!("SHA2(n * 8 + {part}, 512)")).collect();
    let insert = format!(
        "INSERT INTO huge.big (id, text) WITH RECURSIVE numbers (n) AS \
         (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {rows}) \
         SELECT n, CONCAT({}) FROM numbers",
        hashes.join(", ")
    );
    tokio::spawn(async move {
        let mut conn = e2e::servers::connect(&url).await?;
        let depth = format!("SET SESSION cte_max_recursion_depth = {}", rows + 1);
        execute(&mut conn, &[&depth, &insert]).await
    })
}

/// Inserts into `other` again and again until `stop` is set.
fn tick(mysql: &Mysql, stop: &Arc<AtomicBool>) -> JoinHandle<Result<()>> {
    let (url, stop) = (mysql.url(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut conn = e2e::servers::connect(&url).await?;
        while !stop.load(Ordering::Relaxed) {
            execute(&mut conn, &["INSERT INTO huge.other (a) VALUES (1)"]).await?;
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    })
}

/// When rows of `other` were committed, in ms since 1970, and how long after that a reader at
/// `read_committed` had them.
type Lags = BTreeMap<u64, (u64, Duration)>;

/// Reads `other` as it comes, until `rows` of them, once that is known.
fn watch(kafka: &Kafka, rows: Arc<std::sync::OnceLock<u64>>) -> JoinHandle<Result<Lags>> {
    let address = kafka.address();
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", address)
            .set("group.id", "watch")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "50")
            .create()?;
        let mut partitions = TopicPartitionList::new();
        let metadata = consumer.fetch_metadata(Some(OTHER), PATIENCE)?;
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            partitions.add_partition_offset(OTHER, partition.id(), Offset::Beginning)?;
        }
        consumer.assign(&partitions)?;
        let (mut lags, mut heard) = (Lags::new(), Instant::now());
        while rows.get().is_none_or(|rows| (lags.len() as u64) < *rows) {
            ensure!(heard.elapsed() < LONG, "{} rows of {OTHER}, and no more", lags.len());
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let event: Value = serde_json::from_slice(message.payload().unwrap_or_default())?;
            let id = event.pointer("/PK/id").and_then(Value::as_u64).context("no id")?;
            let committed = event["Ts"].as_u64().context("no time")?;
            let lag = now.saturating_sub(Duration::from_millis(committed));
            ensure!(lags.insert(id, (committed, lag)).is_none(), "{OTHER}: {id} is there twice");
            heard = Instant::now();
        }
        Ok(lags)
    })
}

/// What is found of the huge transaction.
struct Found {
    transaction: String,
    committed: u64,
}

/// Each row is there once, all from one transaction: holds only a bit for each.
fn check_big(address: &str, rows: u64) -> Result<Found> {
    let mut places = vec![0_u64; rows.div_ceil(64) as usize];
    let mut keys = places.clone();
    let mut found: Option<Found> = None;
    let mut count = 0;
    read_records(address, BIG, |record| {
        let head = std::str::from_utf8(record.value())?;
        let id = between(head, r#""EvId":""#, "\"")?;
        let (transaction, row) = id.split_once('#').context("no row in the id")?;
        let committed = between(head, r#""Ts":"#, ",")?.parse()?;
        let found =
            found.get_or_insert_with(|| Found { transaction: transaction.to_owned(), committed });
        ensure!(found.transaction == transaction, "{id} is not of {}", found.transaction);
        mark(&mut places, row.parse()?).with_context(|| format!("{id} is there twice"))?;
        let key = between(head, r#""PK":{"id":"#, "}")?;
        mark(&mut keys, key.parse()?).with_context(|| format!("row {key} is there twice"))?;
        count += 1;
        Ok(())
    })?;
    ensure!(count == rows, "{count} records of {rows} rows");
    found.context("nothing is there")
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Result<&'a str> {
    let after = text.split_once(start).with_context(|| format!("no {start} in {text}"))?.1;
    Ok(after.split(end).next().unwrap_or(after))
}

fn mark(bits: &mut [u64], place: usize) -> Result<()> {
    let word = bits.get_mut(place / 64).context("beyond the last row")?;
    let bit = 1 << (place % 64);
    ensure!(*word & bit == 0, "a second time");
    *word |= bit;
    Ok(())
}

/// The middle and the longest.
fn spread(lags: &mut [Duration]) -> (Duration, Duration) {
    lags.sort_unstable();
    let middle = lags.get(lags.len() / 2).copied().unwrap_or_default();
    (middle, lags.last().copied().unwrap_or_default())
}

fn check_lags(lags: Lags, committed: u64) -> Result<()> {
    let (before, after): (Vec<_>, Vec<_>) =
        lags.into_values().skip(1).partition(|(at, _)| *at <= committed);
    let only = |of: Vec<(u64, Duration)>| of.into_iter().map(|(_, lag)| lag).collect::<Vec<_>>();
    let (mut before, mut after) = (only(before), only(after));
    let (count_before, count_after) = (before.len(), after.len());
    ensure!(count_before > 0 && count_after > 0, "{count_before} before, {count_after} after");
    let ((middle, longest), (middle_after, longest_after)) =
        (spread(&mut before), spread(&mut after));
    println!(
        "{count_before} rows of another table before it: lag p50 {middle:.1?}, max {longest:.1?}"
    );
    println!(
        "{count_after} rows of another table after it: lag p50 {middle_after:.1?}, max \
         {longest_after:.1?}"
    );
    ensure!(longest < MAX_LAG_BEFORE, "what was committed before it came {longest:.1?} late");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_transaction_is_there_exactly_once_though_dts_is_killed_in_the_middle() -> Result<()>
{
    let bytes = size(200 << 20, 3 << 30);
    let rows = bytes / ROW_BYTES;
    let mut huge = Huge::start().await?;
    let (stop, other_rows) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let watched = watch(huge.source.kafka()?, Arc::clone(&other_rows));
    let ticks = tick(&huge.source.mysql, &stop);
    let began = Instant::now();
    let made = insert_all(&huge.source.mysql, rows);
    let (mut durable, mut kills) = (0, 0);
    for kill in 1..=KILLS {
        let beyond = durable.max(rows * kill / (KILLS + 2));
        let Some(seen) = huge.kill_beyond(beyond, rows).await? else { break };
        (durable, kills) = (seen, kill);
    }
    ensure!(kills > 0, "it was over before dts could be killed in its middle");
    made.await??;
    stop.store(true, Ordering::Relaxed);
    ticks.await??;
    let expected = rows + huge.count("other").await?;
    wait_until("all is published", LONG, async || {
        let status = huge.source.site.status().await;
        status.pointer("/accounting/published").and_then(Value::as_u64) == Some(expected)
    })
    .await?;
    println!("{rows} rows, {} MiB, made and published in {:.1?}", bytes >> 20, began.elapsed());
    huge.check_memory("at the end")?;
    let _ = other_rows.set(expected - rows);
    let lags = watched.await??;
    let address = huge.source.kafka()?.address();
    let found = tokio::task::spawn_blocking(move || check_big(&address, rows)).await??;
    check_lags(lags, found.committed)?;
    if bytes < 1 << 30 {
        let ids = mysqlbinlog::event_ids(&huge.source.mysql, SCHEMA).await?;
        let address = huge.source.kafka()?.address();
        Topics::read_aside(address, "e2e.huge.").await?.check_once(&ids)?;
    }
    let Huge { source, dts } = huge;
    drop(dts);
    source.end().await
}
