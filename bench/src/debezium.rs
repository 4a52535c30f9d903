//! Debezium on the same binlog, for comparison. `bench/debezium.sh` downloads, tunes and starts it.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::free_port,
    programs::Site,
    servers::{Mysql, repository},
};
use mysql_async::prelude::Queryable;
use tokio::process::Command;

use crate::{
    broker::Broker,
    load::Loaded,
    measure::{Cost, until},
};

const TOPIC: &str = "debezium.bench.t";

/// Into a topic of one partition; as [`fill`].
pub(crate) async fn catch_up(site: &Site, server: &Loaded) -> Result<Cost> {
    let broker = Broker::start(site, 1).await?;
    fill(site, server, (&broker, &[])).await
}

/// From its first record on the topic to the last, with options of the script. The seconds do not
/// include its start; CPU and memory are of its whole life.
pub(crate) async fn fill(
    site: &Site,
    server: &Loaded,
    (broker, options): (&Broker, &[&str]),
) -> Result<Cost> {
    let (script, rest) = (script(), free_port()?.to_string());
    let folder = site.path("connect").display().to_string();
    let (mysql, kafka) = (server.mysql.address(), broker.address());
    let command = [&script, "connect", &mysql, &kafka, &rest, &folder];
    let connect = site.run("debezium", &[&command, options].concat())?;
    let (file, gtids) = beginning(&server.mysql).await?;
    call(&["place", &rest, &file, &gtids]).await?;
    call(&["resume", &rest]).await?;
    let mut topic = broker.topic(TOPIC, server.load.rows());
    let mut taken = None;
    let cost = until(Instant::now(), &[&connect], async || {
        taken = topic.filled().await?;
        Ok(taken.is_some())
    })
    .await
    .with_context(|| format!("see {}", site.path("debezium.log").display()))?;
    Ok(Cost { seconds: taken.context("the topic was not filled")?.as_secs_f64(), ..cost })
}

/// The first file of the binlog, and the place before its first row: the schema is there by then.
async fn beginning(mysql: &Mysql) -> Result<(String, String)> {
    let mut server = mysql.connect().await?;
    let files: Vec<mysql_async::Row> = server.query("SHOW BINARY LOGS").await?;
    let file = files.first().and_then(|row| row.get(0)).context("no binlog file")?;
    let uuid: Option<String> = server.query_first("SELECT @@server_uuid").await?;
    Ok((file, format!("{}:1", uuid.context("no server uuid")?)))
}

async fn call(arguments: &[&str]) -> Result<()> {
    let output = Command::new(script()).args(arguments).output().await?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "debezium.sh {arguments:?}: {complaint}");
    Ok(())
}

fn script() -> String {
    repository().join("bench/debezium.sh").display().to_string()
}
