//! Debezium's JDBC sink, from Kafka to MySQL. `bench/jdbc_sink.sh` downloads, tunes and starts it.

use std::{cell::Cell, time::Instant};

use anyhow::{Context, Result, ensure};
use e2e::{
    processes::free_port,
    programs::Site,
    servers::{Mysql, repository},
};
use tokio::process::Command;

use crate::{
    broker::Broker,
    debezium,
    load::Loaded,
    measure::{Cost, until},
};

/// As many as the sink of `event-worker` has workers.
const PARTITIONS: u32 = 4;

/// The user who writes: the driver takes none without a password.
const USER: [&str; 2] =
    ["CREATE USER IF NOT EXISTS dbevent IDENTIFIED BY 'dbevent'", "GRANT ALL ON copy.* TO dbevent"];

/// A topic with all rows, which Debezium has filled.
pub(super) struct Topic {
    broker: Broker,
    emptied: Cell<u32>,
}

impl Topic {
    pub(super) async fn fill(site: &Site, server: &Loaded) -> Result<Self> {
        let broker = Broker::start(site, PARTITIONS).await?;
        debezium::fill(site, server, (&broker, &["--rows"])).await?;
        Ok(Self { broker, emptied: Cell::new(0) })
    }

    /// From the moment that the connector is let go until all rows are in the target. CPU and
    /// memory are those of its whole life.
    pub(super) async fn copy(
        &self,
        (site, target): (&Site, &Mysql),
        done: impl AsyncFnMut() -> Result<bool>,
    ) -> Result<Cost> {
        target.execute(&USER).await?;
        self.emptied.set(self.emptied.get() + 1);
        // Under a new name it begins at the beginning of the topic.
        let name = format!("sink{}", self.emptied.get());
        let (rest, folder) = (free_port()?.to_string(), site.path(&name).display().to_string());
        let (mysql, kafka) = (target.address(), self.broker.address());
        let command = [&script(), "connect", &mysql, &kafka, &rest, &folder, &name];
        let connect = site.run("jdbc-sink", &command)?;
        call(&["wait", &rest, &name]).await?;
        call(&["resume", &rest, &name]).await?;
        let cost = until(Instant::now(), &[&connect], done).await;
        cost.with_context(|| format!("see {}", site.path("jdbc-sink.log").display()))
    }
}

async fn call(arguments: &[&str]) -> Result<()> {
    let output = Command::new(script()).args(arguments).output().await?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "jdbc_sink.sh {arguments:?}: {complaint}");
    Ok(())
}

fn script() -> String {
    repository().join("bench/jdbc_sink.sh").display().to_string()
}
