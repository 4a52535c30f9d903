//! A whole table to one listener, while the live stream goes on.

mod answers;
mod failover;
mod filters;
mod initial;
mod isolation;
mod keys;
mod kills;
mod listeners;
mod loss;
mod tables;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::{
    picture::Picture,
    processes::{PATIENCE, Process, wait_until},
    programs::{Site, recording_listener},
    servers::{Kafka, Mysql},
    writers::create_versioned,
};
use mysql_async::prelude::Queryable;
use serde_json::Value;

const SCHEMA: &str = "synced";

/// The table with versions.
const TABLE: &str = "synced.item";

/// How the bus and MySQL are set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Log,
    Kafka,
    LogWithoutGtids,
    /// Nor with the right to read `performance_schema.log_status`.
    LogWithLocks,
    /// Nor with any right that a full sync could do with instead.
    LogWithoutRight,
    LogOfMariadb,
}

/// Programs and servers around one table.
struct Running {
    site: Site,
    mysql: Mysql,
    kafka: Option<Kafka>,
    dts: Process,
    worker: Process,
    url: String,
}

impl Running {
    /// A table with rows that no listener has seen; `dts` and listeners begin after them. `more`
    /// is what `[fullSync]` has.
    async fn start(test: &str, (kind, rows): (Kind, u64), more: &str) -> Result<Self> {
        Self::start_with(test, (kind, rows), more, &["search"]).await
    }

    async fn start_with(
        test: &str,
        (kind, rows): (Kind, u64),
        more: &str,
        listeners: &[&str],
    ) -> Result<Self> {
        let mut site = Site::new(test)?;
        let mysql = start_source(&site, kind).await?;
        fill(&mysql, rows).await?;
        let kafka = match kind {
            Kind::Kafka => {
                let kafka = Kafka::start(&site.path("kafka")).await?;
                site.use_kafka(&kafka.address(), "");
                Some(kafka)
            }
            _ => None,
        };
        site.configure_dts(&mysql.address(), SCHEMA)?;
        Self::begin(site, (mysql, kafka), more, listeners).await
    }

    /// Starts the programs in a site whose `dts.toml` is written, and where they begin with what
    /// comes next.
    async fn begin(
        site: Site,
        (mysql, kafka): (Mysql, Option<Kafka>),
        more: &str,
        listeners: &[&str],
    ) -> Result<Self> {
        let amended = format!("start = \"latest\"\n[fullSync]\n{more}\n[source]");
        site.amend("dts.toml", "start = \"earliest\"\n[source]", &amended)?;
        let listeners: Result<Vec<String>> = listeners
            .iter()
            .map(|id| recording_listener(id, &site.path(id), &[]))
            .map(|toml| Ok(toml?.replace("\"earliest\"", "\"latest\"")))
            .collect();
        site.configure_worker(&listeners?.concat())?;
        let dts = site.start_dts()?;
        wait_for_stream(&site).await?;
        let worker = site.start_worker()?;
        wait_for_listeners(&site).await?;
        let url = mysql.url();
        Ok(Self { site, mysql, kafka, dts, worker, url })
    }

    /// Asks for a full sync, as one does by curl, until it is answered; gives the task's id. A bus
    /// on a busy machine may need more than the five seconds that a call has, and the request may
    /// be carried out nevertheless.
    async fn sync(&self, listener: &str, more: &str) -> Result<String> {
        let path = format!("/?table=item&listenerid={listener}{more}");
        let mut answered = (0, Value::Null);
        wait_until("the full sync is answered", PATIENCE, async || {
            answered = self.site.call_worker("GET", &path).await.unwrap_or_default();
            !(answered.0 == 503 && answered.1["error"]["code"] == "no_answer")
        })
        .await?;
        let (status, answer) = answered;
        // An earlier call was carried out.
        let known = (status == 409).then(|| answer["error"]["task"].as_str()).flatten();
        let id = answer["tasks"][0]["id"].as_str().or(known);
        Ok(id.with_context(|| format!("{status}: no task in {answer}"))?.to_owned())
    }

    async fn query(&self, statement: &str) -> Result<()> {
        let mut server = self.mysql.connect().await?;
        server.query_drop(statement).await.with_context(|| statement.to_owned())
    }

    async fn task(&self, id: &str) -> Result<Value> {
        Ok(self.site.call_worker("GET", &format!("/api/v1/full-syncs/{id}")).await?.1)
    }

    /// Waits until a full sync has sent some rows, and not all.
    async fn amid(&self, id: &str) -> Result<()> {
        wait_until("the full sync is under way", PATIENCE, async || {
            let task = self.task(id).await.unwrap_or_default();
            task["rows"].as_u64().unwrap_or_default() > 1000 && task["state"] == "running"
        })
        .await
    }

    /// Waits until a task is in a state that it stays in.
    async fn ended(&self, id: &str) -> Result<Value> {
        let mut task = Value::Null;
        let outcome = wait_until("the full sync ends", PATIENCE * 20, async || {
            task = self.task(id).await.unwrap_or_default();
            ["done", "failed", "cancelled"].contains(&task["state"].as_str().unwrap_or_default())
        })
        .await;
        outcome.with_context(|| format!("{task}"))?;
        Ok(task)
    }

    async fn done(&self, id: &str) -> Result<Value> {
        let task = self.ended(id).await?;
        ensure!(task["state"] == "done", "{task}");
        Ok(task)
    }

    /// Waits until a listener's picture is the table, while nobody changes it.
    async fn complete(&self, listener: &str) -> Result<Picture> {
        let mut server = self.mysql.connect().await?;
        let recorded = self.site.path(listener);
        let mut last = String::new();
        for _ in 0..60 {
            let picture = Picture::read(&recorded, "item")?;
            match picture.check(&mut server, TABLE).await {
                Ok(_) => return Ok(picture),
                Err(error) => last = format!("{error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        bail!("{listener} does not come to know the table: {last}")
    }

    async fn stop(self) -> Result<()> {
        let Self { site, mysql, kafka, dts, worker, .. } = self;
        drop((mysql, kafka, dts, worker));
        site.wait_until_empty().await?;
        site.remove()
    }
}

/// Makes the table with versions.
async fn fill(server: &Mysql, rows: u64) -> Result<()> {
    let mut server = server.connect().await?;
    server.query_drop(format!("CREATE DATABASE {SCHEMA}")).await?;
    create_versioned(&mut server, TABLE, rows).await
}

async fn start_source(site: &Site, kind: Kind) -> Result<Mysql> {
    let folder = site.path("mysql");
    Ok(match kind {
        Kind::Log | Kind::Kafka => Mysql::start("9.7", &folder).await?,
        Kind::LogWithoutGtids | Kind::LogWithLocks => {
            let options = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
            let mysql = Mysql::start_with("9.7", &folder, &options).await?;
            let right = if kind == Kind::LogWithLocks { "LOCK TABLES" } else { "BACKUP_ADMIN" };
            let grant = format!("GRANT {right} ON *.* TO 'dts'@'%'");
            mysql.connect().await?.query_drop(grant).await?;
            mysql
        }
        Kind::LogWithoutRight => {
            let options = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
            Mysql::start_with("9.7", &folder, &options).await?
        }
        Kind::LogOfMariadb => Mysql::start("mariadb-11.8", &folder).await?,
    })
}

async fn wait_for_stream(site: &Site) -> Result<()> {
    wait_until("dts streams", PATIENCE, async || {
        let status = site.status().await;
        status["state"] == "streaming"
    })
    .await
}

/// Waits until each listener has a place in the bus.
async fn wait_for_listeners(site: &Site) -> Result<()> {
    let mut last = Value::Null;
    let outcome = wait_until("all listeners are ready", PATIENCE, async || {
        last = site.ask_worker("/api/v1/listeners").await.unwrap_or_default();
        let has_place = |listener: &Value| {
            let partitions = listener["partitions"].as_array();
            // A member that has nothing to do yet, since there is no topic, stands by.
            (listener["state"] == "running" || listener["state"] == "standby")
                && partitions.is_some_and(|all| all.iter().all(|of| !of["committed"].is_null()))
        };
        last["listeners"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(has_place))
    })
    .await;
    outcome.with_context(|| last.to_string())
}
