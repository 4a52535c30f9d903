//! The Kafka of the benchmark: a new broker for every run. Reads what its topics hold, too.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use e2e::{
    programs::Site,
    servers::{Kafka, kafka_tool},
};

/// A topic without a write for so long is complete, unless the writer hangs.
const QUIET: Duration = Duration::from_secs(2);

/// A writer that wrote nothing for so long hangs.
const STUCK: Duration = Duration::from_secs(60);

/// One node. It is empty at the start; its data is in the site, and is removed with it.
pub(crate) struct Broker {
    kafka: Kafka,
    data: PathBuf,
}

impl Broker {
    /// Starts the broker. Topics that are created automatically get so many partitions.
    pub(crate) async fn start(site: &Site, partitions: u32) -> Result<Self> {
        let folder = site.path("kafka");
        let partitions = format!("num.partitions={partitions}");
        let kafka = Kafka::start_with(&folder, &[&partitions]).await?;
        Ok(Self { kafka, data: folder.join("data") })
    }

    pub(crate) fn address(&self) -> String {
        self.kafka.address()
    }

    /// A topic that will get so many records.
    pub(crate) fn topic<'a>(&'a self, name: &'a str, records: u64) -> Filling<'a> {
        Filling { broker: self, name, records, first: None }
    }

    /// When a record of the topic was last written to its files; `None` before the first one.
    fn last_write(&self, topic: &str) -> Result<Option<SystemTime>> {
        let mut last = None;
        for folder in std::fs::read_dir(&self.data)? {
            let folder = folder?.path();
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.rsplit_once('-').is_some_and(|(of, _)| of == topic) {
                last = last.max(last_segment_write(&folder)?);
            }
        }
        Ok(last)
    }

    /// How many records the topic has, as Kafka's own tool says. The end markers of transactions
    /// count too, so use this only for writers without transactions.
    async fn records(&self, topic: &str) -> Result<u64> {
        let asked = ["--bootstrap-server", &self.address(), "--topic", topic];
        let ends = kafka_tool("org.apache.kafka.tools.GetOffsetShell", &asked).await?;
        let end = |line: &str| {
            let end = line.rsplit(':').next().context("no offset")?;
            end.parse::<u64>().with_context(|| format!("not topic:partition:offset: {line}"))
        };
        ends.lines().map(end).sum()
    }
}

fn last_segment_write(partition: &Path) -> Result<Option<SystemTime>> {
    let mut last = None;
    for file in std::fs::read_dir(partition)? {
        let (path, file) = file.map(|file| (file.path(), file.metadata()))?;
        let file = file?;
        if path.extension().is_some_and(|ending| ending == "log") && file.len() > 0 {
            last = last.max(Some(file.modified()?));
        }
    }
    Ok(last)
}

/// A topic that somebody writes to.
pub(crate) struct Filling<'a> {
    broker: &'a Broker,
    name: &'a str,
    records: u64,
    first: Option<SystemTime>,
}

impl Filling<'_> {
    /// The time from the first record to the last, when all are there; `None` while some are
    /// missing.
    ///
    /// May be called all the time: while the topic grows, this only reads the times of its files.
    pub(crate) async fn filled(&mut self) -> Result<Option<Duration>> {
        let Some(last) = self.broker.last_write(self.name)? else { return Ok(None) };
        let first = *self.first.get_or_insert(last);
        let quiet = last.elapsed().unwrap_or_default();
        if quiet < QUIET {
            return Ok(None);
        }
        let (name, held) = (self.name, self.broker.records(self.name).await?);
        if held > self.records || quiet > STUCK {
            bail!("{name} holds {held} records, not {}", self.records);
        }
        Ok(if held == self.records { Some(last.duration_since(first)?) } else { None })
    }
}
