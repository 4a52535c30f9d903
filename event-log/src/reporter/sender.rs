//! The task that brings the records of a spool to the server, in order and each once.
//!
//! The checkpoint of the producer has an entry `spool.ID` for each of the last spools that reported
//! under its name: the place in it, saved in the same batch as the records before it.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use service::{Backoff, clock::now_ms};
use tracing::{debug, warn};

use super::{ReporterShared, chunk::Chunk, spool::SpoolReader};
use crate::{Checkpoint, CheckpointChange, Error, RemoteProducer, link::RETRY};

const PREFIX: &str = "spool.";
/// The places of so many spools are kept: two machines with one name by mistake, or a process that
/// begins with an empty spool each time.
const MAX_PLACES: usize = 16;

/// How far the server has a spool.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpoolPlace {
    /// All below it.
    next: u64,
    time_ms: u64,
}

/// Sends until the reporter is closed.
pub(super) async fn run(shared: Arc<ReporterShared>) {
    let stop = shared.stop.clone();
    let (chunk, old) = (Chunk::default(), Vec::new());
    let sender = Sender { shared, reader: None, chunk, old, max_records: usize::MAX, tried: 0 };
    tokio::select! {
        () = stop.cancelled() => {}
        () = sender.send() => {}
    }
}

struct Sender {
    shared: Arc<ReporterShared>,
    reader: Option<SpoolReader>,
    /// What was read, and is not acknowledged.
    chunk: Chunk,
    /// Entries of the checkpoint that go with the next batch.
    old: Vec<String>,
    /// A batch has no more records. It is cut in half until the record that the server rejects is
    /// alone: all before it shall be there.
    max_records: usize,
    /// So many were in the last batch.
    tried: usize,
}

impl Sender {
    async fn send(mut self) {
        let mut backoff = Backoff::new(RETRY);
        loop {
            let before = self.place();
            let Err(error) = self.session().await;
            if self.place() > before {
                backoff.reset();
            }
            if matches!(error, Error::Rejected(_)) && self.tried > 1 {
                self.max_records = self.tried / 2;
                debug!(%error, records = self.max_records, "trying with a smaller batch");
                continue;
            }
            self.shared.link.failed(&error);
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Sends until something fails.
    async fn session(&mut self) -> Result<Infallible, Error> {
        self.tried = 0;
        let (mut producer, checkpoint) = self.shared.link.open().await?;
        self.resume(&checkpoint)?;
        loop {
            if self.chunk.records.is_empty() {
                // Who is connected and has nothing to send is not waiting.
                self.shared.link.connected();
                self.read().await?;
            }
            self.send_batch(&mut producer).await?;
            self.shared.link.connected();
        }
    }

    /// Goes on where the server says that it has this spool.
    fn resume(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let (ours, place) = (self.key(), self.place());
        let saved = checkpoint.iter().filter(|(key, _)| key.starts_with(PREFIX));
        let saved = saved.filter_map(|(key, value)| Some((key, read_place(value)?)));
        let mut saved: BTreeMap<&String, SpoolPlace> = saved.collect();
        if let Some(SpoolPlace { next, .. }) = saved.remove(&ours) {
            let end = self.shared.spool.end();
            if next > end {
                return Err(Error::Rejected(format!(
                    "the server has this spool up to place {next}, but the spool ends at {end}: \
                     its directory was put back to an older state. Delete the file `origin` in it; \
                     then all that waits there is sent, and some records may be in the log twice"
                )));
            }
            if next < place {
                warn!(server = next, spool = place, "the server has lost records that it had");
            }
            self.acknowledge(next.max(place))?;
        }
        let mut by_age: Vec<(u64, &String)> =
            saved.iter().map(|(key, place)| (place.time_ms, *key)).collect();
        by_age.sort_unstable();
        let too_many = (by_age.len() + 1).saturating_sub(MAX_PLACES);
        self.old = by_age.into_iter().take(too_many).map(|(_, key)| key.clone()).collect();
        Ok(())
    }

    /// Waits for records, and leaves out those that the server has.
    async fn read(&mut self) -> Result<(), Error> {
        let spool = &self.shared.spool;
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => self.reader.insert(spool.reader()?),
        };
        self.chunk = spool.next(reader).await?;
        Ok(())
    }

    async fn send_batch(&mut self, producer: &mut RemoteProducer) -> Result<(), Error> {
        let acknowledged = self.place();
        let known = self.chunk.records.partition_point(|(after, _)| *after <= acknowledged);
        self.chunk.records.drain(..known);
        let count = self.chunk.records.len().min(self.max_records);
        let place = match self.chunk.records.get(count) {
            None => self.chunk.next,
            // The place before a record is the one after the record before it.
            Some(_) => self.chunk.records.get(count - 1).map_or(0, |(after, _)| *after),
        };
        if count > 0 {
            self.tried = count;
            let records = self.chunk.records.iter().take(count);
            let records = records.map(|(_, record)| record.clone()).collect();
            producer.append(records, self.changes(place)).await?;
            self.old.clear();
            self.max_records = self.max_records.saturating_mul(2);
        }
        self.chunk.records.drain(..count);
        self.acknowledge(place.max(acknowledged))
    }

    fn changes(&self, next: u64) -> Vec<CheckpointChange> {
        let place = SpoolPlace { next, time_ms: now_ms() };
        // Numbers can always be written.
        let value = Bytes::from(serde_json::to_vec(&place).unwrap_or_default());
        let old = self.old.iter().map(|key| (key.clone(), None));
        old.chain([(self.key(), Some(value))]).collect()
    }

    fn acknowledge(&self, place: u64) -> Result<(), Error> {
        self.shared.spool.forget(place)?;
        self.shared.acknowledged.send_replace(place);
        Ok(())
    }

    /// The server has all below it.
    fn place(&self) -> u64 {
        *self.shared.acknowledged.borrow()
    }

    fn key(&self) -> String {
        format!("{PREFIX}{:x}", self.shared.spool.id())
    }
}

fn read_place(value: &Bytes) -> Option<SpoolPlace> {
    serde_json::from_slice(value).ok()
}
