//! A log that is used at random: several producers with checkpoints, groups, files, midnights,
//! retention, and a disk that gets full.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use rand::{RngExt, rngs::StdRng};
use tempfile::TempDir;

use super::truth::{Batch, Found, Said, Truth};
use crate::{
    Append, Appended, Checkpoint, CheckpointChange, Error, Log, NewHeaders, NewRecord,
    OpenedProducer, ProducerSequence, StorageConfig, Stream,
    disk::{
        data_files,
        watched::{Made, Refusal, Refused, Watch},
    },
    queue::{self, DurableAnswer},
    retention,
};

const DAY_MS: u64 = 86_400_000;
const PRODUCERS: [&str; 3] = ["a", "b", "c"];
const GROUPS: [&str; 2] = ["g", "h"];
const ENOSPC: i32 = 28;

/// A directory in which a log is, with all that happens to it.
pub(super) struct Place {
    at: TempDir,
    watch: Watch,
}

impl Place {
    pub(super) fn new() -> Self {
        // In memory, where there is such a directory: nothing here is really cut off.
        let at = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let watch = Watch::new(at.path());
        Self { at, watch }
    }

    pub(super) fn path(&self) -> &Path {
        self.at.path()
    }

    /// Its directory has to be made, with those above.
    pub(super) fn log(&self) -> PathBuf {
        self.path().join("var/lib/log")
    }

    pub(super) fn stream(&self) -> PathBuf {
        self.log().join("s")
    }

    pub(super) fn config(&self) -> StorageConfig {
        StorageConfig {
            segment_bytes: 12_000,
            retention: Duration::from_hours(24 * 36_500),
            ..StorageConfig::new(self.log())
        }
    }

    pub(super) fn changes(&self) -> usize {
        self.watch.hold().made.len()
    }

    pub(super) fn made(&self) -> Vec<(PathBuf, Made)> {
        self.watch.hold().made.clone()
    }

    /// Refuses nothing more, and says how much there was still to refuse.
    pub(super) fn take_refusal(&self) -> usize {
        self.watch.hold().refusal.take().map_or(0, |refusal| refusal.times)
    }

    pub(super) fn refuse(&self, refusal: Option<Refusal>) {
        self.watch.hold().refusal = refusal;
    }
}

/// A log that is open.
pub(super) struct Session<'a> {
    place: &'a Place,
    pub(super) truth: &'a mut Truth,
    random: StdRng,
    _log: Log,
    stream: Stream,
    /// Whether the disk gets full now and then.
    pub(super) fills_disk: bool,
    producers: Vec<Producer>,
}

struct Producer {
    name: &'static str,
    epoch: u64,
    sequence: u64,
    checkpoint: Checkpoint,
    _lead: OpenedProducer,
}

/// A batch that was sent, and not answered yet.
struct Sent {
    batch: usize,
    changes: Vec<CheckpointChange>,
    queued: Option<(DurableAnswer, Appended)>,
}

impl<'a> Session<'a> {
    /// Opens the log, and reads all of it.
    pub(super) async fn open(
        place: &'a Place,
        truth: &'a mut Truth,
        random: StdRng,
    ) -> Result<(Self, Found), String> {
        let log = Log::open(place.config()).map_err(|error| error.to_string())?;
        let stream = log.stream("s").map_err(|error| error.to_string())?;
        let found = truth.find(&stream).await?;
        truth.note(place.changes(), Said::Holds(found.clone()));
        let producers = Vec::new();
        let session = Self { place, truth, random, _log: log, stream, fills_disk: true, producers };
        Ok((session, found))
    }

    fn note(&mut self, said: Said) {
        self.truth.note(self.place.changes(), said);
    }

    /// Does so many things; the error is that of a log that takes nothing more.
    pub(super) async fn run(&mut self, steps: usize) -> Result<(), Error> {
        for _ in 0..steps {
            match self.random.random_range(0..100) {
                0..5 => self.truth.clock_ms += DAY_MS,
                5..8 => self.end_day(),
                8..14 => self.commit().await?,
                14..17 => self.expire(),
                17..25 if self.fills_disk => self.fill_disk(),
                25..28 => self.producers.clear(),
                _ => {}
            }
            self.truth.clock_ms += self.random.random_range(0..3_600_000);
            self.append().await?;
        }
        Ok(())
    }

    fn end_day(&self) {
        // When it fails, a later day ends this one, too.
        drop(self.stream.shared.end_day(self.truth.clock_ms + DAY_MS));
    }

    /// The disk takes nothing more soon, or what it took it cannot keep.
    fn fill_disk(&mut self) {
        let is_late = self.random.random_bool(0.3);
        let refusal = Refusal {
            after: self.random.random_range(0..3),
            times: if is_late { 1 } else { self.random.random_range(1..4) },
            of: if is_late { Refused::Syncs } else { Refused::Growth },
            errno: ENOSPC,
        };
        self.place.refuse(Some(refusal));
    }

    async fn commit(&mut self) -> Result<(), Error> {
        let group = GROUPS[self.random.random_range(0..GROUPS.len())];
        let end = self.stream.state().next_offset;
        let offset = self.random.random_range(end / 2..=end);
        let commits = self.truth.commits.entry(group.to_owned()).or_default();
        commits.push(offset);
        let number = commits.len() - 1;
        // As the keeper does it, and at once.
        let groups = &self.stream.shared.groups;
        let saved = groups.reset(group, offset)?;
        groups.save();
        match queue::wait(saved).await {
            Ok(()) => self.note(Said::Committed { group: group.to_owned(), number }),
            Err(Error::Full(_)) => {}
            Err(other) => return Err(other),
        }
        Ok(())
    }

    fn expire(&mut self) {
        let last = self.stream.shared.segments().last().map(|last| last.first_offset);
        self.note(Said::MayDelete { below: last.unwrap_or_default() });
        let days = Duration::from_millis(self.random.random_range(0..3) * DAY_MS);
        retention::expire(&self.stream.shared, days, self.truth.clock_ms);
    }

    /// Appends some batches at once; what finds the disk full is sent again.
    pub(super) async fn append(&mut self) -> Result<(), Error> {
        self.open_producers().await?;
        let place = self.place;
        let held = place.watch.hold();
        let mut sent = Vec::new();
        for _ in 0..self.random.random_range(1..6) {
            let (batch, changes) = self.make_batch();
            let queued = Some(self.queue(batch, &changes)?);
            sent.push(Sent { batch, changes, queued });
        }
        drop(held);
        while !sent.is_empty() {
            let mut again = Vec::new();
            for one in sent {
                let Sent { batch, changes, queued } = one;
                if queued.is_none() && !again.is_empty() {
                    // In order.
                    again.push(Sent { batch, changes, queued });
                    continue;
                }
                let (durable, appended) = match queued {
                    Some(queued) => queued,
                    None => self.queue(batch, &changes)?,
                };
                match queue::wait(durable).await {
                    Ok(()) => self.appended(batch, appended),
                    Err(Error::Full(_)) => again.push(Sent { batch, changes, queued: None }),
                    Err(other) => return Err(other),
                }
            }
            sent = again;
        }
        Ok(())
    }

    fn appended(&mut self, batch: usize, appended: Appended) {
        let Batch { payloads, producer } = &*self.truth.batches[batch];
        let (has_records, producer) = (!payloads.is_empty(), producer.clone());
        assert!(!appended.duplicate);
        if has_records {
            self.note(Said::Appended { batch, first_offset: appended.first_offset });
        }
        if let Some((name, place)) = producer {
            self.note(Said::Producer { name, place });
        }
    }

    async fn open_producers(&mut self) -> Result<(), Error> {
        if !self.producers.is_empty() {
            return Ok(());
        }
        for name in PRODUCERS {
            let lead = loop {
                // It is known when it is asked for, and acknowledged when it is answered.
                let places = self.truth.places.entry(name.to_owned()).or_default();
                let state = self.stream.state();
                let epoch = state.producers.iter().find(|(known, ..)| known == name);
                let epoch = epoch.map_or(0, |(_, epoch, _)| *epoch);
                places.insert((epoch + 1, 0), (self.stream.checkpoint(name), None));
                match self.stream.open_producer(name).await {
                    Ok(lead) => break lead,
                    Err(Error::Full(_)) => {}
                    Err(other) => return Err(other),
                }
            };
            let (epoch, checkpoint) = (lead.epoch, lead.checkpoint.clone());
            self.note(Said::Producer { name: name.to_owned(), place: (epoch, 0) });
            self.producers.push(Producer { name, epoch, sequence: 0, checkpoint, _lead: lead });
        }
        Ok(())
    }

    fn make_batch(&mut self) -> (usize, Vec<CheckpointChange>) {
        let random = &mut self.random;
        let records = [0, 1, 1, 2, 5][random.random_range(0..5)];
        let payloads: Vec<_> =
            (0..records).map(|_| payload(&self.place.stream(), random)).collect();
        let producer = random.random_range(0..=self.producers.len());
        let Some(producer) = self.producers.get_mut(producer) else {
            return (self.truth.send(Batch { payloads, producer: None }, None), Vec::new());
        };
        producer.sequence += 1;
        let key = format!("key-{}", random.random_range(0..4));
        let value: Vec<u8> = (0..random.random_range(0..200)).map(|_| random.random()).collect();
        let value = random.random_bool(0.8).then(|| Bytes::from(value));
        match &value {
            Some(value) => drop(producer.checkpoint.insert(key.clone(), value.clone())),
            None => drop(producer.checkpoint.remove(&key)),
        }
        let place = (producer.epoch, producer.sequence);
        let batch = Batch { payloads, producer: Some((producer.name.to_owned(), place)) };
        (self.truth.send(batch, Some(producer.checkpoint.clone())), vec![(key, value)])
    }

    fn queue(
        &self,
        number: usize,
        checkpoint: &[CheckpointChange],
    ) -> Result<(DurableAnswer, Appended), Error> {
        let Batch { payloads, producer } = &*self.truth.batches[number];
        let keys: Vec<_> = (0..payloads.len()).map(|at| format!("{number}/{at}")).collect();
        let records = keys.iter().zip(payloads).map(|(key, payload)| NewRecord {
            kind: 1001,
            topic: "t",
            key: key.as_bytes(),
            headers: NewHeaders::Text(&[]),
            payload,
        });
        let producer = producer.as_ref().map(|(name, (epoch, sequence))| ProducerSequence {
            name,
            epoch: *epoch,
            sequence: *sequence,
        });
        let append = Append { producer, records, checkpoint };
        // There is room in the queue: it does not wait.
        self.stream.queue_at(append, self.truth.clock_ms).now_or_never().unwrap()
    }
}

/// Mostly small; some are long, or are a piece of this log itself.
fn payload(stream: &Path, random: &mut StdRng) -> Vec<u8> {
    let bytes = match random.random_range(0..20) {
        0 => random.random_range(0..9000),
        1 => return piece_of_log(stream, random),
        2 => return vec![0; random.random_range(0..3000)],
        _ => random.random_range(0..300),
    };
    (0..bytes).map(|_| random.random()).collect()
}

/// Whole records: a reader that looks for records finds these, too.
fn piece_of_log(stream: &Path, random: &mut StdRng) -> Vec<u8> {
    let files = data_files::list(stream).unwrap_or_default();
    if files.is_empty() {
        return Vec::new();
    }
    let id = files[random.random_range(0..files.len())];
    std::fs::read(id.data(stream)).unwrap_or_default()
}
