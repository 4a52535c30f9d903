//! Which changes are written, as far as they may come again, and who writes those of a source.
//!
//! A source is a partition that the listener reads. What is known of it is in records of the sink's
//! own topic, each with a key of words:
//!
//! | key | value |
//! |---|---|
//! | `done SOURCE ID.N` | the changes of a transaction: their places, with a hash of their ids |
//! | `aside SOURCE ID.N` | the same for changes that were kept aside before |
//! | `claim SOURCE ID` | the producer ID writes changes of the source, or wants to |
//! | `sight` | nothing: who wrote it knows that it has read all that was there before |

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use super::record::Mark;

/// So long a change that was kept aside may come again after it was written: until the listener
/// has saved that it is done.
const ASIDE_TIME: Duration = Duration::from_secs(600);

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
    /// What is below is saved.
    floor: u64,
    /// Who claimed the source, in this order.
    claimants: Vec<String>,
}

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

impl Marks {
    /// Takes a record of the topic.
    ///
    /// # Errors
    ///
    /// When it is none of ours.
    pub(super) fn take(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        let words: Vec<&str> = key.split(' ').collect();
        let not_ours = || format!("has a record with the key {key:?}, which no sink wrote");
        match (&words[..], value) {
            ([SIGHT], _) => {}
            (["claim", source, id], value) => self.of(source).claim(id, value.is_some()),
            ([kind @ ("done" | "aside"), source, _], Some(value)) => {
                let changes = decode(value).ok_or_else(not_ours)?;
                self.of(source).add(key, &changes, *kind == "aside");
            }
            (["done" | "aside", source, _], None) => self.of(source).remove(key),
            _ => return Err(not_ours()),
        }
        Ok(())
    }

    /// Takes what was written.
    ///
    /// # Errors
    ///
    /// As [`Marks::take`].
    pub(super) fn take_all(&mut self, records: &[MarkRecord]) -> Result<(), String> {
        records.iter().try_for_each(|(key, value)| self.take(key, value.as_deref()))
    }

    /// Whether the change is written.
    pub(super) fn has(&self, mark: &Mark) -> bool {
        let known = self.0.get(&mark.source).and_then(|source| source.done.get(&mark.offset));
        known == Some(&mark.hash)
    }

    /// An event came: it tells how far its source is saved.
    pub(super) fn note(&mut self, mark: &Mark) {
        let Some(saved) = mark.saved else { return };
        let marks = self.of(&mark.source);
        // Below what is saved nothing comes: unless the listener was set back, or the source began
        // anew.
        let is_set_back = mark.offset < marks.floor;
        marks.floor = if is_set_back { saved } else { marks.floor.max(saved) };
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
        name: &str,
    ) -> Vec<MarkRecord> {
        let mut groups = BTreeMap::<(&str, bool), Vec<(u64, u32)>>::new();
        for mark in marks {
            let key = (&*mark.source, mark.saved.is_none());
            groups.entry(key).or_default().push((mark.offset, mark.hash));
        }
        let sources: BTreeSet<&str> = groups.keys().map(|(source, _)| *source).collect();
        let known = sources.into_iter().filter_map(|source| self.0.get(source));
        let outdated = known.flat_map(SourceMarks::outdated).map(|key| (key.to_owned(), None));
        let mut records: Vec<MarkRecord> = outdated.collect();
        for ((source, is_aside), mut changes) in groups {
            changes.sort_unstable();
            let kind = if is_aside { "aside" } else { "done" };
            records.push((format!("{kind} {source} {name}"), Some(encode(&changes))));
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
    fn outdated(&self) -> impl Iterator<Item = &str> {
        let below = self.by_end.range(..(self.floor + 1, String::new())).map(|(_, key)| &**key);
        let is_old = |group: &Group| group.is_aside && group.since.elapsed() > ASIDE_TIME;
        let aside = self.groups.iter().filter(move |(_, group)| is_old(group));
        below.chain(aside.map(|(key, _)| &**key))
    }
}

/// Offsets as differences in groups of seven bits, the lowest first, each with four bytes of hash.
fn encode(changes: &[(u64, u32)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(changes.len() * 6);
    let mut before = 0;
    for (offset, hash) in changes {
        let mut left = offset - before;
        before = *offset;
        while left >= 0x80 {
            bytes.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        bytes.push(left as u8);
        bytes.extend(hash.to_le_bytes());
    }
    bytes
}

fn decode(mut bytes: &[u8]) -> Option<Vec<(u64, u32)>> {
    let (mut changes, mut offset) = (Vec::new(), 0_u64);
    while !bytes.is_empty() {
        let (mut step, mut shift) = (0_u64, 0);
        loop {
            let (first, rest) = bytes.split_first()?;
            bytes = rest;
            step |= u64::from(first & 0x7f).checked_shl(shift)?;
            if first & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        let (hash, rest) = bytes.split_first_chunk::<4>()?;
        bytes = rest;
        offset = offset.checked_add(step)?;
        changes.push((offset, u32::from_le_bytes(*hash)));
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(offset: u64, hash: u32, saved: Option<u64>) -> Mark {
        Mark { source: "t/1".to_owned(), offset, saved, hash }
    }

    /// Writes changes, as a transaction does.
    fn write(marks: &mut Marks, name: &str, written: &[Mark]) -> Vec<MarkRecord> {
        written.iter().for_each(|mark| marks.note(mark));
        let records = marks.records(written.iter(), name);
        marks.take_all(&records).unwrap();
        records
    }

    #[test]
    fn what_is_written_is_read_again() {
        let changes = [(0, 1), (1, u32::MAX), (127, 0), (128, 3), (1 << 40, 4), (u64::MAX, 5)];
        assert_eq!(decode(&encode(&changes)).unwrap(), changes);
        assert_eq!(decode(&encode(&changes)[..7]), None);
        assert_eq!(decode(&[0x80; 20]), None);
        assert_eq!(decode(b"").unwrap(), []);
    }

    #[test]
    fn a_change_is_known_until_it_is_saved() {
        let mut marks = Marks::default();
        write(&mut marks, "a.1", &[mark(12, 7, Some(10)), mark(10, 8, Some(10))]);
        assert!(marks.has(&mark(10, 8, None)) && marks.has(&mark(12, 7, None)));
        assert!(
            !marks.has(&mark(11, 7, None))
                && !marks.has(&Mark { source: "t/2".to_owned(), ..mark(10, 8, None) })
        );
        let records = write(&mut marks, "a.2", &[mark(13, 9, Some(12))]);
        assert_eq!(records.len(), 1, "12 is not saved");
        let records = write(&mut marks, "a.3", &[mark(14, 9, Some(13))]);
        assert_eq!(records[0], ("done t/1 a.1".to_owned(), None));
        assert!(!marks.has(&mark(10, 8, None)) && marks.has(&mark(13, 9, None)));
    }

    #[test]
    fn another_event_at_the_same_place_is_not_the_same() {
        let mut marks = Marks::default();
        write(&mut marks, "a.1", &[mark(10, 7, Some(10))]);
        assert!(!marks.has(&mark(10, 8, Some(0))));
    }

    #[test]
    fn what_was_kept_aside_is_known_though_it_is_below_what_is_saved() {
        let mut marks = Marks::default();
        write(&mut marks, "a.1", &[mark(20, 7, Some(20)), mark(3, 8, None)]);
        write(&mut marks, "a.2", &[mark(30, 9, Some(30))]);
        assert!(marks.has(&mark(3, 8, None)) && !marks.has(&mark(20, 7, None)));
    }

    #[test]
    fn a_source_that_was_set_back_keeps_what_is_written_then() {
        let mut marks = Marks::default();
        write(&mut marks, "a.1", &[mark(100, 7, Some(100))]);
        write(&mut marks, "a.2", &[mark(5, 8, Some(5))]);
        write(&mut marks, "a.3", &[mark(6, 9, Some(5))]);
        assert!(marks.has(&mark(5, 8, None)));
    }

    #[test]
    fn who_claims_a_source_last_has_it() {
        let mut marks = Marks::default();
        let claim = |marks: &mut Marks, id: &str, value: Option<&[u8]>| {
            marks.take(&claim_key("t/1", id), value).unwrap();
        };
        claim(&mut marks, "a", Some(b""));
        claim(&mut marks, "b", Some(b""));
        assert_eq!(marks.claimants("t/1"), ["a", "b"]);
        claim(&mut marks, "a", None);
        assert_eq!(marks.claimants("t/1"), ["b"]);
        assert!(marks.take("no key of ours", None).is_err());
        assert!(marks.take(SIGHT, Some(b"x")).is_ok());
    }
}
