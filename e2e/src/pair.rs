//! Two servers, the second a replica of the first, and the programs that read from them.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    mysqlbinlog,
    processes::{PATIENCE, Process, wait_until},
    programs::{REFUSED, Site},
    rebuilt::Rebuilt,
    recording::Recording,
    replication::{follow, start_server, wait_for},
    servers::Mysql,
    workload::{self, Workload},
};

/// The schema with the tables of [`workload`].
pub const SCHEMA: &str = "shop";

/// What is added to `[source]` to go on without what was lost.
pub const ACCEPT: &str = "onLostTransactions = \"accept\"\n";

/// Two servers with the programs.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Pair {
    pub site: Site,
    pub first: Mysql,
    pub second: Mysql,
    pub dts: Process,
    pub worker: Process,
}

impl Pair {
    /// Two servers of a flavor, the workload's tables, and `dts` with both servers as its hosts;
    /// `more` is added to `[source]`.
    ///
    /// # Errors
    ///
    /// When a server refuses, or a program was not built.
    pub async fn start(test: &str, flavor: &str, more: &str) -> Result<Self> {
        let site = Site::new(test)?;
        let first = start_server(&site, flavor, "first").await?;
        let second = start_server(&site, flavor, "second").await?;
        follow(&second, &first, "").await?;
        workload::create_tables(&mut first.connect().await?, SCHEMA).await?;
        site.configure_hosts(&[&first.address(), &second.address()], SCHEMA, more)?;
        site.record(&[])?;
        let (dts, worker) = (site.start_dts()?, site.start_worker()?);
        Ok(Self { site, first, second, dts, worker })
    }

    /// Waits until the second server has everything that the first has.
    ///
    /// # Errors
    ///
    /// When it has not in time.
    pub async fn wait_for_replica(&self) -> Result<()> {
        wait_for(&self.second, &self.first).await
    }

    /// What `dts` says of itself; nothing while it does not answer.
    pub async fn status(&self) -> Value {
        self.site.status().await
    }

    /// Waits until everything that the second server has was handled, and gives what was handled
    /// and is not there: its events.
    ///
    /// # Errors
    ///
    /// When something is missing in the end, or what was handled breaks a promise.
    pub async fn wait_for_second(&self) -> Result<(Recording, Vec<String>)> {
        let expected = mysqlbinlog::event_ids(&self.second, SCHEMA).await?;
        let mut recording = Recording::default();
        wait_until("every change is handled", PATIENCE * 4, async || {
            recording = self.site.recording();
            handled(&recording).is_superset(&expected)
        })
        .await?;
        recording.check_ids()?;
        recording.check_order()?;
        let beyond = handled(&recording).difference(&expected).cloned().collect();
        Ok((recording, beyond))
    }

    /// The tables rebuilt from the events are those of the second server.
    ///
    /// # Errors
    ///
    /// Names the first difference.
    pub async fn check_tables(&self, recording: &Recording) -> Result<()> {
        let rebuilt = Rebuilt::from_recording(recording)?;
        workload::check_tables(&rebuilt, &mut self.second.connect().await?, SCHEMA).await
    }

    /// `dts` ends because two transactions that it has read are not on the second server: it names
    /// them, their tables, and what to set. Then it is started with that setting, and more is
    /// written. Gives the events that are not on the second server.
    ///
    /// # Errors
    ///
    /// When `dts` does otherwise.
    pub async fn accept_two_lost(&mut self, named: &str, seed: u64) -> Result<Vec<String>> {
        let status = self.dts.ended().await?;
        let output = self.dts.output();
        ensure!(status.code() == Some(REFUSED), "{status}: {output}");
        for part in [
            format!("does not have 2 transactions that we have read: {named}"),
            "They changed shop.account, shop.setting;".to_owned(),
            "source.onLostTransactions = \"accept\"".to_owned(),
        ] {
            ensure!(output.contains(&part), "{part:?} is not in\n{output}");
        }
        let hosts = [self.first.address(), self.second.address()];
        self.site.configure_hosts(&[&hosts[0], &hosts[1]], SCHEMA, ACCEPT)?;
        self.dts = self.site.start_dts()?;
        Workload::start(&self.second.url(), SCHEMA, 500, seed).finish().await?;
        let (_, beyond) = self.wait_for_second().await?;
        self.check_loss_is_told(named).await?;
        Ok(beyond)
    }

    async fn check_loss_is_told(&self, named: &str) -> Result<()> {
        let loss = self.status().await["lostTransactions"].take();
        ensure!(loss["gtidSet"] == named && loss["tables"][1] == "shop.setting", "{loss}");
        let proposed = ["account", "setting"]
            .map(|table| format!("event-worker full-sync start -t LISTENER shop.{table}"));
        ensure!(loss["fullSyncs"] == json!(proposed), "{loss}");
        let told = self.dts.output();
        ensure!(told.contains(&proposed.join("; ")), "{told}");
        Ok(())
    }

    /// Ends everything, once the test has passed.
    ///
    /// # Errors
    ///
    /// When something cannot be removed.
    pub fn remove(self) -> Result<()> {
        drop((self.worker, self.dts, self.first, self.second));
        self.site.remove()
    }
}

/// The ids of what was handled, those of one row change as one.
pub fn handled(recording: &Recording) -> BTreeSet<String> {
    let ids = recording.done_ids();
    ids.into_iter().map(|id| mysqlbinlog::without_split_mark(id).to_owned()).collect()
}
