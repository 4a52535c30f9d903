//! Seeded mixed changes, written by several connections at once.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mysql_async::{Conn, prelude::Queryable};
use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use tokio::task::JoinSet;

use crate::{
    rebuilt::Rebuilt,
    servers::{connect, execute},
};

/// The tables that the workload changes.
pub const TABLES: [&str; 3] = ["account", "setting", "line"];

/// Few enough keys that each is changed often: that is where order shows.
const KEYS: u32 = 400;

/// All of them so many times, in an order of chance.
pub fn shuffled<V: Copy>(all: &[V], times: u64, random: &mut SmallRng) -> Vec<V> {
    let mut victims: Vec<V> = (0..times).flat_map(|_| all.iter().copied()).collect();
    victims.shuffle(random);
    victims
}

/// Compares the rebuilt tables with the server's; none may be empty, which would prove nothing.
///
/// # Errors
///
/// Shows some of the rows that only one side has.
pub async fn check_tables(rebuilt: &Rebuilt, server: &mut Conn, schema: &str) -> Result<()> {
    for table in TABLES {
        let rows = rebuilt.check_table(server, schema, table).await?;
        ensure!(rows > 0, "{table} is empty: it proves nothing");
    }
    Ok(())
}

/// Makes the schema of the workload.
///
/// # Errors
///
/// When the server refuses.
pub async fn create_tables(server: &mut Conn, schema: &str) -> Result<()> {
    execute(
        server,
        &[
            &format!("DROP DATABASE IF EXISTS `{schema}`"),
            &format!("CREATE DATABASE `{schema}` CHARACTER SET utf8mb4"),
            &format!("USE `{schema}`"),
            "CREATE TABLE account (id BIGINT PRIMARY KEY, amount DECIMAL(12,2) NOT NULL, \
             changed DATETIME(3), note VARCHAR(80))",
            "CREATE TABLE setting (name VARCHAR(40) PRIMARY KEY, content TEXT, \
             level TINYINT UNSIGNED)",
            "CREATE TABLE line (owner INT, number INT UNSIGNED, content VARCHAR(60), \
             PRIMARY KEY (owner, number))",
        ],
    )
    .await
}

/// Writers that change rows until they have made as many changes as they are allowed.
#[derive(Debug)]
pub struct Workload {
    progress: Arc<Progress>,
    writers: JoinSet<Result<()>>,
}

#[derive(Debug)]
struct Progress {
    made: AtomicU64,
    allowed: AtomicU64,
    total: u64,
    stopped: AtomicBool,
}

impl Workload {
    /// Starts writers that make `total` changes in all, as far as they are allowed. They connect
    /// again for as long as it takes when the server goes away.
    pub fn start(url: &str, schema: &str, total: u64, seed: u64) -> Self {
        const WRITERS: u64 = 4;
        let (made, allowed, stopped) = Default::default();
        let progress = Arc::new(Progress { made, allowed, total, stopped });
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let random = SmallRng::seed_from_u64(seed.wrapping_add(number));
            let url = format!("{url}/{schema}");
            writers.spawn(write(url, random, Arc::clone(&progress)));
        }
        Self { progress, writers }
    }

    /// Lets the writers make so many more changes.
    pub fn allow(&self, more: u64) {
        self.progress.allowed.fetch_add(more, Ordering::Relaxed);
    }

    /// How many changes are committed, as far as the writers know.
    pub fn made(&self) -> u64 {
        self.progress.made.load(Ordering::Relaxed)
    }

    /// Lets the writers make all that is left, and waits for them.
    ///
    /// # Errors
    ///
    /// When the server refuses a statement for a reason that is not the test's doing.
    pub async fn finish(self) -> Result<u64> {
        self.allow(self.progress.total);
        self.ended().await
    }

    /// Lets the writers make all their changes, and kills each of the victims in turn meanwhile:
    /// after a share of the changes was allowed, at a moment within `pause`.
    ///
    /// # Errors
    ///
    /// As [`Workload::finish`], and when a kill fails.
    pub async fn finish_during_kills<V: Copy + Debug>(
        self,
        (victims, pause): (&[V], Duration),
        random: &mut SmallRng,
        mut kill: impl AsyncFnMut(V) -> Result<()>,
    ) -> Result<u64> {
        let share = self.progress.total / victims.len().max(1) as u64;
        for victim in victims {
            self.allow(share);
            tokio::time::sleep(pause.mul_f64(random.random())).await;
            kill(*victim).await.with_context(|| format!("{victim:?}"))?;
        }
        self.finish().await
    }

    /// Lets the writers end the transactions that they are in, and waits for them.
    ///
    /// # Errors
    ///
    /// As [`Workload::finish`].
    pub async fn stop(self) -> Result<u64> {
        self.progress.stopped.store(true, Ordering::Relaxed);
        self.ended().await
    }

    async fn ended(mut self) -> Result<u64> {
        while let Some(outcome) = self.writers.join_next().await {
            outcome??;
        }
        Ok(self.made())
    }
}

impl Progress {
    fn is_complete(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.made.load(Ordering::Relaxed) >= self.total
    }

    fn must_wait(&self) -> bool {
        self.made.load(Ordering::Relaxed) >= self.allowed.load(Ordering::Relaxed)
    }
}

async fn write(url: String, mut random: SmallRng, progress: Arc<Progress>) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(20);
    let mut connection = None;
    while !progress.is_complete() {
        if progress.must_wait() {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let Some(server) = &mut connection else {
            connection = connect(&url).await.ok();
            if connection.is_none() {
                tokio::time::sleep(PAUSE).await;
            }
            continue;
        };
        match transaction(server, &mut random).await {
            Ok(rows) => {
                progress.made.fetch_add(rows, Ordering::Relaxed);
            }
            // A deadlock or a duplicate key: the server is there, and the next one may work.
            Err(mysql_async::Error::Server(_)) => server.query_drop("ROLLBACK").await?,
            Err(_) => connection = None,
        }
    }
    Ok(())
}

/// One transaction; gives the rows that it changed, none if it was rolled back on purpose.
async fn transaction(server: &mut Conn, random: &mut SmallRng) -> mysql_async::Result<u64> {
    let mut rows = 0;
    server.query_drop("BEGIN").await?;
    for _ in 0..random.random_range(1..=8) {
        server.query_drop(statement(random)).await?;
        rows += server.affected_rows();
    }
    if random.random_ratio(1, 20) {
        server.query_drop("ROLLBACK").await?;
        return Ok(0);
    }
    server.query_drop("COMMIT").await?;
    Ok(rows)
}

fn statement(random: &mut SmallRng) -> String {
    match random.random_range(0..3) {
        0 => change_account(random),
        1 => change_setting(random),
        _ => change_lines(random),
    }
}

fn change_account(random: &mut SmallRng) -> String {
    let (id, other) = (random.random_range(0..KEYS), random.random_range(0..KEYS));
    let amount = f64::from(random.random_range(-900_000..900_000)) / 100.0;
    match random.random_range(0..10) {
        0..4 => format!("REPLACE account VALUES ({id}, {amount}, NOW(3), 'it''s \\\\ \u{1F980}')"),
        4..7 => {
            let (from, to) = (id.min(other), id.min(other) + 10);
            format!(
                "UPDATE account SET amount = {amount}, note = NULL WHERE id BETWEEN {from} AND {to}"
            )
        }
        7 => format!("DELETE FROM account WHERE id = {id}"),
        // Moves a row to another key, if that is free.
        _ => format!("UPDATE IGNORE account SET id = {other}, changed = NULL WHERE id = {id}"),
    }
}

fn change_setting(random: &mut SmallRng) -> String {
    let name = format!("key-{:03}", random.random_range(0..KEYS));
    let level = random.random_range(0..=255);
    match random.random_range(0..4) {
        0 => format!("DELETE FROM setting WHERE name = '{name}'"),
        1 => format!("UPDATE setting SET level = {level} WHERE name = '{name}'"),
        _ => format!(
            "INSERT INTO setting VALUES ('{name}', REPEAT('{level} ', {level}), {level}) \
             ON DUPLICATE KEY UPDATE content = VALUES(content), level = VALUES(level)"
        ),
    }
}

fn change_lines(random: &mut SmallRng) -> String {
    let (owner, number) = (random.random_range(0..40), random.random_range(0..20));
    match random.random_range(0..4) {
        0 => format!("DELETE FROM line WHERE owner = {owner} AND number > {number}"),
        1 => format!("UPDATE line SET content = UUID() WHERE owner = {owner}"),
        _ => format!(
            "INSERT IGNORE INTO line VALUES ({owner}, {number}, 'a'), \
             ({owner}, {number} + 1, 'b'), ({owner}, {number} + 2, NULL)"
        ),
    }
}
