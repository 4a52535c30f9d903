//! The targets: each a server of its own, which is emptied before each run.

use std::{ops::Range, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    programs::Site,
    servers::{Mysql, Postgres, Redis, Search, Searched},
};
use mysql_async::prelude::Queryable;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{job::Job, way::Way};
use crate::{bare::Bare, load::Load, measure::until_ended};

/// A server that runs.
pub(super) enum Target {
    Mysql(Mysql),
    Postgres(Postgres),
    Search(Search),
    Redis(Redis),
}

/// How often a search server is asked for what it has: each time costs it a millisecond.
const ASK_EVERY: Duration = Duration::from_millis(50);

impl Target {
    pub(super) async fn start(job: Job, site: &Site) -> Result<Self> {
        let folder = site.path("target");
        std::fs::create_dir_all(&folder)?;
        Ok(match job {
            Job::Mysql => Self::Mysql(Mysql::start("9.7", &folder).await?),
            Job::Postgres => Self::Postgres(Postgres::start(&folder).await?),
            Job::Search => Self::Search(Search::start("opensearch-2", &folder, &[]).await?),
            Job::RedisSet | Job::RedisDelete => Self::Redis(Redis::start(&folder).await?),
        })
    }

    /// Host and port.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Mysql(mysql) => mysql.address(),
            Self::Postgres(postgres) => postgres.address(),
            Self::Search(search) => search.searched().url().replace("http://", ""),
            Self::Redis(redis) => redis.url().replace("redis://", ""),
        }
    }

    /// Makes it as it is before a run: with a table or an index that is empty, or with the keys
    /// that are to be deleted.
    pub(super) async fn reset(&self, way: Way, fill: Option<(&Site, &str)>) -> Result<()> {
        let version = way.version_column();
        match self {
            Self::Mysql(mysql) => {
                let version = version.map(|name| format!(", {name} BIGINT UNSIGNED"));
                let columns = MYSQL_COLUMNS.to_owned() + &version.unwrap_or_default();
                let table = format!("CREATE TABLE copy.t ({columns})");
                let again = ["DROP DATABASE IF EXISTS copy", "CREATE DATABASE copy", &table];
                mysql.execute(&again).await
            }
            Self::Postgres(postgres) => {
                let version = version.map(|name| format!(", {name} bigint"));
                let columns = POSTGRES_COLUMNS.to_owned() + &version.unwrap_or_default();
                let again = format!(
                    "DROP SCHEMA IF EXISTS copy CASCADE; CREATE SCHEMA copy; \
                     CREATE TABLE copy.t ({columns}); CHECKPOINT"
                );
                Ok(postgres.connect().await?.batch_execute(&again).await?)
            }
            Self::Search(search) => new_index(search.searched()).await,
            Self::Redis(_) => {
                redis_line(&self.address(), "FLUSHALL").await?;
                let Some((site, source)) = fill else { return Ok(()) };
                let command = super::way::bare_command(Bare::RedisSet, source, &self.address())?;
                until_ended(site.run("fill", &command.each_ref().map(|word| &**word))?).await?;
                Ok(())
            }
        }
    }

    /// Whether all is there, as far as that can be asked for all the time.
    pub(super) async fn seems_done(&self, load: Load, way: Way) -> Result<bool> {
        let tail = count_of(&load.last_ids());
        Ok(match self {
            Self::Mysql(mysql) => mysql_number(mysql, &tail).await? == 2 * Load::TAIL,
            Self::Postgres(postgres) => postgres_number(postgres, &tail).await? == 2 * Load::TAIL,
            Self::Search(search) => {
                tokio::time::sleep(ASK_EVERY).await;
                let path = "/t/_stats/indexing";
                let (_, answer) = search.searched().ask("GET", path, "").await?;
                let total = answer.pointer("/_all/primaries/indexing/index_total");
                total.and_then(serde_json::Value::as_u64) == Some(load.rows())
            }
            Self::Redis(_) => redis_number(&self.address(), "DBSIZE").await? == way.keys(load),
        })
    }

    /// Fails when something is missing.
    pub(super) async fn check(&self, load: Load, way: Way) -> Result<()> {
        let all = "SELECT COUNT(*) FROM copy.t";
        let (found, expected) = match self {
            Self::Mysql(mysql) => (mysql_number(mysql, all).await?, load.rows()),
            Self::Postgres(postgres) => (postgres_number(postgres, all).await?, load.rows()),
            Self::Search(search) => (documents(search.searched()).await?, load.rows()),
            Self::Redis(_) => (redis_number(&self.address(), "DBSIZE").await?, way.keys(load)),
        };
        ensure!(found == expected, "the target has {found}, not {expected}");
        Ok(())
    }
}

const MYSQL_COLUMNS: &str = "id BIGINT PRIMARY KEY, a INT, b VARCHAR(64), c DATETIME(3), \
                             d DECIMAL(12,2), e JSON, f DOUBLE";

const POSTGRES_COLUMNS: &str = "id bigint PRIMARY KEY, a integer, b text, c timestamp, \
                                d numeric, e jsonb, f double precision";

fn count_of(ids: &[Range<u64>]) -> String {
    let range = |Range { start, end }: &Range<u64>| format!("id >= {start} AND id < {end}");
    let ranges: Vec<String> = ids.iter().map(range).collect();
    format!("SELECT COUNT(*) FROM copy.t WHERE {}", ranges.join(" OR "))
}

async fn mysql_number(mysql: &Mysql, query: &str) -> Result<u64> {
    let number: Option<u64> = mysql.connect().await?.query_first(query).await?;
    number.context("no answer")
}

async fn postgres_number(postgres: &Postgres, query: &str) -> Result<u64> {
    let row = postgres.connect().await?.query_one(query, &[]).await?;
    Ok(u64::try_from(row.get::<_, i64>(0))?)
}

async fn new_index(server: Searched) -> Result<()> {
    server.ask("DELETE", "/t", "").await?;
    let settings = r#"{"settings":{"number_of_shards":1,"number_of_replicas":0}}"#;
    let (status, answer) = server.ask("PUT", "/t", settings).await?;
    ensure!(status == 200, "{answer}");
    Ok(())
}

async fn documents(server: Searched) -> Result<u64> {
    server.refresh().await?;
    let (_, answer) = server.ask("GET", "/t/_count", "").await?;
    answer["count"].as_u64().with_context(|| answer.to_string())
}

async fn redis_number(address: &str, command: &str) -> Result<u64> {
    let answer = redis_line(address, command).await?;
    let number = answer.trim().strip_prefix(':').with_context(|| answer.clone())?;
    Ok(number.parse()?)
}

/// What Redis answers to a command of one word, in one line.
async fn redis_line(address: &str, command: &str) -> Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    stream.write_all(format!("{command}\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    Ok(answer)
}
