//! The sink `postgres`: a copy in a PostgreSQL equals its source.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::{seed, size},
    running::{Running, Source, Victim},
    servers::Postgres,
    workload::{self, Workload, shuffled},
};
use mysql_async::{Conn, prelude::Queryable as _};
use rand::{SeedableRng as _, rngs::SmallRng};
use tokio_postgres::Client;

use super::{Killed, SCHEMA, Sampler};

/// A table, and its row as one text: at the source, and at the target.
const ROWS: [(&str, &str, &str); 3] = [
    (
        "account",
        "CONCAT_WS('|', id, amount, IFNULL(changed, '-'), IFNULL(note, '-'))",
        "concat_ws('|', id, amount, coalesce(to_char(changed, 'YYYY-MM-DD HH24:MI:SS.MS'), '-'), \
         coalesce(note, '-'))",
    ),
    (
        "setting",
        "CONCAT_WS('|', name, IFNULL(content, '-'), IFNULL(level, '-'))",
        "concat_ws('|', name, coalesce(content, '-'), coalesce(level::text, '-'))",
    ),
    (
        "line",
        "CONCAT_WS('|', owner, number, IFNULL(content, '-'))",
        "concat_ws('|', owner, number, coalesce(content, '-'))",
    ),
];

async fn difference(source: &mut Conn, target: &Client) -> Result<String> {
    for (table, at_source, at_target) in ROWS {
        let select = format!("SELECT {at_source} FROM {SCHEMA}.{table}");
        let mut expected: Vec<String> = source.query(select).await?;
        let rows = target.query(&format!("SELECT {at_target} FROM copy.{table}"), &[]).await?;
        let mut found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        expected.sort_unstable();
        found.sort_unstable();
        ensure!(!expected.is_empty(), "{table} is empty: it proves nothing");
        if expected != found {
            let only = |one: &[String], other: &[String]| {
                let rows = one.iter().filter(|row| other.binary_search(row).is_err());
                rows.take(3).cloned().collect::<Vec<_>>()
            };
            let (missing, extra) = (only(&expected, &found), only(&found, &expected));
            return Ok(format!("{table}: missing {missing:?}, too many {extra:?}"));
        }
    }
    Ok(String::new())
}

async fn becomes_equal(running: &Running, target: &Postgres) -> Result<()> {
    let mut source = running.mysql.connect().await?;
    let target = target.connect().await?;
    let mut last = String::new();
    let equal = wait_until("the copies equal their source", PATIENCE * 2, async || {
        last = match difference(&mut source, &target).await {
            Ok(difference) => difference,
            Err(error) => format!("{error:#}"),
        };
        last.is_empty()
    });
    let equal = equal.await;
    let shown = running.site.ask_worker_text("/api/v1/listeners/copy").await.unwrap_or_default();
    equal.with_context(|| format!("{last}\n{shown}\n{}", running.worker.output()))
}

/// The versions of all rows at this moment.
async fn versions(address: String) -> Result<BTreeMap<String, u64>> {
    let (host, port) = address.split_once(':').context("no port")?;
    let config = format!("host={host} port={port} user=postgres dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let mut versions = BTreeMap::new();
    for (table, key) in [("account", "id::text"), ("setting", "name")] {
        let rows = client.query(&format!("SELECT {key}, _seq FROM copy.{table}"), &[]).await?;
        for row in rows {
            let (key, version): (String, i64) = (row.get(0), row.get(1));
            versions.insert(format!("{table} {key}"), u64::try_from(version)?);
        }
    }
    Ok(versions)
}

async fn copy_survives_kills(source: Source) -> Result<()> {
    let mut conn = source.mysql.connect().await?;
    workload::create_tables(&mut conn, SCHEMA).await?;
    let mut target = Postgres::start(&source.site.path("target")).await?;
    let (seed, total) = (seed(), size(6_000, 100_000));
    let load = Workload::start(&source.mysql.url(), SCHEMA, total, seed);
    load.allow(total / 4);
    wait_until("rows are there", PATIENCE, async || load.made() >= total / 4).await?;
    source.site.configure_dts(&source.mysql.address(), SCHEMA)?;
    source.site.configure_worker(&format!(
        "[listeners.copy]\nsubscribe = {{ {SCHEMA} = [] }}\nstart = \"full-sync\"\nworkers = 3\n\
         batchSize = 200\n[listeners.copy.retry]\nmax = \"1s\"\n\
         [listeners.copy.handler.postgres]\nhosts = [{:?}]\nuser = \"postgres\"\ndatabase = \
         \"postgres\"\ntable = \"copy.{{table}}\"\ncreate = true\nversionColumn = \"_seq\"\n",
        target.address()
    ))?;
    let mut running = source.run()?;
    let address = target.address();
    let sampler = Sampler::start(move || versions(address.clone()));
    let mut random = SmallRng::seed_from_u64(seed);
    let victims = [
        Killed::Program(Victim::Dts),
        Killed::Program(Victim::Listener),
        Killed::Program(Victim::Supervisor),
        Killed::Target,
    ];
    let victims = shuffled(&victims, size(1, 5), &mut random);
    let kills = (&victims[..], Duration::from_secs(2));
    load.finish_during_kills(kills, &mut random, async |victim| match victim {
        Killed::Program(victim) => running.kill(victim).await,
        Killed::Target => target.kill().await,
    })
    .await?;
    becomes_equal(&running, &target).await?;
    sampler.stop().await?;
    target.end().await?;
    running.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_equals_its_source_after_kills_on_the_log() -> Result<()> {
    copy_survives_kills(Source::start("sink-postgres-log").await?).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "as on the log: scripts/test.sh --all"]
async fn a_copy_equals_its_source_after_kills_on_kafka() -> Result<()> {
    copy_survives_kills(Source::start("sink-postgres-kafka").await?.over_kafka("").await?).await
}
