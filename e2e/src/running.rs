//! What most tests begin with: a server of their own, the configs, and the programs.

pub mod syncs;

use anyhow::{Context, Result, bail, ensure};

use crate::{
    processes::{PATIENCE, Process, send, wait_until},
    programs::{Site, listener_pid},
    recording::Recording,
    servers::{Kafka, Mysql},
};

/// A server, and later the configs with which `dts` reads it; no program runs yet.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Source {
    pub site: Site,
    pub mysql: Mysql,
    pub kafka: Option<Kafka>,
}

/// A server, and the programs that read it.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Running {
    pub site: Site,
    pub mysql: Mysql,
    pub kafka: Option<Kafka>,
    pub dts: Process,
    /// A second `dts` of the same name, where the test starts one.
    pub standby: Option<Process>,
    pub worker: Process,
}

/// What a test kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Victim {
    Dts,
    Standby,
    /// The process of the listener; its supervisor starts another one.
    Listener,
    Supervisor,
    Mysql,
    Kafka,
}

/// Runs the listener `all` until it has handled all that is on the bus, and stops it.
///
/// # Errors
///
/// When it does not get there.
pub async fn run_listener_to_the_end(site: &Site) -> Result<()> {
    let mut worker = site.start_worker()?;
    wait_until("the listener has finished", PATIENCE, async || {
        let shown = site.ask_worker("/api/v1/listeners/all").await.unwrap_or_default();
        shown["lag"]["records"] == 0
    })
    .await?;
    worker.signal("TERM").await?;
    worker.ended().await.map(drop)
}

impl Source {
    /// An empty site with a MySQL 9.7.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn start(test: &str) -> Result<Self> {
        Self::start_on(test, ("9.7", &[])).await
    }

    /// An empty site with a server of a flavor, and with options of `mysqld`.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn start_on(test: &str, (flavor, options): (&str, &[&str])) -> Result<Self> {
        let site = Site::new(test)?;
        let mysql = Mysql::start_with(flavor, &site.path("mysql"), options).await?;
        Ok(Self { site, mysql, kafka: None })
    }

    /// Starts a Kafka and takes it as the bus, with more keys of `[bus]`; before the configs are
    /// written.
    ///
    /// # Errors
    ///
    /// When Kafka does not start.
    pub async fn over_kafka(mut self, more: &str) -> Result<Self> {
        let kafka = Kafka::start(&self.site.path("kafka")).await?;
        self.site.use_kafka(&kafka.address(), more);
        self.kafka = Some(kafka);
        Ok(self)
    }

    /// Runs statements, and writes the configs: `dts` captures a schema, and the only listener
    /// records all that it is given.
    ///
    /// # Errors
    ///
    /// When the server refuses a statement.
    pub async fn capture(self, schema: &str, statements: &[&str]) -> Result<Self> {
        self.execute(statements).await?;
        self.site.configure_dts(&self.mysql.address(), schema)?;
        self.site.record(&[])?;
        Ok(self)
    }

    /// Starts `dts` and `event-worker`.
    ///
    /// # Errors
    ///
    /// When they were not built.
    pub fn run(self) -> Result<Running> {
        let Self { site, mysql, kafka } = self;
        let (dts, worker) = (site.start_dts()?, site.start_worker()?);
        Ok(Running { site, mysql, kafka, dts, standby: None, worker })
    }

    /// As [`Mysql::execute`].
    ///
    /// # Errors
    ///
    /// The first statement that the server refuses.
    pub async fn execute(&self, statements: &[&str]) -> Result<()> {
        self.mysql.execute(statements).await
    }

    /// Runs `dts` until it has published so many records in all, and stops it.
    ///
    /// # Errors
    ///
    /// When it does not publish them, or does not stop cleanly.
    pub async fn run_up_to(&self, records: u64) -> Result<()> {
        let mut dts = self.site.start_dts()?;
        self.site.wait_for_published(records).await?;
        dts.signal("TERM").await?;
        ensure!(dts.ended().await?.success(), "dts did not stop cleanly: {}", dts.output());
        Ok(())
    }

    /// The Kafka that was taken as the bus.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn kafka(&self) -> Result<&Kafka> {
        self.kafka.as_ref().context("the test has no Kafka")
    }

    /// Ends the servers, after which no program may be left, and removes the site, once the test
    /// has passed.
    ///
    /// # Errors
    ///
    /// Names the processes that were left behind.
    pub async fn end(self) -> Result<()> {
        drop((self.mysql, self.kafka));
        self.site.wait_until_empty().await?;
        self.site.remove()
    }

    /// Ends the servers and removes the site, once the test has passed.
    ///
    /// # Errors
    ///
    /// When something cannot be removed.
    pub fn remove(self) -> Result<()> {
        drop((self.mysql, self.kafka));
        self.site.remove()
    }
}

impl Running {
    /// As [`Mysql::execute`].
    ///
    /// # Errors
    ///
    /// The first statement that the server refuses.
    pub async fn execute(&self, statements: &[&str]) -> Result<()> {
        self.mysql.execute(statements).await
    }

    /// Kills a program or a server with -9, and starts it again.
    ///
    /// # Errors
    ///
    /// When the test has no such program or server, or it does not start.
    pub async fn kill(&mut self, victim: Victim) -> Result<()> {
        match (victim, &mut self.standby, &mut self.kafka) {
            (Victim::Dts, ..) => {
                self.dts.kill().await?;
                self.dts = self.site.start_dts()?;
            }
            (Victim::Standby, Some(standby), _) => {
                standby.kill().await?;
                *standby = self.site.start_standby()?;
            }
            (Victim::Listener, ..) => send(listener_pid(&self.worker).await?, "KILL").await?,
            (Victim::Supervisor, ..) => {
                self.worker.kill().await?;
                self.worker = self.site.start_worker()?;
            }
            (Victim::Mysql, ..) => {
                self.mysql.kill().await?;
                self.mysql.restart().await?;
            }
            (Victim::Kafka, _, Some(kafka)) => {
                kafka.kill().await?;
                kafka.restart().await?;
            }
            (absent, ..) => bail!("the test has no {absent:?}"),
        }
        Ok(())
    }

    /// Waits until every change of a schema is handled, and checks ids and order.
    ///
    /// # Errors
    ///
    /// When a change is missing in the end, or a rule is broken.
    pub async fn all_handled(&self, schema: &str) -> Result<Recording> {
        let recorded = self.site.recorded();
        let recording = self.site.wait_for_all(&recorded, &self.mysql, schema).await?;
        recording.check_ids()?;
        recording.check_order()?;
        Ok(recording)
    }

    /// Kills all, after which not even a handler that hangs may be left; and removes the site, once
    /// the test has passed.
    ///
    /// # Errors
    ///
    /// Names the processes that were left behind.
    pub async fn end(self) -> Result<()> {
        let Self { site, mysql, kafka, dts, standby, worker } = self;
        drop((dts, standby, worker));
        Source { site, mysql, kafka }.end().await
    }
}
