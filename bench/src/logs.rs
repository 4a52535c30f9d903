//! The event log beside Kafka and NATS JetStream on the same disk: appends that wait until each is
//! durable, readers that follow, and readers that catch up. And its copies, and a relay.

mod copies;
mod event_log;
mod jetstream;
mod kafka;
mod table;

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use e2e::programs::Site;
use serde::Deserialize;

use self::{event_log::EventLog, jetstream::JetStream, kafka::KafkaLog, table::Table};

/// Connections that fill a stream, in every system.
const WRITERS: usize = 4;

/// Sizes of records, in bytes.
const SIZES: [usize; 2] = [100, 1024];

/// How much is measured.
#[derive(Clone, clap::Args)]
pub(crate) struct LogSizes {
    /// How often each task is done by each system, in turns; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// How long appends take.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Records that readers catch up with.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Bytes that a mirror catches up with.
    #[arg(long, default_value_t = 10_000_000_000)]
    mirror_bytes: u64,
    /// The built program of `bench/jetstream`.
    #[arg(long)]
    jetstream: std::path::PathBuf,
}

/// When a system says that a record is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durability {
    /// When it is synced to the disk.
    Synced,
    /// As the system does by default.
    Default,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// So many producers, each with a connection of its own, send a record when the one before is
    /// there.
    Append { producers: usize, bytes: usize },
    /// The stream is filled for a time, and so many readers follow until they have all.
    Fan { readers: usize, bytes: usize },
    /// So many readers begin at the first record of a stream that is full.
    Read { readers: usize, bytes: usize },
}

impl Task {
    /// All of them. Reading does not depend on when records were synced.
    fn all(durability: Durability) -> Vec<Self> {
        let mut tasks = Vec::new();
        for bytes in SIZES {
            tasks.extend([1, 16, 128].map(|producers| Self::Append { producers, bytes }));
            tasks.extend([1, 8].map(|readers| Self::Fan { readers, bytes }));
            if durability == Durability::Default {
                tasks.extend([1, 8].map(|readers| Self::Read { readers, bytes }));
            }
        }
        tasks
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    records: u64,
    seconds: f64,
    /// The answer to an append; 0 for other tasks.
    p99_ms: f64,
}

impl Figures {
    /// For each reader.
    fn per_second(&self) -> f64 {
        self.records as f64 / self.seconds
    }

    /// From how long each append took.
    fn of(mut took: Vec<Duration>, elapsed: Duration) -> Self {
        took.sort_unstable();
        let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
        let (records, seconds) = (took.len() as u64, elapsed.as_secs_f64());
        Self { records, seconds, p99_ms: p99.as_secs_f64() * 1e3 }
    }
}

/// A system with a server of its own. A stream is made when it is first named.
#[async_trait]
trait LogSystem {
    fn name(&self) -> &'static str;

    async fn append(&self, stream: &str, task: (usize, usize), lasts: Duration) -> Result<Figures>;

    async fn fan(&self, stream: &str, task: (usize, usize), lasts: Duration) -> Result<Figures>;

    async fn fill(&self, stream: &str, bytes: usize, records: u64) -> Result<()>;

    async fn read(&self, stream: &str, readers: usize, records: u64) -> Result<Figures>;
}

/// Measures all, and prints it.
pub(crate) async fn measure(sizes: LogSizes) -> Result<()> {
    let site = Site::new("bench-logs")?;
    let mut text = String::new();
    for durability in [Durability::Synced, Durability::Default] {
        let table = contest(&site, durability, &sizes).await?;
        text.push_str(&table.to_markdown(durability)?);
    }
    text.push_str(&copies::measure(&site, &sizes).await?);
    site.remove()?;
    println!("{text}");
    Ok(())
}

async fn contest(site: &Site, durability: Durability, sizes: &LogSizes) -> Result<Table> {
    let ours = EventLog::start(site, &format!("{durability:?}")).await?;
    let kafka = KafkaLog::start(site, durability).await?;
    let nats = JetStream::start(site, &sizes.jetstream, durability).await?;
    let systems: [&dyn LogSystem; 3] = [&ours, &kafka, &nats];
    let mut table = Table::default();
    for (number, task) in Task::all(durability).into_iter().enumerate() {
        for run in 1..=sizes.runs {
            for system in systems {
                let figures = carry_out(system, (task, number, run), sizes).await?;
                eprintln!(
                    "{durability:?}, {task:?}, run {run}, {}: {:.0} records/s, p99 {:.1} ms",
                    system.name(),
                    figures.per_second(),
                    figures.p99_ms
                );
                table.enter(task, system.name(), figures);
            }
        }
    }
    Ok(table)
}

async fn carry_out(
    system: &dyn LogSystem,
    (task, number, run): (Task, usize, usize),
    sizes: &LogSizes,
) -> Result<Figures> {
    let (stream, lasts) = (format!("t{number}-{run}"), Duration::from_secs(sizes.seconds));
    match task {
        Task::Append { producers, bytes } => {
            system.append(&stream, (producers, bytes), lasts).await
        }
        Task::Fan { readers, bytes } => system.fan(&stream, (readers, bytes), lasts).await,
        Task::Read { readers, bytes } => {
            let stream = format!("full-{bytes}");
            if readers == 1 && run == 1 {
                system.fill(&stream, bytes, sizes.records).await?;
            }
            system.read(&stream, readers, sizes.records).await
        }
    }
}
