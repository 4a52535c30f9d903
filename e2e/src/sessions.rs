//! A random workload whose sessions log their changes in every way that a server has.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use mysql_async::{Conn, prelude::Queryable};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::task::JoinSet;

use crate::{
    processes::PATIENCE,
    servers::{connect, execute},
};

/// The table that is changed.
pub const TABLE: &str = "doc";

const WRITERS: u64 = 4;

/// Few enough that each row is changed often.
const KEYS: u32 = 60;

/// About how many XA transactions are prepared and wait for another session.
const MAX_PREPARED: usize = 3;

/// How sessions log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Style {
    Plain,
    Compressed,
    NoBlob,
    Minimal,
    /// What did not change is left out of the row after (MariaDB 11.4; before that, `FULL`).
    FullNoDup,
    PartialJson,
    Tagged,
    Xa,
    CompressedXa,
    /// Each transaction in another way.
    Mixed,
}

impl Style {
    /// Those of MariaDB.
    pub const MARIADB: [Self; 8] = [
        Self::Plain,
        Self::Compressed,
        Self::NoBlob,
        Self::Minimal,
        Self::FullNoDup,
        Self::Xa,
        Self::CompressedXa,
        Self::Mixed,
    ];

    /// Those of MySQL.
    pub const ALL: [Self; 9] = [
        Self::Plain,
        Self::Compressed,
        Self::NoBlob,
        Self::Minimal,
        Self::PartialJson,
        Self::Tagged,
        Self::Xa,
        Self::CompressedXa,
        Self::Mixed,
    ];

    /// What a session sets before a transaction.
    fn settings(self, random: &mut SmallRng) -> String {
        let any = |choices: &[&'static str], random: &mut SmallRng| {
            choices[random.random_range(0..choices.len())]
        };
        let mixed = self == Self::Mixed;
        let compression = match self {
            Self::Compressed | Self::CompressedXa => "ON",
            _ if mixed => any(&["ON", "OFF"], random),
            _ => "OFF",
        };
        let image = match self {
            Self::NoBlob => "NOBLOB",
            Self::Minimal => "MINIMAL",
            _ if mixed => any(&["FULL", "NOBLOB", "MINIMAL"], random),
            _ => "FULL",
        };
        let options = match self {
            Self::PartialJson => "PARTIAL_JSON",
            // A difference to a document that is not logged would stop dts.
            _ if mixed && image == "FULL" => any(&["", "PARTIAL_JSON"], random),
            _ => "",
        };
        let gtid = match self {
            Self::Tagged => any(&["AUTOMATIC:blue", "AUTOMATIC:a_2", "AUTOMATIC"], random),
            _ if mixed => any(&["AUTOMATIC:blue", "AUTOMATIC"], random),
            _ => "AUTOMATIC",
        };
        format!(
            "SET SESSION binlog_transaction_compression = {compression}, \
             SESSION binlog_row_image = {image}, SESSION binlog_row_value_options = '{options}', \
             SESSION gtid_next = '{gtid}'"
        )
    }

    /// The same of MariaDB. There compression is the whole server's.
    fn settings_of_mariadb(self, has_nodup: bool, random: &mut SmallRng) -> String {
        let nodup = if has_nodup { "FULL_NODUP" } else { "FULL" };
        let image = match self {
            Self::NoBlob => "NOBLOB",
            Self::Minimal => "MINIMAL",
            Self::FullNoDup => nodup,
            Self::Mixed => ["FULL", "NOBLOB", "MINIMAL", nodup][random.random_range(0..4)],
            _ => "FULL",
        };
        let is_compressed = match self {
            Self::Compressed | Self::CompressedXa => true,
            Self::Mixed => random.random(),
            _ => false,
        };
        format!(
            "SET SESSION binlog_row_image = {image}, GLOBAL log_bin_compress = {is_compressed}, \
             GLOBAL log_bin_compress_min_len = 10"
        )
    }

    fn is_xa(self, random: &mut SmallRng) -> bool {
        match self {
            Self::Xa | Self::CompressedXa => true,
            Self::Mixed => random.random_ratio(1, 3),
            _ => false,
        }
    }
}

/// Makes the schema.
///
/// # Errors
///
/// When the server refuses.
pub async fn create_table(server: &mut Conn, schema: &str) -> Result<()> {
    execute(
        server,
        &[
            &format!("CREATE DATABASE `{schema}`"),
            &format!(
                "CREATE TABLE `{schema}`.{TABLE} (id INT PRIMARY KEY, number INT, body TEXT, \
                 data JSON, amount DECIMAL(10,2), note VARCHAR(60))"
            ),
        ],
    )
    .await
}

/// Runs so many statements in this style, over several sessions at once; no XA transaction is open
/// in the end.
///
/// # Errors
///
/// When the server refuses a statement for a reason that is not the test's doing.
pub async fn run(url: &str, (style, statements): (Style, u64), seed: u64) -> Result<()> {
    let prepared = Arc::new(Mutex::new(Vec::new()));
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let mut session = Session {
            url: url.to_owned(),
            conn: open(url).await?,
            style,
            random: SmallRng::seed_from_u64(seed.wrapping_add(number)),
            // A name is never used twice, whatever becomes of it.
            name: format!("{style:?}-{seed}-{number}"),
            xids: 0,
            prepared: Arc::clone(&prepared),
        };
        writers.spawn(async move { session.run(statements / WRITERS).await });
    }
    while let Some(outcome) = writers.join_next().await {
        outcome??;
    }
    let mut conn = connect(url).await?;
    let left = std::mem::take(&mut *lock(&prepared));
    for xid in left {
        settle(&mut conn, ("COMMIT", &xid)).await?;
    }
    let open: Vec<mysql_async::Row> = conn.query("XA RECOVER").await?;
    ensure!(open.is_empty(), "{} XA transactions are open", open.len());
    Ok(())
}

async fn open(url: &str) -> Result<Conn> {
    let mut conn = connect(url).await?;
    let settings = [
        "SET SESSION innodb_lock_wait_timeout = 1",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    ];
    execute(&mut conn, &settings).await?;
    Ok(conn)
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct Session {
    url: String,
    conn: Conn,
    style: Style,
    random: SmallRng,
    name: String,
    xids: u64,
    /// Prepared by any session, and left to any.
    prepared: Arc<Mutex<Vec<String>>>,
}

impl Session {
    async fn run(&mut self, statements: u64) -> Result<()> {
        let mut made = 0;
        while made < statements {
            self.settle_prepared().await?;
            let settings = match self.conn.server_version() {
                version @ (10.., _, _) => {
                    self.style.settings_of_mariadb(version >= (11, 4, 0), &mut self.random)
                }
                _ => self.style.settings(&mut self.random),
            };
            self.conn.query_drop(settings).await?;
            let count = self.random.random_range(1..=6);
            made += count;
            if self.style.is_xa(&mut self.random) {
                self.xa(count).await?;
            } else {
                self.transaction(count).await?;
            }
        }
        Ok(())
    }

    /// Runs the statements; `false` when one failed by a deadlock, a lock or a key that is taken.
    async fn statements(&mut self, count: u64) -> Result<bool> {
        for _ in 0..count {
            let statement = self.statement();
            match self.conn.query_drop(&statement).await {
                Ok(()) => {}
                Err(mysql_async::Error::Server(error))
                    if matches!(error.code, 1062 | 1205 | 1213 | 1614) =>
                {
                    return Ok(false);
                }
                Err(error) => return Err(anyhow::Error::from(error).context(statement)),
            }
        }
        Ok(true)
    }

    async fn transaction(&mut self, count: u64) -> Result<()> {
        self.conn.query_drop("BEGIN").await?;
        if self.random.random_ratio(1, 4) {
            self.conn.query_drop("SAVEPOINT a").await?;
        }
        let done = self.statements(count).await?;
        let word = if done && !self.random.random_ratio(1, 20) { "COMMIT" } else { "ROLLBACK" };
        Ok(self.conn.query_drop(word).await?)
    }

    async fn xa(&mut self, count: u64) -> Result<()> {
        self.xids += 1;
        let xid = format!("{}-{}", self.name, self.xids);
        self.conn.query_drop(format!("XA START '{xid}'")).await?;
        let done = self.statements(count).await?;
        // After a deadlock the server has rolled back by itself, and XA END says so.
        let ended = self.conn.query_drop(format!("XA END '{xid}'")).await.is_ok();
        if !(done && ended) {
            return Ok(self.conn.query_drop(format!("XA ROLLBACK '{xid}'")).await?);
        }
        if self.random.random_ratio(1, 4) {
            return Ok(self.conn.query_drop(format!("XA COMMIT '{xid}' ONE PHASE")).await?);
        }
        self.conn.query_drop(format!("XA PREPARE '{xid}'")).await?;
        if lock(&self.prepared).len() >= MAX_PREPARED {
            return self.settle(&xid).await;
        }
        // A session of MariaDB holds on to what it has prepared.
        if self.conn.server_version() >= (10, 0, 0) {
            let holder = std::mem::replace(&mut self.conn, open(&self.url).await?);
            let id = holder.id();
            holder.disconnect().await?;
            wait_until_let_go(&mut self.conn, id).await?;
        }
        lock(&self.prepared).push(xid);
        Ok(())
    }

    /// Commits or rolls back one that any session has prepared.
    async fn settle_prepared(&mut self) -> Result<()> {
        if self.random.random_ratio(1, 2) {
            return Ok(());
        }
        let xid = {
            let mut prepared = lock(&self.prepared);
            if prepared.is_empty() {
                return Ok(());
            }
            let at = self.random.random_range(0..prepared.len());
            prepared.remove(at)
        };
        self.settle(&xid).await
    }

    async fn settle(&mut self, xid: &str) -> Result<()> {
        let word = if self.random.random_ratio(1, 3) { "ROLLBACK" } else { "COMMIT" };
        settle(&mut self.conn, (word, xid)).await
    }

    fn statement(&mut self) -> String {
        let random = &mut self.random;
        let (id, n) = (random.random_range(0..KEYS), random.random_range(0..1000));
        let text = "x".repeat(random.random_range(0..300));
        let document = format!(
            r#"{{"a": {n}, "bb": [1, 2, {{"c": "{text}"}}], "n": null, "long name": "v{n}"}}"#
        );
        match random.random_range(0..14) {
            0..4 => format!(
                "REPLACE {TABLE} (id, number, body, data, amount, note) VALUES \
                 ({id}, {n}, '{text}', '{document}', {n}.5, 'note {n}')"
            ),
            4 => format!(
                "INSERT INTO {TABLE} (id, number, body, data, amount, note) VALUES \
                 ({id}, {n}, NULL, '{document}', NULL, NULL) \
                 ON DUPLICATE KEY UPDATE number = {n}, note = 'again'"
            ),
            5 => format!("UPDATE {TABLE} SET number = {n}, note = NULL WHERE id = {id}"),
            6 => format!("UPDATE {TABLE} SET body = '{text}' WHERE id = {id}"),
            7 => format!("UPDATE {TABLE} SET amount = amount + 1 WHERE id = {id}"),
            8 => format!("DELETE FROM {TABLE} WHERE id = {id}"),
            _ => format!("UPDATE {TABLE} SET data = {} WHERE id = {id}", change_of_json(random)),
        }
    }
}

/// Waits until InnoDB holds a prepared transaction without the session that prepared it. MariaDB
/// lets other sessions have the transaction a moment too early: an XA COMMIT is then logged and
/// answered with OK, and changes nothing.
async fn wait_until_let_go(conn: &mut Conn, holder: u32) -> Result<()> {
    let began = Instant::now();
    loop {
        let status: Option<(String, String, String)> =
            conn.query_first("SHOW ENGINE INNODB STATUS").await?;
        let (_, _, status) = status.context("InnoDB has no status")?;
        // What comes before that is about the last deadlock.
        let (_, open) = status.split_once("\nTRANSACTIONS\n").context("InnoDB shows none")?;
        if !open.contains(&format!("thread id {holder},")) {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "session {holder} holds on to what it prepared");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Ends an XA transaction that is prepared.
async fn settle(conn: &mut Conn, (word, xid): (&str, &str)) -> Result<()> {
    const DETACHED_SOON: u16 = 1397;
    const ROLLED_BACK: u16 = 1402;
    loop {
        match conn.query_drop(format!("XA {word} '{xid}'")).await {
            // The session that prepared it has not let go yet.
            Err(mysql_async::Error::Server(error)) if error.code == DETACHED_SOON => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // It changed nothing, so that MariaDB did not keep it without its session.
            Err(mysql_async::Error::Server(error)) if error.code == ROLLED_BACK => return Ok(()),
            outcome => return Ok(outcome?),
        }
    }
}

/// A change that the server can log as a difference.
fn change_of_json(random: &mut SmallRng) -> String {
    let n = random.random_range(0..1000);
    match random.random_range(0..8) {
        0 => format!("JSON_SET(data, '$.a', {n})"),
        1 => format!("JSON_SET(data, '$.a', 'text {n}', '$.m{}', JSON_ARRAY({n}))", n % 5),
        2 => format!("JSON_REPLACE(data, '$.bb[2].c', 'y {n}')"),
        3 => format!("JSON_REMOVE(data, '$.m{}')", n % 5),
        4 => "JSON_REMOVE(data, '$.bb[0]')".to_owned(),
        5 => format!("JSON_SET(data, '$.\"long name\"', '\\\\\"{n}\\\\n')"),
        6 => format!("JSON_SET(data, '$.bb[{}]', {n})", n % 6),
        _ => format!("JSON_REPLACE(data, '$.n', {n}.25)"),
    }
}
