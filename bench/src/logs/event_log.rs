//! The event log.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_trait::async_trait;
use e2e::{
    processes::{PATIENCE, Process, free_port, wait_until},
    programs::{Site, program},
};
use event_log::{Client, ClientConfig, Compress, Event, PLAIN, Start, Subscribe, proto::NewRecord};
use tokio::task::JoinSet;

use super::{Figures, LogSystem, WRITERS};

/// About so many bytes are appended at once when a stream is filled.
const BATCH_BYTES: usize = 512 << 10;

/// A server of its own.
pub(super) struct EventLog {
    pub(super) process: Process,
    pub(super) address: String,
}

impl EventLog {
    /// Starts one, with its data in a folder of this name.
    pub(super) async fn start(site: &Site, name: &str) -> Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let config = format!(
            "[listen]\naddress = {address:?}\n[http]\naddress = \"127.0.0.1:{}\"\n\
             [storage]\ndirectory = \"log-{name}\"\nmaxBytes = \"60GiB\"\n",
            free_port()?
        );
        let file = format!("log-{name}.toml");
        std::fs::write(site.path(&file), config)?;
        let program = program("event-log")?.display().to_string();
        let process = site.run(&format!("log-{name}"), &[&program, "serve", "--config", &file])?;
        let log = Self { process, address };
        log.wait_until_it_listens().await?;
        Ok(log)
    }

    async fn wait_until_it_listens(&self) -> Result<()> {
        wait_until("the event log listens", PATIENCE, async || {
            self.process.output().contains("the event log listens")
        })
        .await
    }

    pub(super) fn client(&self) -> Result<Client> {
        client(&self.address)
    }

    /// Appends while `more` says so, over several connections; gives the number of records.
    pub(super) async fn publish(
        &self,
        stream: &str,
        bytes: usize,
        more: impl Fn(u64) -> bool + Clone + Send + 'static,
    ) -> Result<u64> {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (client, more) = (self.client()?, more.clone());
            let (stream, name) = (stream.to_owned(), format!("fill-{writer}"));
            writers.spawn(async move {
                let (mut producer, _) = client.open_producer(&stream, &name).await?;
                let batch = vec![record(bytes); BATCH_BYTES / bytes];
                let mut sent = 0;
                while more(sent) {
                    producer.append(batch.clone(), Vec::new()).await?;
                    sent += batch.len() as u64;
                }
                anyhow::Ok(sent)
            });
        }
        let mut sent = 0;
        while let Some(written) = writers.join_next().await {
            sent += written??;
        }
        Ok(sent)
    }
}

pub(super) fn client(address: &str) -> Result<Client> {
    Ok(Client::new(&ClientConfig {
        address: address.to_owned(),
        token: None,
        ca_file: None,
        identity: None,
        compress: Compress::Off,
    })?)
}

fn record(bytes: usize) -> NewRecord {
    let payload = vec![b'x'; bytes].into();
    NewRecord { r#type: PLAIN, topic: "bench".to_owned(), payload, ..NewRecord::default() }
}

/// Begins to read; the task ends when it has so many records. `begun` is told when it is in place.
async fn follow(client: Client, stream: String, from: Start) -> Result<Reader> {
    let wanted = Subscribe {
        group: String::new(),
        start: from,
        topics: Vec::new(),
        kinds: Vec::new(),
        origins: Vec::new(),
        addressee: None,
        max_bytes: 0,
        client: "bench".to_owned(),
    };
    let mut subscription = client.subscribe(&stream, wanted).await?;
    // The place is fixed when this has come.
    let assigned = subscription.next().await?;
    anyhow::ensure!(matches!(assigned, Event::Assigned { .. }), "no place");
    Ok(Reader(subscription))
}

struct Reader(event_log::RemoteSubscription);

impl Reader {
    async fn take(mut self, until: tokio::sync::watch::Receiver<u64>) -> Result<()> {
        let mut taken = 0;
        while taken < *until.borrow() {
            if let Event::Records { records, .. } = self.0.next().await? {
                taken += records.len() as u64;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl LogSystem for EventLog {
    fn name(&self) -> &'static str {
        "event-log"
    }

    async fn append(
        &self,
        stream: &str,
        (producers, bytes): (usize, usize),
        lasts: Duration,
    ) -> Result<Figures> {
        let mut open = Vec::new();
        for number in 0..producers {
            let name = format!("p{number}");
            open.push(self.client()?.open_producer(stream, &name).await?.0);
        }
        let began = Instant::now();
        let mut appending = JoinSet::new();
        for mut producer in open {
            appending.spawn(async move {
                let mut took = Vec::new();
                while began.elapsed() < lasts {
                    let sent = Instant::now();
                    producer.append(vec![record(bytes)], Vec::new()).await?;
                    took.push(sent.elapsed());
                }
                anyhow::Ok(took)
            });
        }
        let mut took = Vec::new();
        while let Some(part) = appending.join_next().await {
            took.extend(part??);
        }
        Ok(Figures::of(took, began.elapsed()))
    }

    async fn fan(
        &self,
        stream: &str,
        (readers, bytes): (usize, usize),
        lasts: Duration,
    ) -> Result<Figures> {
        // Makes the stream.
        self.client()?.open_producer(stream, "fill-0").await?;
        let (all, until) = tokio::sync::watch::channel(u64::MAX);
        let mut following = JoinSet::new();
        for _ in 0..readers {
            let reader = follow(self.client()?, stream.to_owned(), Start::Latest).await?;
            following.spawn(reader.take(until.clone()));
        }
        let began = Instant::now();
        let sent = self.publish(stream, bytes, move |_| began.elapsed() < lasts).await?;
        // A last record for those who have all of the others and wait.
        all.send(sent)?;
        let (mut last, _) = self.client()?.open_producer(stream, "last").await?;
        last.append(vec![record(bytes)], Vec::new()).await?;
        while let Some(read) = following.join_next().await {
            read??;
        }
        Ok(Figures { records: sent, seconds: began.elapsed().as_secs_f64(), p99_ms: 0.0 })
    }

    async fn fill(&self, stream: &str, bytes: usize, records: u64) -> Result<()> {
        let each = records.div_ceil(WRITERS as u64);
        let sent = self.publish(stream, bytes, move |sent| sent < each).await?;
        anyhow::ensure!(sent >= records, "only {sent} of {records} records");
        Ok(())
    }

    async fn read(&self, stream: &str, readers: usize, records: u64) -> Result<Figures> {
        let (_all, until) = tokio::sync::watch::channel(records);
        let began = Instant::now();
        let mut reading = JoinSet::new();
        for _ in 0..readers {
            let (client, stream, until) = (self.client()?, stream.to_owned(), until.clone());
            reading.spawn(async move {
                follow(client, stream, Start::Earliest).await?.take(until).await
            });
        }
        while let Some(read) = reading.join_next().await {
            read.context("a reader ended")??;
        }
        Ok(Figures { records, seconds: began.elapsed().as_secs_f64(), p99_ms: 0.0 })
    }
}
