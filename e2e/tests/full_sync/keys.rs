//! Tables of every kind of key come whole, each row once, also when `dts` is killed in each state
//! of a chunk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::{program, size},
    proxy::Proxy,
    recording::{Event, Recording},
};
use mysql_async::prelude::Queryable;
use serde::Deserialize;
use tokio::task::AbortHandle;

use super::{Kind, Running, SCHEMA, start, wait_for_stream};

/// Tables: their key's columns and the key, and what the columns have in the row of number `n`.
const TABLES: [(&str, &str, &str); 16] = [
    ("tiny", "a TINYINT, b SMALLINT UNSIGNED, PRIMARY KEY (a, b)", "n % 251 - 125, n DIV 251"),
    ("negative", "k INT PRIMARY KEY", "n - 10000"),
    ("unsigned_64", "k BIGINT UNSIGNED PRIMARY KEY", "18446744073709551615 - 3 * n"),
    ("decimals", "k DECIMAL(30,10) PRIMARY KEY", "(n - 10000) * 1.0000000001"),
    (
        "accents",
        "k VARCHAR(60) COLLATE utf8mb4_0900_ai_ci PRIMARY KEY",
        "CONCAT(ELT(n % 4 + 1, 'a', 'B', 'é', 'Z'), n)",
    ),
    (
        "padded",
        "k VARCHAR(60) COLLATE utf8mb4_general_ci PRIMARY KEY",
        "CONCAT('K', n, IF(n % 3, '  ', ''))",
    ),
    (
        "no_pad",
        "k VARCHAR(60) COLLATE utf8mb4_0900_as_cs PRIMARY KEY",
        "CONCAT('k', n DIV 2, IF(n % 2, ' ', ''))",
    ),
    ("latin", "k CHAR(20) CHARACTER SET latin1 PRIMARY KEY", "CONCAT(CHAR(0xe4 USING latin1), n)"),
    ("bytes", "k BINARY(8) PRIMARY KEY", "UNHEX(LPAD(HEX(n * 2654435761 % 4294967296), 16, '0'))"),
    ("dates", "k DATE PRIMARY KEY", "'1000-01-01' + INTERVAL n DAY"),
    ("micros", "k DATETIME(6) PRIMARY KEY", "'2000-01-01' + INTERVAL n * 1000003 MICROSECOND"),
    ("stamps", "k TIMESTAMP(3) PRIMARY KEY", "'2000-01-01' + INTERVAL n * 1003000 MICROSECOND"),
    (
        "listed",
        "e ENUM('z', 'a', 'm'), k INT, PRIMARY KEY (e, k)",
        "ELT(n % 3 + 1, 'a', 'm', 'z'), n DIV 3",
    ),
    (
        "mixed",
        "a VARCHAR(9), b INT, c DATETIME, PRIMARY KEY (a, b DESC, c)",
        "n % 7, n % 91, '2020-01-01' + INTERVAL n SECOND",
    ),
    ("re`served", "`select` INT, `a``b` INT, PRIMARY KEY (`select`, `a``b` DESC)", "n % 13, n"),
    ("unique_only", "k VARCHAR(20) NOT NULL UNIQUE", "CONCAT(n)"),
];

/// The states of a chunk, as `dts` logs them.
const STATES: [&str; 5] = [
    "\"chunk asked for\"",
    "\"chunk read\"",
    "\"chunk merged in part\"",
    "\"chunk merged\"",
    "\"chunk durable\"",
];

/// When no chunk has reached a state in this time, the full sync is at its end.
const NO_MORE: Duration = Duration::from_secs(2);

/// So many bytes a second come from MySQL over each connection: the stream is busy with the large
/// rows of others while chunks are read.
const RATE: u64 = 8_000_000;

/// Between two of these rows.
const PAUSE: Duration = Duration::from_millis(700);

/// In how many kills each state must have been met.
const MAX_KILLS: usize = 400;

/// The log of `dts`, as it grows.
struct Told {
    path: PathBuf,
    read: u64,
}

impl Told {
    /// Which states were logged since the last question, in their order.
    fn states(&mut self) -> Result<Vec<usize>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut text = String::new();
        self.read += file.read_to_string(&mut text)? as u64;
        let state = |line: &str| STATES.iter().position(|state| line.contains(state));
        Ok(text.lines().filter_map(state).collect())
    }

    /// Waits until a chunk is in a state, or none will be.
    async fn reached(&mut self, state: usize) -> Result<bool> {
        const LOOK: Duration = Duration::from_micros(500);
        let began = Instant::now();
        while !self.states()?.contains(&state) {
            if began.elapsed() > NO_MORE {
                return Ok(false);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(true)
    }
}

/// Starts `dts` so that it logs each chunk, in JSON.
fn start_telling_dts(running: &mut Running) -> Result<()> {
    let dts = program("dts")?.display().to_string();
    let command = ["env", "LOG=info,dts=debug", "LOG_FORMAT=json", &dts, "run", "--config"];
    running.dts = running.site.run("dts", &[&command[..], &["dts.toml"]].concat())?;
    Ok(())
}

/// Kills `dts` as soon as a chunk is in a state, if one will be. Gives the state that it was in
/// then, which may be a later one.
async fn kill_during_a_chunk(
    running: &mut Running,
    told: &mut Told,
    state: usize,
) -> Result<Option<usize>> {
    if !told.reached(state).await? {
        return Ok(None);
    }
    running.dts.kill().await?;
    let state = told.states()?.last().copied().unwrap_or(state);
    start_telling_dts(running)?;
    wait_for_stream(&running.site).await?;
    Ok(Some(state))
}

#[derive(Deserialize)]
struct Row {
    n: u64,
}

/// What came of one table.
#[derive(Default)]
struct Came {
    /// By number, what the change said of the row.
    changes: BTreeMap<u64, String>,
    /// The same of the full sync, and the ids that it came by.
    synced: BTreeMap<u64, (String, BTreeSet<String>)>,
}

fn came(recording: &Recording) -> Result<BTreeMap<String, Came>> {
    let mut tables: BTreeMap<String, Came> = BTreeMap::new();
    for Event { table_name, data, origin, ev_id, .. } in recording.done() {
        let Ok(Row { n }) = serde_json::from_str(data.get()) else { continue };
        let table = tables.entry(table_name.clone()).or_default();
        let data = data.get().to_owned();
        if origin == "full_sync" {
            let (known, ids) = table.synced.entry(n).or_default();
            ensure!(known.is_empty() || *known == data, "{table_name}: {known}, then {data}");
            *known = data;
            ids.insert(ev_id.clone());
        } else {
            table.changes.insert(n, data);
        }
    }
    Ok(tables)
}

async fn make_tables(running: &Running, rows: u64) -> Result<()> {
    running.execute(&[&format!("CREATE TABLE {SCHEMA}.numbers (n INT PRIMARY KEY)")]).await?;
    let values: Vec<String> = (0..rows).map(|n| format!("({n})")).collect();
    let insert = format!("INSERT INTO {SCHEMA}.numbers VALUES {}", values.join(","));
    running.execute(&[&insert]).await?;
    for (name, columns, values) in TABLES {
        let table = format!("{SCHEMA}.`{}`", name.replace('`', "``"));
        let create = format!("CREATE TABLE {table} (n INT, t VARCHAR(30), {columns})");
        running.execute(&[&create]).await?;
        let fill = format!(
            "INSERT INTO {table} SELECT n, CONCAT('row ', n), {values} FROM {SCHEMA}.numbers"
        );
        running.execute(&[&fill]).await.with_context(|| fill)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_every_key_come_whole_whatever_a_chunk_was_at_when_dts_was_killed() -> Result<()>
{
    let (rows, kills) = (size(3_000, 20_000), usize::try_from(size(2, 6))?);
    let mut running = start("full-sync-keys", (Kind::Log, 1), "").await?;
    make_tables(&running, rows).await?;
    let recorded = running.site.path("search");
    wait_until("all changes came", PATIENCE * 4, async || {
        let Ok(recording) = Recording::read(&recorded) else { return false };
        let Ok(tables) = came(&recording) else { return false };
        let is_whole = |(name, ..): &(&str, &str, &str)| {
            tables.get(*name).is_some_and(|came| came.changes.len() as u64 == rows)
        };
        TABLES.iter().all(is_whole)
    })
    .await?;
    running.dts.kill().await?;
    let proxy = Proxy::start(running.mysql.address()).await?;
    running.site.amend("dts.toml", &running.mysql.address(), &proxy.address())?;
    start_telling_dts(&mut running)?;
    wait_for_stream(&running.site).await?;
    proxy.slow_down(RATE);
    let others = write_large_rows(&running).await?;
    let mut told = Told { path: running.site.path("dts.log"), read: 0 };
    let mut met = [0; STATES.len()];
    for round in 0.. {
        for (table, ..) in TABLES {
            told.states()?;
            let id = sync(&running, table).await?;
            for _ in 0..kills {
                let rarest = (0..STATES.len()).min_by_key(|state| met[*state]).unwrap_or(0);
                if let Some(state) = kill_during_a_chunk(&mut running, &mut told, rarest).await? {
                    met[state] += 1;
                }
            }
            running.done(&id).await?;
        }
        let ids: Vec<_> = TABLES.iter().map(|(table, ..)| *table).collect();
        check(&running, (&ids, round + 1), rows).await?;
        if met.iter().all(|times| *times > 0) {
            break;
        }
        let kills: usize = met.iter().sum();
        ensure!(kills < MAX_KILLS, "{kills} kills, by state {met:?}");
    }
    others.abort();
    println!("kills by state: {:?}", STATES.iter().zip(met).collect::<Vec<_>>());
    running.end().await
}

/// Somebody else writes large rows, one after the other, until it is stopped.
async fn write_large_rows(running: &Running) -> Result<AbortHandle> {
    for statement in [
        "CREATE DATABASE elsewhere",
        "CREATE TABLE elsewhere.large (id INT PRIMARY KEY, t LONGTEXT)",
        "INSERT INTO elsewhere.large VALUES (1, '')",
    ] {
        running.execute(&[statement]).await?;
    }
    let mut server = running.mysql.connect().await?;
    let task = tokio::spawn(async move {
        let update = "UPDATE elsewhere.large SET t = REPEAT(CHAR(97 + RAND() * 25), 500000)";
        while server.query_drop(update).await.is_ok() {
            tokio::time::sleep(PAUSE).await;
        }
    });
    Ok(task.abort_handle())
}

async fn sync(running: &Running, table: &str) -> Result<String> {
    let path = format!("/?table={}&listenerid=search", table.replace('`', "%60"));
    let (status, answer) = running.site.call_worker("GET", &path).await?;
    let id = answer["tasks"][0]["id"].as_str().map(str::to_owned);
    id.with_context(|| format!("{status}: {answer}"))
}

/// Each row of each table came by each of so many full syncs once, and as its change said.
async fn check(running: &Running, (tables, rounds): (&[&str], usize), rows: u64) -> Result<()> {
    let recorded = running.site.path("search");
    let is_whole = |came: &Came| {
        came.synced.len() as u64 == rows && came.synced.values().all(|(_, ids)| ids.len() >= rounds)
    };
    let mut all = BTreeMap::new();
    wait_until("all rows came", PATIENCE * 2, async || {
        all = Recording::read(&recorded).and_then(|all| came(&all)).unwrap_or_default();
        tables.iter().all(|table| all.get(*table).is_some_and(is_whole))
    })
    .await?;
    for (table, Came { changes, synced }) in &all {
        if !tables.contains(&table.as_str()) {
            continue;
        }
        let mut server = running.mysql.connect().await?;
        let count = format!("SELECT COUNT(*) FROM {SCHEMA}.`{}`", table.replace('`', "``"));
        let count: Option<u64> = server.query_first(count).await?;
        ensure!(count == Some(synced.len() as u64), "{table}: {count:?}, {} came", synced.len());
        for (n, (data, ids)) in synced {
            let change = changes.get(n);
            ensure!(change == Some(data), "{table}: row {n} came as {data}, and was {change:?}");
            ensure!(ids.len() == rounds, "{table}: row {n} came {} times: {ids:?}", ids.len());
        }
    }
    Ok(())
}
