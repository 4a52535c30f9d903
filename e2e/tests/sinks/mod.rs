//! Sinks: at the end the target has what a SELECT answers, and until then nothing in it went
//! backwards.

mod elasticsearch;
mod index_templates;
mod kafka;
mod mysql;
mod oversized;
mod postgres;
mod redis;
mod webhook;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use e2e::{
    processes::{PATIENCE, wait_until},
    programs::Site,
    rebuilt::check_rows,
    running::{Running, Source, Victim},
    servers::Mysql,
    workload::{self, Workload},
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::{sync::Notify, task::JoinHandle};

/// The schema that is captured.
const SCHEMA: &str = "shop";

/// What a test kills.
#[derive(Clone, Copy, Debug)]
enum Killed {
    Program(Victim),
    /// The server that the sink writes to.
    Target,
}

/// A server with tables to which so many changes were made; nobody captures them yet.
async fn filled(test: &str, options: &[&str], (changes, seed): (u64, u64)) -> Result<Source> {
    let source = Source::start_on(test, ("9.7", options)).await?;
    workload::create_tables(&mut source.mysql.connect().await?, SCHEMA).await?;
    Workload::start(&source.mysql.url(), SCHEMA, changes, !seed).finish().await?;
    Ok(source)
}

/// Starts the programs with these listeners; `dts` begins with what comes next.
fn begin(source: Source, listeners: &str) -> Result<Running> {
    let site = &source.site;
    site.configure_dts(&source.mysql.address(), SCHEMA)?;
    site.amend("dts.toml", "start = \"earliest\"", "start = \"latest\"")?;
    site.configure_worker(listeners)?;
    source.run()
}

/// What a target has of a table, which is compared with the rows that meet a condition.
#[derive(Clone, Copy, Debug)]
struct Copied {
    table: &'static str,
    condition: &'static str,
}

impl Copied {
    fn whole(table: &'static str) -> Self {
        Self { table, condition: "TRUE" }
    }

    /// Waits until the rows that the target has are those of the table, which nobody changes any
    /// more; gives how many there are.
    async fn settles(
        self,
        mysql: &Mysql,
        rows: impl AsyncFn() -> Result<BTreeSet<Vec<String>>>,
    ) -> Result<usize> {
        let mut server = mysql.connect().await?;
        let (mut count, mut last) = (0, String::new());
        let outcome = wait_until("the target equals the table", PATIENCE * 2, async || {
            let compared = async {
                let what = (SCHEMA, self.table, self.condition);
                check_rows(&rows().await?, &mut server, what).await
            };
            match compared.await {
                Ok(found) => count = found,
                Err(error) => last = format!("{error:#}"),
            }
            count > 0
        });
        outcome.await.with_context(|| last)?;
        Ok(count)
    }
}

/// Reads versions from a target all along, until it is stopped.
#[derive(Debug)]
struct Sampler {
    stop: Arc<Notify>,
    reading: JoinHandle<Result<u64>>,
}

impl Sampler {
    /// `versions` gives what the target has at a moment, or fails while the target is down.
    fn start<F>(versions: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<BTreeMap<String, u64>>> + Send,
    {
        const PAUSE: Duration = Duration::from_millis(50);
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let reading = tokio::spawn(async move {
            let (mut newest, mut samples) = (BTreeMap::<String, u64>::new(), 0);
            loop {
                for (place, version) in versions().await.unwrap_or_default() {
                    samples += 1;
                    let before = newest.entry(place.clone()).or_default();
                    ensure!(version >= *before, "{place} went from {before} back to {version}");
                    *before = version;
                }
                let pause = tokio::time::timeout(PAUSE, stopped.notified());
                if pause.await.is_ok() {
                    // The last look is at what all has become.
                    return Ok(samples + versions().await?.len() as u64);
                }
            }
        });
        Self { stop, reading }
    }

    /// Stops it; gives how many versions it has read.
    async fn stop(self) -> Result<u64> {
        self.stop.notify_one();
        let samples = self.reading.await??;
        if samples == 0 {
            bail!("no version was read: that proves nothing");
        }
        Ok(samples)
    }
}

/// What of an event is needed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    ev_id: String,
    table_name: String,
    action: String,
    #[serde(rename = "PK")]
    key: Box<RawValue>,
    data: Box<RawValue>,
    seq: u64,
}

/// What the API shows of a listener.
async fn shown(site: &Site, listener: &str) -> Value {
    site.ask_worker(&format!("/api/v1/listeners/{listener}")).await.unwrap_or_default()
}
