//! Which changes are written, as far as they may come again, and who writes those of a source.
//!
//! A source is a partition that the listener reads. What is known of it is in records of the sink's
//! own topic, each with a key of words:
//!
//! | key | value |
//! |---|---|
//! | `done SOURCE ID.N` | how far the source was saved; changes of a transaction: place and hash |
//! | `aside SOURCE ID.N` | the same for changes that were kept aside before |
//! | `claim SOURCE ID` | the producer ID writes changes of the source, or wants to |
//! | `sight` | nothing: who wrote it knows that it has read all that was there before |

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use service::clock::now_ms;

use super::record::Mark;

/// So long a change that was kept aside may come again after it was written: until the listener
/// has saved that it is done.
const ASIDE_TIME: Duration = Duration::from_secs(600);

/// What was written so long before a process got a source was surely written before.
const MAX_CLOCK_DIFFERENCE_MS: u64 = 1000;

/// The key of the record that is written to be seen.
pub(super) const SIGHT: &str = "sight";

/// A change of the topic: a key, and its value or that it is removed.
pub(super) type MarkRecord = (String, Option<Vec<u8>>);

#[derive(Debug, Default)]
pub(super) struct Marks(HashMap<String, SourceMarks>);

/// What is known of a source.
#[derive(Debug, Default)]
struct SourceMarks {
    /// The hashes of the ids of changes that are written, by offset.
    done: HashMap<u64, u32>,
    groups: HashMap<String, Group>,
    /// The groups that go when all offsets below the number are saved.
    by_end: BTreeSet<(u64, String)>,
    told: Option<Told>,
    /// Who claimed the source, in this order.
    claimants: Vec<String>,
}

/// What the last record of a source tells.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// What is below was saved.
    floor: u64,
    at_ms: u64,
}

/// How far sources are saved, as far as this process was told with their changes.
#[derive(Debug, Default)]
pub(super) struct Floors(HashMap<String, u64>);

/// The changes of a record of the topic.
#[derive(Debug)]
struct Group {
    changes: Vec<(u64, u32)>,
    is_aside: bool,
    since: Instant,
}

/// The key with which a producer claims a source.
pub(super) fn claim_key(source: &str, id: &str) -> String {
    format!("claim {source} {id}")
}

impl Floors {
    /// A change came.
    pub(super) fn note(&mut self, mark: &Mark) {
        let Some(floor) = self.0.get_mut(&mark.source) else {
            self.0.insert(mark.source.clone(), mark.saved);
            return;
        };
        // Below what is saved nothing comes, unless the listener was set back.
        let is_set_back = !mark.is_aside && mark.offset < *floor;
        *floor = if is_set_back { mark.saved } else { mark.saved.max(*floor) };
    }

    fn of(&self, source: &str) -> u64 {
        self.0.get(source).copied().unwrap_or_default()
    }
}

impl Marks {
    /// Takes a record of the topic, which was written at that time.
    ///
    /// # Errors
    ///
    /// When it is none of ours.
    pub(super) fn take(
        &mut self,
        (key, value): (&str, Option<&[u8]>),
        at_ms: u64,
    ) -> Result<(), String> {
        let words: Vec<&str> = key.split(' ').collect();
        let not_ours = || format!("has a record with the key {key:?}, which no sink wrote");
        match (&words[..], value) {
            ([SIGHT], _) => {}
            (["claim", source, id], value) => self.of(source).claim(id, value.is_some()),
            ([kind @ ("done" | "aside"), source, _], Some(value)) => {
                let (floor, changes) = decode(value).ok_or_else(not_ours)?;
                let source = self.of(source);
                source.told = Some(Told { floor, at_ms });
                source.add(key, &changes, *kind == "aside");
            }
            (["done" | "aside", source, _], None) => self.of(source).remove(key),
            _ => return Err(not_ours()),
        }
        Ok(())
    }

    /// Takes what was written just now.
    ///
    /// # Errors
    ///
    /// As [`Marks::take`].
    pub(super) fn take_all(&mut self, records: &[MarkRecord]) -> Result<(), String> {
        let now = now_ms();
        records.iter().try_for_each(|(key, value)| self.take((key, value.as_deref()), now))
    }

    /// Whether the change is written.
    pub(super) fn has(&self, mark: &Mark) -> bool {
        let known = self.0.get(&mark.source).and_then(|source| source.done.get(&mark.offset));
        known == Some(&mark.hash)
    }

    /// Whether the source of a change is another's by now, who has saved more of it than we were
    /// told: then it may be written, though there is no mark of it any more. It is not so if the
    /// process has got the source since: then the listener was set back, or the source begins anew.
    pub(super) fn is_stale(&self, mark: &Mark, floors: &Floors) -> bool {
        let told = self.0.get(&mark.source).and_then(|source| source.told);
        told.is_some_and(|told| {
            let is_since = mark.assigned_ms > told.at_ms + MAX_CLOCK_DIFFERENCE_MS;
            told.floor > floors.of(&mark.source) && !is_since
        })
    }

    /// Who claims the source, in this order.
    pub(super) fn claimants(&self, source: &str) -> &[String] {
        self.0.get(source).map_or(&[], |source| &source.claimants)
    }

    /// What is to be written with changes of these marks: that they are done, and that what is
    /// saved since is not needed any more. The name is that of nothing before.
    pub(super) fn records<'m>(
        &self,
        marks: impl Iterator<Item = &'m Mark>,
        (floors, name): (&Floors, &str),
    ) -> Vec<MarkRecord> {
        let mut groups = BTreeMap::<(&str, bool), Vec<(u64, u32)>>::new();
        for mark in marks {
            let key = (&*mark.source, mark.is_aside);
            groups.entry(key).or_default().push((mark.offset, mark.hash));
        }
        let sources: BTreeSet<&str> = groups.keys().map(|(source, _)| *source).collect();
        let known = sources.into_iter().filter_map(|name| Some((self.0.get(name)?, name)));
        let outdated = known.flat_map(|(source, name)| source.outdated(floors.of(name)));
        let outdated = outdated.map(|key| (key.to_owned(), None));
        let mut records: Vec<MarkRecord> = outdated.collect();
        for ((source, is_aside), mut changes) in groups {
            changes.sort_unstable();
            let kind = if is_aside { "aside" } else { "done" };
            records.push((
                format!("{kind} {source} {name}"),
                Some(encode(floors.of(source), &changes)),
            ));
        }
        records
    }

    fn of(&mut self, source: &str) -> &mut SourceMarks {
        if !self.0.contains_key(source) {
            self.0.insert(source.to_owned(), SourceMarks::default());
        }
        self.0.entry(source.to_owned()).or_default()
    }
}

impl SourceMarks {
    fn claim(&mut self, id: &str, claims: bool) {
        let known = self.claimants.iter().any(|claimant| claimant == id);
        match claims {
            true if known => {}
            true => self.claimants.push(id.to_owned()),
            false => self.claimants.retain(|claimant| claimant != id),
        }
    }

    fn add(&mut self, key: &str, changes: &[(u64, u32)], is_aside: bool) {
        if self.groups.contains_key(key) {
            return;
        }
        self.done.extend(changes.iter().copied());
        if !is_aside && let Some((last, _)) = changes.last() {
            self.by_end.insert((last + 1, key.to_owned()));
        }
        let group = Group { changes: changes.to_vec(), is_aside, since: Instant::now() };
        self.groups.insert(key.to_owned(), group);
    }

    fn remove(&mut self, key: &str) {
        let Some(group) = self.groups.remove(key) else { return };
        if let Some((last, _)) = group.changes.last() {
            self.by_end.remove(&(last + 1, key.to_owned()));
        }
        for (offset, hash) in group.changes {
            // It may be that of a later event, in a source that began anew.
            if self.done.get(&offset) == Some(&hash) {
                self.done.remove(&offset);
            }
        }
    }

    /// The groups that are not needed any more.
    fn outdated(&self, floor: u64) -> impl Iterator<Item = &str> {
        let below = self.by_end.range(..(floor + 1, String::new())).map(|(_, key)| &**key);
        let is_old = |group: &Group| group.is_aside && group.since.elapsed() > ASIDE_TIME;
        let aside = self.groups.iter().filter(move |(_, group)| is_old(group));
        below.chain(aside.map(|(key, _)| &**key))
    }
}

/// The floor, and offsets as differences, each with four bytes of hash. Numbers are in groups of
/// seven bits, the lowest first.
fn encode(floor: u64, changes: &[(u64, u32)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(10 + changes.len() * 6);
    put(floor, &mut bytes);
    let mut before = 0;
    for (offset, hash) in changes {
        put(offset - before, &mut bytes);
        before = *offset;
        bytes.extend(hash.to_le_bytes());
    }
    bytes
}

fn decode(mut bytes: &[u8]) -> Option<(u64, Vec<(u64, u32)>)> {
    let floor = take_number(&mut bytes)?;
    let (mut changes, mut offset) = (Vec::new(), 0_u64);
    while !bytes.is_empty() {
        offset = offset.checked_add(take_number(&mut bytes)?)?;
        let (hash, rest) = bytes.split_first_chunk::<4>()?;
        bytes = rest;
        changes.push((offset, u32::from_le_bytes(*hash)));
    }
    Some((floor, changes))
}

fn put(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0_u64, 0);
    loop {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests;
