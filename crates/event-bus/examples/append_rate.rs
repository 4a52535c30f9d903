//! How fast one producer appends to an embedded log: `append_rate [records] [records per batch]`.

#![expect(clippy::print_stdout, reason = "the rate is what it is for")]

use std::time::Instant;

use event_bus::{Batch, BusConfig, EmbeddedLog};
use event_log::StorageConfig;

const VALUE_BYTES: usize = 300;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse());
    let records: usize = arguments.next().transpose()?.unwrap_or(2_000_000);
    let per_batch: usize = arguments.next().transpose()?.unwrap_or(5_000);
    let directory = tempfile::tempdir()?;
    let log = EmbeddedLog::open(&BusConfig {
        address: "127.0.0.1:0".to_owned(),
        embedded: true,
        storage: StorageConfig::new(directory.path()),
        topic_prefix: "dbevents".to_owned(),
        token: None,
        tls: None,
        ca_file: None,
    })
    .await?;
    let (mut producer, _) = log.bus().producer("rate").await?;
    let batch = batch(per_batch);
    let (began, cpu_before) = (Instant::now(), cpu_seconds()?);
    for _ in 0..records / per_batch {
        producer.append(&batch, &[]).await?;
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds()? - cpu_before);
    let rate = records as f64 / seconds;
    println!("{records} records in {seconds:.2} s: {rate:.0} records/s, {cpu:.2} CPU seconds");
    Ok(())
}

fn batch(records: usize) -> Batch {
    let mut batch = Batch::default();
    let topic: std::sync::Arc<str> = "dbevents.shop.orders".into();
    for number in 0..records {
        let start = batch.buffer().len();
        batch.buffer().extend_from_slice(format!("{{\"id\":{number:010}}}").as_bytes());
        let key = start..batch.buffer().len();
        batch.buffer().resize(start + VALUE_BYTES, b'x');
        let value = start..batch.buffer().len();
        batch.push(topic.clone(), None, key, value);
    }
    batch
}

/// User and system time of this process, from `/proc/self/stat` in ticks of 10 ms.
fn cpu_seconds() -> Result<f64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Result<Vec<f64>, _> = fields.skip(11).take(2).map(str::parse).collect();
    Ok(ticks?.iter().sum::<f64>() / 100.0)
}
