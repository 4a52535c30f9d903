//! Measures catch-up and latency on a real MySQL, and for comparison the tools that set the limit.

#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "progress is for the one who waits, figures for the process that asked"
)]

mod bare;
mod beside;
mod broker;
mod counting;
mod debezium;
mod decode;
mod dts;
mod full_sync;
mod kafka;
mod large;
mod load;
mod logs;
mod measure;
mod park;
mod ratios;
mod report;
mod sinks;
mod steps;

use anyhow::Result;
use clap::{Parser, Subcommand};

use self::{full_sync::Table, load::Load};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Measures everything, and writes bench/results.
    All(Sizes),
    /// Measures the event log beside Kafka and NATS JetStream, and prints the results.
    Logs(logs::LogSizes),
    /// For comparison: reads the bare events of a whole binlog with `mysql_async`.
    BareEvents {
        /// The server.
        url: String,
    },
    /// For comparison: writes the rows of load (a) to the target of a sink.
    BareWriter {
        /// The kind of target, and how it is written.
        kind: bare::Bare,
        /// The URL of the MySQL that has the rows.
        source: String,
        /// Host and port of the target.
        target: String,
    },
    /// For comparison: sends the records of `dts` to a broker again.
    BareProducer {
        /// The broker.
        address: String,
        /// The topic.
        from: String,
    },
    /// A handler of `event-worker` that only counts.
    CountEvents {
        /// The file for the number of events of each call.
        counted: std::path::PathBuf,
    },
    /// Decodes a whole binlog, and throws the events away.
    Decode {
        /// The config of the `dts` to measure.
        config: std::path::PathBuf,
    },
}

/// How much is measured.
#[derive(clap::Args)]
struct Sizes {
    /// How often each step is run; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Rows of load (a), in transactions of 1,000.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// One-row transactions of load (b).
    #[arg(long, default_value_t = 200_000)]
    transactions: u64,
    /// Rows of 1 MB of the table that shows how much memory a full sync takes.
    #[arg(long, default_value_t = 500)]
    large_rows: u64,
    /// How long latency is measured.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// The benchmark of another commit, whose decoder is measured too (`run.sh` builds it).
    #[arg(long)]
    against: Option<std::path::PathBuf>,
    /// Measure only this part. The results are printed, and not kept.
    #[arg(long)]
    only: Option<Part>,
}

/// A part of the whole.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Into the embedded log, and the tools that it is compared with.
    Log,
    /// Into Kafka.
    Kafka,
    /// Kinds of sources: many columns, compressed transactions, TLS; and the decoder of another
    /// commit.
    Source,
    /// Whole tables to one listener, compared with `mysqldump`.
    FullSync,
    /// A listener with `park`: off, on, and with keys that are refused.
    Park,
    /// From the event log to the targets of sinks, compared with bare clients.
    Sinks,
}

impl Sizes {
    /// The loads, in order.
    fn loads(&self) -> Vec<Load> {
        let mut loads = vec![Load::Bulk(self.rows)];
        if !matches!(self.only, Some(Part::FullSync | Part::Park | Part::Sinks)) {
            loads.push(Load::Single(self.transactions));
        }
        if self.includes(Part::Source) {
            loads.extend([Load::Wide(self.rows), Load::Compressed(self.rows)]);
        }
        loads
    }

    fn includes(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().verb {
        Verb::All(sizes) => all(&sizes).await,
        Verb::Logs(sizes) => logs::measure(sizes).await,
        Verb::BareEvents { url } => steps::bare_events(&url).await,
        Verb::BareProducer { address, from } => {
            let sent = tokio::task::spawn_blocking(move || kafka::bare_producer(&address, &from));
            println!("{}", serde_json::to_string(&sent.await??)?);
            Ok(())
        }
        Verb::BareWriter { kind, source, target } => {
            println!("{}", serde_json::to_string(&kind.write(&source, &target).await?)?);
            Ok(())
        }
        Verb::CountEvents { counted } => counting::count_events(&counted),
        Verb::Decode { config } => decode::to_nowhere(&config).await,
    }
}

async fn all(sizes: &Sizes) -> Result<()> {
    let mut report = report::Report::new(sizes)?;
    for load in sizes.loads() {
        let server = load::prepare(load).await?;
        report.server = server.version.clone();
        if matches!(load, Load::Bulk(_)) && sizes.includes(Part::Park) {
            report.catch_up.extend(park::catch_up(&server, sizes.runs).await?);
            report.latency.extend(park::latencies(&server, sizes.seconds).await?);
        }
        if sizes.includes(Part::Log) || sizes.includes(Part::Source) {
            report.catch_up.extend(steps::catch_up(&server, sizes).await?);
        }
        if load.is_plain() {
            report.catch_up.extend(beside(&server, sizes).await?);
        }
        if matches!(load, Load::Bulk(_)) && sizes.includes(Part::FullSync) {
            let table = Table::of_load(&server);
            report.full_sync.extend(full_sync::measure(&table, sizes.runs).await?);
            report.latency.extend(beside::measure(&server, sizes.seconds).await?);
        }
    }
    if sizes.includes(Part::FullSync) {
        report.full_sync.extend(large_rows(sizes).await?);
    }
    if sizes.includes(Part::Log) {
        report.latency.push(steps::latency(sizes.seconds).await?);
    }
    if sizes.includes(Part::Kafka) {
        report.latency.extend(kafka::latencies(sizes.seconds).await?);
    }
    if sizes.only.is_some() { report.print() } else { report.write() }
}

/// A full sync of rows of 1 MB.
async fn large_rows(sizes: &Sizes) -> Result<Vec<full_sync::TableRuns>> {
    let (rows, row_bytes) = (sizes.large_rows, large::ROW_BYTES as u64);
    let mysql = large::prepare(rows).await?;
    let table = Table { mysql: &mysql, name: large::TABLE, rows, row_bytes };
    full_sync::measure(&table, sizes.runs).await
}

/// The measurements in turns with something else.
async fn beside(server: &load::Loaded, sizes: &Sizes) -> Result<Vec<report::Step>> {
    let mut steps = Vec::new();
    if let Some(other) = sizes.against.as_ref().filter(|_| sizes.includes(Part::Source)) {
        steps.extend(steps::in_turns(server, sizes.runs, other).await?);
    }
    if sizes.includes(Part::Sinks) && matches!(server.load, Load::Bulk(_)) {
        steps.extend(sinks::catch_up(server, sizes.runs).await?);
    }
    if sizes.includes(Part::Kafka) {
        steps.extend(kafka::catch_up(server, sizes.runs).await?);
    }
    Ok(steps)
}
