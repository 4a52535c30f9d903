//! How fast one producer appends to an embedded log, and how fast one consumer then reads that over
//! the network: `append_rate [records] [records per batch]`.

#![expect(clippy::print_stdout, reason = "the rate is what it is for")]

use std::time::Instant;

use event_bus::{
    Batch, BusConfig, BusKind, EmbeddedLog, LogConfig, Polled, Start, Subscription, TopicName,
};
use event_log::StorageConfig;
use tokio_util::sync::CancellationToken;

const VALUE_BYTES: usize = 300;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse());
    let records: usize = arguments.next().transpose()?.unwrap_or(2_000_000);
    let per_batch: usize = arguments.next().transpose()?.unwrap_or(5_000);
    let directory = tempfile::tempdir()?;
    let mut config = LogConfig {
        address: "127.0.0.1:0".to_owned(),
        embedded: true,
        storage: StorageConfig::new(directory.path()),
        token: None,
        tls: None,
        ca_file: None,
        identity: None,
    };
    let log = EmbeddedLog::open(&config, "dbevents").await?;
    config.address = log.address().to_string();
    let (mut producer, _) = log.bus().producer("rate").await?;
    let batch = batch(per_batch);
    let meter = Meter::start()?;
    for _ in 0..records / per_batch {
        producer.append(&batch, &[]).await?;
    }
    meter.show("appended", records)?;

    tokio::spawn(log.serve(CancellationToken::new()));
    let meter = Meter::start()?;
    let config = BusConfig::new(BusKind::Log(Box::new(config)), "dbevents");
    let mut consumer = event_bus::open(&config)?.consumer(subscription()).await?;
    let (mut count, mut last) = (0, None);
    while count < records / per_batch * per_batch {
        if let Polled::Records { deliveries, scanned } = consumer.poll().await? {
            count += deliveries.len();
            last = scanned.last().cloned().or(last);
        }
    }
    consumer.commit(last.as_slice()).await?;
    meter.show("read, server and client together,", count)?;
    Ok(())
}

fn subscription() -> Subscription {
    Subscription {
        group: "dbevents.listener.rate".to_owned(),
        topics: TopicName::new("dbevents").filter(&[("shop".to_owned(), "*".to_owned())]),
        start: Start::Earliest,
        client: "rate".to_owned(),
        instance: None,
        addressee: None,
        table: None,
    }
}

struct Meter {
    began: Instant,
    cpu_before: f64,
}

impl Meter {
    fn start() -> Result<Self, Box<dyn std::error::Error>> {
        Ok(Self { began: Instant::now(), cpu_before: cpu_seconds()? })
    }

    fn show(&self, did: &str, records: usize) -> Result<(), Box<dyn std::error::Error>> {
        let (seconds, cpu) = (self.began.elapsed().as_secs_f64(), cpu_seconds()? - self.cpu_before);
        let rate = records as f64 / seconds;
        println!("{did} {records} in {seconds:.2} s: {rate:.0} records/s, {cpu:.2} CPU seconds");
        Ok(())
    }
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
