//! What a log has acknowledged, what it was asked for, and whether a log has it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use crate::{Checkpoint, Event, Start, Stream, Subscribe};

/// Epoch and sequence.
pub(super) type Place = (u64, u64);

/// A batch that was sent.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) payloads: Vec<Vec<u8>>,
    pub(super) producer: Option<(String, Place)>,
}

/// What a log was found to hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    end: u64,
    /// The offsets where batches begin.
    batches: BTreeMap<usize, u64>,
    producers: BTreeMap<String, (Place, Checkpoint)>,
    groups: BTreeMap<String, u64>,
}

/// What a log has said.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Appended {
        batch: usize,
        first_offset: u64,
    },
    Producer {
        name: String,
        place: Place,
    },
    /// The so manieth commit of this group.
    Committed {
        group: String,
        number: usize,
    },
    /// It may delete what is older.
    MayDelete {
        below: u64,
    },
    /// It was opened, and read.
    Holds(Found),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    pub(super) batches: Vec<Arc<Batch>>,
    /// What each producer has saved at a place, and the batch there.
    pub(super) places: BTreeMap<String, BTreeMap<Place, (Checkpoint, Option<usize>)>>,
    /// The offsets that each group was set to, in order.
    pub(super) commits: BTreeMap<String, Vec<u64>>,
    /// With the number of changes of the disk before it.
    said: Vec<(usize, Said)>,
    pub(super) clock_ms: u64,
}

/// What a log must hold.
#[derive(Default)]
struct Wanted {
    batches: BTreeMap<usize, u64>,
    producers: BTreeMap<String, Place>,
    groups: BTreeMap<String, usize>,
    deleted_below: u64,
}

impl Truth {
    pub(super) fn new(clock_ms: u64) -> Self {
        Self { clock_ms, ..Self::default() }
    }

    pub(super) fn note(&mut self, changes: usize, said: Said) {
        self.said.push((changes, said));
    }

    /// Forgets what was said after so many changes: the power was cut there.
    pub(super) fn cut(&mut self, changes: usize) {
        self.said.retain(|(at, _)| *at <= changes);
        self.said.iter_mut().for_each(|(at, _)| *at = 0);
    }

    /// Sends a batch, and says which it is.
    pub(super) fn send(&mut self, batch: Batch, checkpoint: Option<Checkpoint>) -> usize {
        let number = self.batches.len();
        if let (Some((name, place)), Some(checkpoint)) = (&batch.producer, checkpoint) {
            let has_records = !batch.payloads.is_empty();
            let saved = (checkpoint, has_records.then_some(number));
            self.places.entry(name.clone()).or_default().insert(*place, saved);
        }
        self.batches.push(Arc::new(batch));
        number
    }

    /// Whether a log that was found so has all that was acknowledged by then, and nothing in part.
    pub(super) fn check(&self, found: &Found, changes: usize) -> Result<(), String> {
        let wanted = self.wanted(changes);
        for (batch, offset) in &wanted.batches {
            let is_there = found.batches.get(batch) == Some(offset);
            if !is_there && *offset >= wanted.deleted_below {
                return Err(format!("acknowledged batch {batch} of offset {offset} is missing"));
            }
        }
        for (name, place) in &wanted.producers {
            let found = found.producers.get(name).map(|(found, _)| found);
            if found.is_none_or(|found| found < place) {
                return Err(format!("producer {name} is at {found:?}, and was at {place:?}"));
            }
        }
        for (name, (place, checkpoint)) in &found.producers {
            self.check_producer(name, *place, checkpoint, (found, &wanted))?;
        }
        self.check_groups(found, &wanted)
    }

    fn check_producer(
        &self,
        name: &str,
        place: Place,
        checkpoint: &Checkpoint,
        (found, wanted): (&Found, &Wanted),
    ) -> Result<(), String> {
        let known = self.places.get(name).and_then(|places| places.get(&place));
        let Some((saved, batch)) = known else {
            return Err(format!("producer {name} was never at {place:?}"));
        };
        if saved != checkpoint {
            return Err(format!("the checkpoint of {name} is not that of {place:?}"));
        }
        if wanted.producers.get(name).is_none_or(|acknowledged| *acknowledged < place)
            && batch.is_some_and(|batch| !found.batches.contains_key(&batch))
        {
            return Err(format!("producer {name} is at {place:?}, but that batch is missing"));
        }
        for batch in found.batches.keys() {
            match &self.batches[*batch].producer {
                Some((of, at)) if of == name && *at > place => {
                    return Err(format!("batch {batch} of {name} is there, but not its place"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_groups(&self, found: &Found, wanted: &Wanted) -> Result<(), String> {
        for (group, commits) in &self.commits {
            let offset = found.groups.get(group);
            let number = wanted.groups.get(group);
            let is_right = match (offset, number) {
                (None, None) => true,
                (None, Some(_)) => false,
                (Some(offset), number) => {
                    commits[number.copied().unwrap_or_default()..].contains(offset)
                }
            };
            if !is_right {
                return Err(format!("group {group} is at {offset:?}, of {commits:?} {number:?}"));
            }
        }
        Ok(())
    }

    fn wanted(&self, changes: usize) -> Wanted {
        let mut wanted = Wanted::default();
        for (_, said) in self.said.iter().filter(|(at, _)| *at <= changes) {
            match said {
                Said::Appended { batch, first_offset } => {
                    wanted.batches.insert(*batch, *first_offset);
                }
                Said::Producer { name, place } => {
                    wanted.producers.insert(name.clone(), *place);
                }
                Said::Committed { group, number } => {
                    wanted.groups.insert(group.clone(), *number);
                }
                Said::MayDelete { below } => {
                    wanted.deleted_below = wanted.deleted_below.max(*below);
                }
                Said::Holds(found) => {
                    wanted.batches.extend(&found.batches);
                    let places = found.producers.iter();
                    wanted.producers.extend(places.map(|(name, (at, _))| (name.clone(), *at)));
                }
            }
        }
        wanted
    }

    /// Reads a whole stream, and refuses batches that are not whole or not as they were sent.
    pub(super) async fn find(&self, stream: &Stream) -> Result<Found, String> {
        let state = stream.state();
        let mut found = Found { end: state.next_offset, ..Found::default() };
        for (name, epoch, sequence) in state.producers {
            let checkpoint = stream.checkpoint(&name);
            found.producers.insert(name, ((epoch, sequence), checkpoint));
        }
        for group in state.groups {
            found.groups.extend(group.committed.map(|offset| (group.name, offset)));
        }
        self.read(stream, &mut found).await?;
        Ok(found)
    }

    async fn read(&self, stream: &Stream, found: &mut Found) -> Result<(), String> {
        let mut whole = HashSet::new();
        let mut open: Option<(usize, usize)> = None;
        let subscribed = stream.subscribe(everything()).map_err(|error| error.to_string())?;
        let mut subscription = subscribed;
        while found.end > 0 {
            let event = subscription.next().await.map_err(|error| format!("read: {error}"))?;
            let Event::Records { records, next_offset, end_offset } = event else { continue };
            for record in records {
                let (batch, number) = parse(&record.key)?;
                let expected = open.take().unwrap_or((batch, 0));
                let payloads = &self.batches[batch].payloads;
                if (batch, number) != expected || payloads[number] != record.payload {
                    return Err(format!("record {number} of batch {batch} after {expected:?}"));
                }
                if number == 0 {
                    found.batches.insert(batch, record.offset);
                }
                if number + 1 < payloads.len() {
                    open = Some((batch, number + 1));
                } else if !whole.insert(batch) {
                    return Err(format!("batch {batch} is there twice"));
                }
            }
            if next_offset == end_offset {
                break;
            }
        }
        open.map_or(Ok(()), |next| Err(format!("the stream ends before {next:?}")))
    }
}

fn everything() -> Subscribe {
    Subscribe {
        group: String::new(),
        start: Start::Earliest,
        topics: Vec::new(),
        kinds: Vec::new(),
        origins: Vec::new(),
        addressee: None,
        max_bytes: 0,
        client: "test".to_owned(),
    }
}

/// The key of a record says its batch and which record of that it is.
fn parse(key: &[u8]) -> Result<(usize, usize), String> {
    let key = String::from_utf8_lossy(key);
    let parsed = key
        .split_once('/')
        .and_then(|(batch, number)| Some((batch.parse().ok()?, number.parse().ok()?)));
    parsed.ok_or_else(|| format!("{key} is not a key of ours"))
}
