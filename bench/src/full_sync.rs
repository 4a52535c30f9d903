//! A full sync of a table to a counting handler, over each bus, and `mysqldump` for comparison.

mod table;
mod table_runs;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::{PATIENCE, Process, wait_until},
    programs::Site,
    servers::{Mysql, repository},
};
use serde_json::Value;

use self::table_runs::By;
pub(crate) use self::{
    table::Table,
    table_runs::{TableRuns, write},
};
use crate::{
    broker::Broker,
    counting, dts,
    load::SCHEMA,
    measure::{Cost, until, until_ended},
};

/// The id of the counting listener.
pub(crate) const LISTENER: &str = "count";

/// The bus that the rows go through.
#[derive(Clone, Copy)]
enum ChosenBus<'a> {
    Log,
    /// With a topic prefix of this run.
    Kafka(&'a Broker, &'a str),
}

/// Measures `mysqldump`, the log and Kafka in turns, so that other load of the machine affects all
/// of them.
pub(crate) async fn measure(table: &Table<'_>, runs: usize) -> Result<Vec<TableRuns>> {
    let site = Site::new("bench-broker")?;
    let broker = Broker::start(&site, 1).await?;
    // This run warms the broker, and does not count.
    sync(table, ChosenBus::Kafka(&broker, "warm")).await?;
    let mut costs = By::ALL.map(|by| (by, Vec::new()));
    for run in 1..=runs {
        let prefix = format!("run{run}");
        for (by, costs) in &mut costs {
            let cost = match by {
                By::Mysqldump => mysqldump(table).await,
                By::Log => sync(table, ChosenBus::Log).await,
                By::Kafka => sync(table, ChosenBus::Kafka(&broker, &prefix)).await,
            };
            let cost = cost.with_context(|| by.name())?;
            eprintln!(
                "full sync of {}, {}, run {run}: {:.2} s",
                table.name,
                by.name(),
                cost.seconds
            );
            costs.push(cost);
        }
    }
    drop(broker);
    site.remove()?;
    Ok(costs.into_iter().map(|(by, costs)| TableRuns::new(table, by, costs)).collect())
}

/// Reads the same table with `mysqldump`, and throws it away.
async fn mysqldump(table: &Table<'_>) -> Result<Cost> {
    let site = Site::new("bench-run")?;
    let script = repository().join("scripts/servers.sh").display().to_string();
    let port = format!("--port={}", table.mysql.port());
    let process = site.run(
        "mysqldump",
        &[
            &script,
            "tool",
            "mysqldump",
            "--single-transaction",
            "--set-gtid-purged=OFF",
            "--no-tablespaces",
            "--user=root",
            "--host=127.0.0.1",
            &port,
            "--result-file=/dev/null",
            SCHEMA,
            table.name,
        ],
    )?;
    let cost = until_ended(process).await?;
    site.remove()?;
    Ok(cost)
}

/// From the request until the task is done and the handler has counted all rows. CPU is of all
/// processes, for their whole life. Memory is of `dts` alone.
async fn sync(table: &Table<'_>, bus: ChosenBus<'_>) -> Result<Cost> {
    let mut site = Site::new("bench-run")?;
    if let ChosenBus::Kafka(broker, prefix) = bus {
        site.use_kafka_under(prefix, &broker.address(), "");
    }
    let counted = site.path("counted");
    let listener = counting::listener(LISTENER, &counted)?;
    let (dts, worker) = start(&site, table.mysql, &listener).await?;
    // First one row alone: when it is counted, everything is ready.
    ask(&site, &format!("/?table={}&listenerid={LISTENER}&offset=0&maxOffset=0", table.name))
        .await?;
    wait_until("the first row is counted", PATIENCE, async || {
        counting::counted(&counted).ok() == Some(1)
    })
    .await?;
    let began = Instant::now();
    let task = ask(&site, &format!("/?table={}&listenerid={LISTENER}", table.name)).await?;
    let cost = until(began, &[&dts, &worker], async || {
        Ok(counting::counted(&counted)? > table.rows && is_done(&site, &task).await?)
    })
    .await?;
    ensure!(counting::counted(&counted)? == table.rows + 1, "rows came twice");
    let peak_rss_kib = dts.peak_resident_kib()?;
    drop((dts, worker));
    site.wait_until_empty().await?;
    site.remove()?;
    Ok(Cost { peak_rss_kib, ..cost })
}

/// Starts both programs at the end of the binlog, and waits until they are ready.
pub(crate) async fn start(
    site: &Site,
    mysql: &Mysql,
    listeners: &str,
) -> Result<(Process, Process)> {
    site.configure_dts(&mysql.address(), SCHEMA)?;
    site.amend("dts.toml", "start = \"earliest\"", "start = \"latest\"")?;
    site.configure_worker(listeners)?;
    let dts = dts::start(site).await?;
    let worker = site.start_worker()?;
    wait_until("the listeners are ready", PATIENCE, async || {
        let status = site.ask_worker("/api/v1/listeners").await.unwrap_or_default();
        let listeners = status["listeners"].as_array();
        listeners.is_some_and(|all| !all.is_empty() && all.iter().all(has_place))
    })
    .await?;
    Ok((dts, worker))
}

/// A listener stands by as long as there is no topic.
fn has_place(listener: &Value) -> bool {
    let is_up = listener["state"] == "running" || listener["state"] == "standby";
    let partitions = listener["partitions"].as_array();
    is_up && partitions.is_some_and(|all| all.iter().all(|of| !of["committed"].is_null()))
}

/// Asks for a full sync; gives the id of its task.
pub(crate) async fn ask(site: &Site, path: &str) -> Result<String> {
    let (status, answer) = site.call_worker("GET", path).await?;
    ensure!(status == 202, "{status}: {answer}");
    let id = answer["tasks"][0]["id"].as_str();
    Ok(id.with_context(|| format!("no task in {answer}"))?.to_owned())
}

pub(crate) async fn is_done(site: &Site, task: &str) -> Result<bool> {
    let (_, task) = site.call_worker("GET", &format!("/api/v1/full-syncs/{task}")).await?;
    ensure!(task["state"] != "failed", "{task}");
    Ok(task["state"] == "done")
}
