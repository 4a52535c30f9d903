//! The sinks `redis` and `file`, each with all tables, while everything is killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::{Site, seed, size},
    rebuilt::{check_rows, texts_of},
    running::{Running, Source, Victim},
    servers::Redis,
    workload::{self, TABLES, Workload, shuffled},
};
use rand::{SeedableRng as _, rngs::SmallRng};
use redis::{Client, aio::MultiplexedConnection};

use super::{Change, SCHEMA};

/// A key for a row of any table.
const KEY: &str = "{table}{% for column, value in PK|items %}:{{ value }}{% endfor %}";

#[derive(Clone, Copy, Debug)]
enum Killed {
    Program(Victim),
    Redis,
}

/// Runs two listeners: one with Redis as its target, and one that writes files.
fn configure(site: &Site, (mysql, redis): (&str, &str)) -> Result<()> {
    site.configure_dts(mysql, SCHEMA)?;
    let listener = |id: &str, handler: &str| {
        format!(
            "[listeners.{id}]\nsubscribe = {{ {SCHEMA} = [] }}\nstart = \"full-sync\"\n\
             workers = 3\nbatchSize = 100\nretry = {{ min = \"20ms\", max = \"1s\" }}\n\
             [listeners.{id}.handler.{handler}\n"
        )
    };
    let rows = format!("redis]\nurl = {redis:?}\nset = \"row:{KEY}\"\nhset = \"hash:{KEY}\"");
    let files = format!("file]\ndirectory = {:?}\ncompress = \"zstd\"", site.path("files"));
    let rotate = "rotate = { size = \"20KiB\", time = \"1h\" }";
    site.configure_worker(&format!(
        "{}{}{rotate}\n",
        listener("rows", &rows),
        listener("files", &files)
    ))
}

/// All keys that begin so, with what they hold.
async fn texts(
    connection: &mut MultiplexedConnection,
    pattern: &str,
) -> Result<BTreeMap<String, String>> {
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(connection).await?;
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let values: Vec<Option<String>> = redis::cmd("MGET").arg(&keys).query_async(connection).await?;
    Ok(keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect())
}

/// Reads the versions of all rows again and again; none may go backwards.
async fn watch_versions(url: String) -> Result<()> {
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    loop {
        // While the server is down there is nothing to see.
        if let Ok(mut connection) = Client::open(&*url)?.get_multiplexed_async_connection().await {
            for (key, version) in texts(&mut connection, "*:seq").await.unwrap_or_default() {
                let (version, before) = (version.parse()?, seen.entry(key.clone()).or_default());
                ensure!(version >= *before, "{key}: {version} after {before}");
                *before = version;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the keys are the rows of the tables.
async fn becomes_equal(running: &Running, target: &Redis) -> Result<()> {
    let (mut mysql, mut redis) = (running.mysql.connect().await?, target.connect().await?);
    let mut difference = String::new();
    let equal = wait_until("the keys equal the tables", PATIENCE * 2, async || {
        for table in TABLES {
            let compared = async {
                let rows = texts(&mut redis, &format!("row:{table}:*")).await?;
                ensure!(!rows.is_empty(), "{table} has no rows");
                let mut keys = redis::cmd("KEYS");
                keys.arg(format!("hash:{table}:*"));
                let hashes: Vec<String> = keys.query_async(&mut redis).await?;
                ensure!(hashes.len() == rows.len(), "{} hashes, {} rows", hashes.len(), rows.len());
                let rows: Result<BTreeSet<_>> = rows.values().map(|row| texts_of(row)).collect();
                check_rows(&rows?, &mut mysql, (SCHEMA, table, "TRUE")).await
            };
            if let Err(error) = compared.await {
                difference = format!("{error:#}");
                return false;
            }
        }
        true
    });
    let equal = equal.await;
    equal.with_context(|| format!("{difference}\n{}", running.worker.output()))
}

/// The rows that the lines of all files make, by table. No change may be there twice.
fn rows_of_files(folder: &Path) -> Result<BTreeMap<String, BTreeSet<Vec<String>>>> {
    let (mut ids, mut rows) = (BTreeSet::new(), BTreeMap::<_, (u64, Option<String>)>::new());
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let bytes = std::fs::read(&path)?;
        let is_compressed = path.extension().is_some_and(|ending| ending == "zst");
        let bytes = if is_compressed { zstd::decode_all(&*bytes)? } else { bytes };
        for line in String::from_utf8(bytes)?.lines() {
            let change: Change = serde_json::from_str(line).with_context(|| line.to_owned())?;
            ensure!(ids.insert(change.ev_id), "twice: {line}");
            let row = rows.entry((change.table_name, change.key.get().to_owned())).or_default();
            if change.seq > row.0 {
                let is_there = change.action != "delete";
                *row = (change.seq, is_there.then(|| change.data.get().to_owned()));
            }
        }
    }
    let mut tables = BTreeMap::<String, BTreeSet<_>>::new();
    for ((table, _), (_, row)) in rows {
        if let Some(row) = row {
            tables.entry(table).or_default().insert(texts_of(&row)?);
        }
    }
    Ok(tables)
}

/// Waits until the files have all changes.
async fn files_become_equal(running: &Running) -> Result<()> {
    let (folder, mut mysql) = (running.site.path("files"), running.mysql.connect().await?);
    let mut difference = String::new();
    let equal = wait_until("the files make the tables", PATIENCE, async || {
        for table in TABLES {
            let compared = async {
                let rows = rows_of_files(&folder)?.remove(table).context("no line")?;
                check_rows(&rows, &mut mysql, (SCHEMA, table, "TRUE")).await
            };
            if let Err(error) = compared.await {
                difference = format!("{error:#}");
                return false;
            }
        }
        true
    });
    equal.await.with_context(|| format!("{difference}\n{}", running.worker.output()))
}

async fn survive(source: Source) -> Result<()> {
    let mut target = Redis::start(&source.site.path("redis")).await?;
    let mut conn = source.mysql.connect().await?;
    workload::create_tables(&mut conn, SCHEMA).await?;
    let (seed, total) = (seed(), size(6_000, 100_000));
    let load = Workload::start(&source.mysql.url(), SCHEMA, total, seed);
    load.allow(total / 4);
    wait_until("rows are there", PATIENCE, async || load.made() >= total / 4).await?;
    configure(&source.site, (&source.mysql.address(), &target.url()))?;
    let mut running = source.run()?;
    let watch = tokio::spawn(watch_versions(target.url()));
    let mut random = SmallRng::seed_from_u64(seed);
    let victims = [
        Killed::Program(Victim::Dts),
        Killed::Program(Victim::Listener),
        Killed::Program(Victim::Supervisor),
        Killed::Redis,
    ];
    let victims = shuffled(&victims, size(1, 5), &mut random);
    let kills = (&victims[..], Duration::from_secs(2));
    let killed = load.finish_during_kills(kills, &mut random, async |victim| match victim {
        Killed::Program(victim) => running.kill(victim).await,
        Killed::Redis => {
            target.kill().await?;
            target.restart().await
        }
    });
    killed.await?;
    becomes_equal(&running, &target).await?;
    files_become_equal(&running).await?;
    ensure!(!watch.is_finished(), "{:?}", watch.await);
    watch.abort();
    drop(target);
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_files_equal_the_tables_after_kills_on_the_log() -> Result<()> {
    survive(Source::start("sink-redis-log").await?).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "as on the log: scripts/test.sh --all"]
async fn keys_and_files_equal_the_tables_after_kills_on_kafka() -> Result<()> {
    survive(Source::start("sink-redis-kafka").await?.over_kafka("").await?).await
}
