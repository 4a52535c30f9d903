//! Reads a binlog from the configured start to its end and decodes it to nowhere: the ceiling of
//! `dts`. With `--events-only` it only takes the events: the ceiling of the client library.
//! Prints one JSON object.

use std::{path::PathBuf, sync::Arc, time::Instant};

use anyhow::Result;
use bench::Usage;
use clap::Parser;
use dts::{
    binlog::{self, AtEnd, Server, Stream},
    config::Config,
    decode::{Decoder, Step},
    error::Error,
    position::Skip,
    publish::Publisher,
};
use event_bus::Batch;

#[derive(Parser)]
struct Arguments {
    /// The config of the `dts` to measure; its `start` says from where.
    #[arg(long)]
    config: PathBuf,
    /// Take the events and look no further.
    #[arg(long)]
    events_only: bool,
}

/// As much as `dts` itself gathers before it appends.
const BATCH_BYTES: usize = 4 << 20;

#[derive(Default)]
struct Counts {
    events: u64,
    event_bytes: u64,
    transactions: u64,
    rows: u64,
    records: u64,
    record_bytes: u64,
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the result")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let config = Config::open(&arguments.config)?;
    let mut conn = binlog::connect(&config.source).await?;
    let server = Server::ask(&mut conn, &config.source).await?;
    let position = binlog::resolve_start(&mut conn, &config.source, &server, &config.start).await?;
    let before = (Instant::now(), Usage::now());
    let stream = Stream::open(conn, &config.source, &position, AtEnd::Stop).await?;
    let counts = if arguments.events_only {
        take_events(stream).await?
    } else {
        let mut decoder = decoder(&config);
        decoder.restart(&position.file, position.pos);
        decode(stream, decoder, publisher(&config, server.uuid)).await?
    };
    let seconds = before.0.elapsed().as_secs_f64();
    let usage = Usage::now();
    println!(
        "{}",
        serde_json::json!({
            "seconds": seconds,
            "cpuSeconds": (usage.cpu - before.1.cpu).as_secs_f64(),
            "peakRssBytes": usage.peak_rss_bytes,
            "events": counts.events,
            "eventBytes": counts.event_bytes,
            "transactions": counts.transactions,
            "rows": counts.rows,
            "records": counts.records,
            "recordBytes": counts.record_bytes,
            "rowsPerSecond": counts.rows as f64 / seconds,
        })
    );
    Ok(())
}

fn decoder(config: &Config) -> Decoder {
    let capture = Arc::clone(&config.capture);
    Decoder::new(move |schema: &str, table: &str| capture.includes(schema, table))
}

fn publisher(config: &Config, server_uuid: String) -> Publisher {
    let capture = Arc::clone(&config.capture);
    Publisher::new(&config.bus.topic_prefix, capture, server_uuid, Skip::default())
}

async fn take_events(mut stream: Stream) -> Result<Counts> {
    let mut counts = Counts::default();
    while let Some(event) = stream.next().await? {
        counts.events += 1;
        counts.event_bytes += u64::from(event.raw().header.size);
    }
    Ok(counts)
}

async fn decode(
    mut stream: Stream,
    mut decoder: Decoder,
    mut publisher: Publisher,
) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut batch = Batch::default();
    while let Some(event) = stream.next().await? {
        let raw = event.raw();
        counts.events += 1;
        counts.event_bytes += u64::from(raw.header.size);
        let step: Step =
            decoder.decode::<Error>(&raw, &mut |change| publisher.publish(change, &mut batch))?;
        if let Step::Ended(end) = step {
            counts.transactions += 1;
            counts.rows += publisher.end_transaction(end.rows)?.read;
        }
        if batch.bytes() >= BATCH_BYTES {
            empty(&mut batch, &mut counts);
        }
    }
    empty(&mut batch, &mut counts);
    Ok(counts)
}

fn empty(batch: &mut Batch, counts: &mut Counts) {
    counts.records += batch.len() as u64;
    counts.record_bytes += batch.bytes() as u64;
    batch.clear();
}
