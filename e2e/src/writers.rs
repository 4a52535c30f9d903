//! Sessions that change the rows of a table with versions at a rate, and outlive lost connections.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use mysql_async::{Conn, prelude::Queryable};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::task::JoinSet;

/// How many sessions there are. Each changes its own ids, so that it knows their versions.
const SESSIONS: i64 = 8;

/// How long a session waits before it connects again.
const RECONNECT: Duration = Duration::from_millis(200);

/// Makes a table `(id, v, t)` with so many rows, all of version 0.
///
/// # Errors
///
/// When MySQL refuses.
pub async fn create_versioned(server: &mut Conn, table: &str, rows: u64) -> Result<()> {
    const BATCH: u64 = 20_000;
    let create = format!(
        "CREATE TABLE {table} (id BIGINT PRIMARY KEY, v BIGINT NOT NULL, t VARCHAR(60) NOT NULL)"
    );
    server.query_drop(create).await?;
    for first in (0..rows).step_by(usize::try_from(BATCH)?) {
        let ids = first..rows.min(first + BATCH);
        let values: Vec<String> = ids.map(|id| format!("({id}, 0, 'row {id}')")).collect();
        let insert = format!("INSERT INTO {table} VALUES {}", values.join(","));
        server.query_drop(insert).await?;
    }
    Ok(())
}

/// The server that is written to; none while all wait.
#[derive(Clone, Debug)]
struct Target(Arc<Mutex<Option<String>>>);

impl Target {
    fn set(&self, url: Option<&str>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = url.map(str::to_owned);
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sessions at work.
#[derive(Debug)]
pub struct Writers {
    tasks: JoinSet<Result<()>>,
    target: Target,
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
}

impl Writers {
    /// Begins to change a table of so many rows, so often a second.
    pub fn start(url: &str, (table, rows): (&str, u64), rate: u64, seed: u64) -> Self {
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        let target = Target(Arc::new(Mutex::new(Some(url.to_owned()))));
        for number in 0..SESSIONS {
            let session = Session {
                target: target.clone(),
                table: table.to_owned(),
                ids: (0..rows.cast_signed()).filter(|id| id % SESSIONS == number).collect(),
                number,
                version: 0,
                random: SmallRng::seed_from_u64(seed ^ number.cast_unsigned()),
                stop: Arc::clone(&stop),
                made: Arc::clone(&made),
            };
            let rate = rate / SESSIONS.cast_unsigned();
            tasks.spawn(session.run(Duration::from_micros(1_000_000 / rate.max(1))));
        }
        Self { tasks, target, stop, made }
    }

    /// Lets all sessions end the change at hand, and wait.
    pub fn hold(&self) {
        self.target.set(None);
    }

    /// From now on another server is written to.
    pub fn go_to(&self, url: &str) {
        self.target.set(Some(url));
    }

    /// How many changes there were.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Ends them all.
    ///
    /// # Errors
    ///
    /// The error that ended a session, other than a lost connection.
    pub async fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(self.made.load(Ordering::Relaxed))
    }
}

struct Session {
    target: Target,
    table: String,
    ids: Vec<i64>,
    number: i64,
    version: i64,
    random: SmallRng,
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
}

impl Session {
    async fn run(mut self, interval: Duration) -> Result<()> {
        const DUPLICATE_KEY: u16 = 1062;
        let mut ticks = tokio::time::interval(interval);
        let (mut conn, mut connected_to) = (None, None);
        while !self.stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            let target = self.target.get();
            if target != connected_to {
                (conn, connected_to) = (None, target);
            }
            let Some(open) = &mut conn else {
                if let Some(url) = &connected_to {
                    conn = crate::servers::connect(url).await.ok();
                }
                if conn.is_none() {
                    tokio::time::sleep(RECONNECT).await;
                }
                continue;
            };
            let statement = self.next();
            match open.query_drop(statement).await {
                Ok(()) => {
                    self.made.fetch_add(1, Ordering::Relaxed);
                }
                Err(mysql_async::Error::Server(error)) if error.code == DUPLICATE_KEY => {}
                // It may have been carried out or not: versions grow in either case.
                Err(_) => conn = None,
            }
        }
        Ok(())
    }

    fn next(&mut self) -> String {
        let Self { table, number, ids, random, version, .. } = self;
        *version += 1;
        let text = format!("{number} {version} {}", "x".repeat(random.random_range(0..30)));
        let at = random.random_range(0..ids.len().max(1));
        let fresh = random.random_range(0..1_000_000_000) * SESSIONS + *number;
        let id = ids.get(at).copied().unwrap_or(fresh);
        match random.random_range(0..10) {
            0 | 1 => {
                ids.push(fresh);
                format!(
                    "INSERT INTO {table} VALUES ({fresh}, {version}, '{text}') \
                     ON DUPLICATE KEY UPDATE v = VALUES(v), t = VALUES(t)"
                )
            }
            2 if ids.len() > 10 => {
                ids.swap_remove(at);
                format!("DELETE FROM {table} WHERE id = {id}")
            }
            3 => {
                if let Some(known) = ids.get_mut(at) {
                    *known = fresh;
                }
                format!("UPDATE {table} SET id = {fresh}, v = {version} WHERE id = {id}")
            }
            _ => format!("UPDATE {table} SET v = {version}, t = '{text}' WHERE id = {id}"),
        }
    }
}
