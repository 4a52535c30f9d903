//! Where a group begins, and where it goes on.
//!
//! We do not use the brokers' automatic reset. Before a member joins, [`begin`] finds the offsets
//! of `start` for the topics that are new to the group, and writes them down (`control`). When
//! partitions are assigned, [`entries`] says where each goes on, or why it cannot:
//!
//! | the group's offset | what is written down | then |
//! |---|---|---|
//! | there, for this topic | | goes on there |
//! | there, but older than what is written down | the group began again | begins as written |
//! | none | begins at an offset | begins there |
//! | none | nothing: the topic appeared later | begins with the topic's first record |
//! | only in other topics | nothing of the group at all | begins with the topic's first record |
//! | none in the whole topic | offsets were committed | the brokers forgot them: stops |
//! | | another topic of the same name | deleted and made again: stops |
//! | after the end of this topic | | the topic's end was cut off: stops |
//!
//! The group decides which topics are new, and not the config of one member: members with an older
//! or a newer `subscribe` come and go. So what is written down of a group only grows: every pattern
//! that a member ever asked for, and every topic that a member ever read. If a topic is none of
//! these, the user has added it: it begins at `start` as of now. A topic that leaves `subscribe`
//! and comes back goes on at its offset.

use std::{
    collections::{BTreeMap, HashSet},
    time::SystemTime,
};

use service::clock::{now_ms, since_epoch_ms};

use super::{
    control::{self, Begun, Changes, GroupRecords},
    offsets::{self, Committed, Moment, Note, Offsets},
    topic_id::{self, Described},
};
use crate::{Error, Partition, Result, Start, Subscription, TopicFilter};

/// Where a group goes on in a partition, and the note that its offsets are committed with.
#[derive(Clone, Debug)]
pub(super) struct PartitionStart {
    pub(super) partition: Partition,
    pub(super) offset: u64,
    pub(super) note: Note,
}

/// What is known of a group's topics when some of their partitions are assigned.
#[derive(Debug, Default)]
struct GroupPicture {
    topics: BTreeMap<String, Described>,
    committed: BTreeMap<Partition, Committed>,
    begun: BTreeMap<String, Begun>,
}

/// Resolves where the group begins in topics that are new to it; blocks.
pub(super) fn begin(offsets: &Offsets, wanted: &Subscription) -> Result<()> {
    let known = control::read(&offsets.cluster, &wanted.group)?;
    let (added, has_committed) = added(offsets, &known, offsets.topics(&wanted.topics)?)?;
    let mut start = wanted.start;
    if known.filter.is_none() && has_committed {
        // A topic that is new to the group looks like one that came while nobody read.
        start = Start::Earliest;
        let topics: Vec<&str> = added.iter().map(|topic| &*topic.topic).collect();
        tracing::warn!(
            topics = topics.join(" "),
            "the group has committed offsets, but the topic {} does not know the group: was that \
             topic deleted? Topics that the group has not read are read from their beginning",
            control::topic_name(&offsets.cluster)
        );
    }
    let mut changes = Changes::default();
    for (topic, begun) in resolve(offsets, &added, start)? {
        changes.topic(&wanted.group, &topic, &begun);
    }
    let before = known.filter.as_ref();
    let filter = before.map_or_else(|| wanted.topics.clone(), |filter| filter.or(&wanted.topics));
    if before != Some(&filter) {
        // Last: it says that all else is written.
        changes.group(&wanted.group, &filter);
    }
    control::write(&offsets.cluster, &changes)
}

/// The topics that the group was not asked to read earlier. A topic in which the group has
/// committed is none of them. Says also whether a member of ours has committed.
fn added(
    offsets: &Offsets,
    known: &GroupRecords,
    mut topics: Vec<Described>,
) -> Result<(Vec<Described>, bool)> {
    let was_asked_for = known.filter.as_ref().map(TopicFilter::matcher);
    topics.retain(|topic| {
        let is_asked_for = was_asked_for.as_ref().is_some_and(|passes| passes(&topic.topic));
        !is_asked_for && !known.topics.contains_key(&topic.topic)
    });
    let partitions = offsets::partitions(&topics);
    let committed = offsets.committed(&partitions)?;
    let by_us = committed.iter().flatten().any(|at| !at.note.id.is_empty());
    let all = partitions.iter().zip(&committed);
    let read: HashSet<&str> =
        all.filter(|(_, at)| at.is_some()).map(|(partition, _)| &*partition.topic).collect();
    topics.retain(|topic| !read.contains(&*topic.topic));
    Ok((topics, by_us))
}

fn resolve(offsets: &Offsets, topics: &[Described], start: Start) -> Result<Vec<(String, Begun)>> {
    let moment = match start {
        Start::Earliest => Moment::Earliest,
        Start::Latest => Moment::Latest,
        Start::Time(time) => Moment::Time(millis(time)),
    };
    let mut from = offsets.at(&offsets::partitions(topics), moment)?.into_iter();
    let since = now_ms();
    let begun = topics.iter().map(|topic| {
        let from = from.by_ref().take(topic.partitions as usize).collect();
        let begun = Begun { id: topic.id.clone(), since, from, committed: false };
        (topic.topic.clone(), begun)
    });
    Ok(begun.collect())
}

/// Where the group goes on in partitions that were just assigned; blocks. Leaves out partitions
/// whose topic is not there. What is new is committed by `commit`, and written down, before this
/// returns.
pub(super) fn entries(
    offsets: &Offsets,
    assigned: &[Partition],
    commit: impl Fn(offsets::Commits<'_>) -> Result<()>,
) -> Result<Vec<PartitionStart>> {
    let picture = GroupPicture::take(offsets, assigned)?;
    let group = &offsets.group;
    let mut entries = Vec::with_capacity(assigned.len());
    let mut new = Vec::new();
    // A topic that was deleted after the assignment will be taken from us.
    let there = |partition: &&Partition| picture.topics.contains_key(&*partition.topic);
    for partition in assigned.iter().filter(there) {
        let note = picture.note(group, partition)?;
        let offset = match picture.kept(group, partition)? {
            Some(offset) => offset,
            None => {
                let first = picture.first(group, partition)?;
                new.push((partition.clone(), first, note.clone()));
                first
            }
        };
        entries.push(PartitionStart { partition: partition.clone(), offset, note });
    }
    check(offsets, &entries)?;
    if !new.is_empty() {
        commit(&new)?;
    }
    picture.write_down(offsets, &entries)?;
    Ok(entries)
}

/// Checks that the next record of each partition is still there, or will come. Gives the oldest
/// offsets that are kept.
pub(super) fn check(offsets: &Offsets, entries: &[PartitionStart]) -> Result<Vec<u64>> {
    let partitions: Vec<Partition> = entries.iter().map(|entry| entry.partition.clone()).collect();
    let lows = offsets.at(&partitions, Moment::Earliest)?;
    let ends = offsets.at(&partitions, Moment::Latest)?;
    for ((entry, first), end) in entries.iter().zip(&lows).zip(ends) {
        let (group, partition) = (offsets.group.clone(), entry.partition.clone());
        if entry.offset < *first {
            let (committed, first) = (entry.offset, *first);
            return Err(Error::OffsetGone { group, partition, committed, first });
        }
        if entry.offset > end {
            // Where topics have no ids, only this shows that a topic was made again.
            let has_id = !topic_id::is_none(&entry.note.id);
            let replaced = || replaced(&group, &partition.topic);
            return Err(if has_id { Error::Truncated { group, partition } } else { replaced() });
        }
    }
    Ok(lows)
}

/// Checks by their ids that topics are the same as earlier. Gives the names of those that are gone.
pub(super) fn verify<'a>(
    group: &str,
    known: &BTreeMap<&'a str, &str>,
    now: &[Described],
) -> Result<Vec<&'a str>> {
    let mut gone = Vec::new();
    for (name, id) in known {
        match now.iter().find(|topic| topic.topic == *name) {
            Some(topic) if topic.id != *id => return Err(replaced(group, name)),
            Some(_) => {}
            None => gone.push(*name),
        }
    }
    Ok(gone)
}

impl GroupPicture {
    /// Asks for everything of the topics, not only for what is assigned: another member may have
    /// committed the rest.
    fn take(offsets: &Offsets, assigned: &[Partition]) -> Result<Self> {
        let mut names: Vec<&str> = assigned.iter().map(|partition| &*partition.topic).collect();
        names.sort_unstable();
        names.dedup();
        let topics = offsets.describe(&names)?;
        let partitions = offsets::partitions(&topics);
        let found = offsets.committed(&partitions)?;
        let committed = partitions.into_iter().zip(found);
        Ok(Self {
            committed: committed.filter_map(|(of, found)| Some((of, found?))).collect(),
            topics: topics.into_iter().map(|topic| (topic.topic.clone(), topic)).collect(),
            begun: control::read(&offsets.cluster, &offsets.group)?.topics,
        })
    }

    /// What to commit an offset of this partition with.
    fn note(&self, group: &str, partition: &Partition) -> Result<Note> {
        let Some(now) = self.topics.get(&*partition.topic) else {
            return Ok(Note::default());
        };
        match self.begun.get(&*partition.topic) {
            Some(begun) if begun.id != now.id => Err(replaced(group, &partition.topic)),
            Some(begun) => Ok(Note { id: now.id.clone(), since: begun.since }),
            None => Ok(Note { id: now.id.clone(), since: 0 }),
        }
    }

    /// The offset that the group has committed, if that still counts.
    fn kept(&self, group: &str, partition: &Partition) -> Result<Option<u64>> {
        let Some(committed) = self.committed.get(partition) else { return Ok(None) };
        let note = self.note(group, partition)?;
        let by_us = !committed.note.id.is_empty();
        if by_us && committed.note.since < note.since {
            return Ok(None);
        }
        if by_us && committed.note.id != note.id {
            return Err(replaced(group, &partition.topic));
        }
        Ok(Some(committed.offset))
    }

    /// Where the group begins.
    fn first(&self, group: &str, partition: &Partition) -> Result<u64> {
        let Some(begun) = self.begun.get(&*partition.topic) else { return Ok(0) };
        let of_topic = self.committed.keys().filter(|other| other.topic == partition.topic);
        let mut kept = of_topic.map(|other| self.kept(group, other));
        if begun.committed && !kept.any(|kept| matches!(kept, Ok(Some(_)))) {
            return Err(Error::OffsetsExpired {
                group: group.to_owned(),
                topic: partition.topic.to_string(),
            });
        }
        Ok(begun.from.get(partition.number as usize).copied().unwrap_or(0))
    }

    /// Writes down that offsets of these topics were committed.
    fn write_down(&self, offsets: &Offsets, entries: &[PartitionStart]) -> Result<()> {
        let mut new = BTreeMap::new();
        for entry in entries.iter().filter(|entry| !entry.note.id.is_empty()) {
            let topic = &*entry.partition.topic;
            let begun = self.begun.get(topic).cloned().unwrap_or_else(|| Begun {
                id: entry.note.id.clone(),
                since: entry.note.since,
                from: Vec::new(),
                committed: false,
            });
            if !begun.committed {
                new.insert(topic, Begun { committed: true, ..begun });
            }
        }
        let mut changes = Changes::default();
        for (topic, begun) in new {
            changes.topic(&offsets.group, topic, &begun);
        }
        control::write(&offsets.cluster, &changes)
    }
}

fn replaced(group: &str, topic: &str) -> Error {
    Error::TopicReplaced { group: group.to_owned(), topic: topic.to_owned() }
}

/// In ms since 1970.
pub(super) fn millis(time: SystemTime) -> i64 {
    i64::try_from(since_epoch_ms(time)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "g";

    fn partition(number: u32) -> Partition {
        Partition { topic: "t".into(), number }
    }

    /// Topic `t` with an id, what was written down of it, and offsets committed with notes.
    fn picture(
        id: &str,
        begun: Option<Begun>,
        committed: &[(u32, u64, &str, u64)],
    ) -> GroupPicture {
        let (topic, id) = ("t".to_owned(), id.to_owned());
        let topic = Described { topic, id, partitions: 3, may_write: None };
        let committed = committed.iter().map(|(number, offset, id, since)| {
            let note = Note { id: (*id).to_owned(), since: *since };
            (partition(*number), Committed { offset: *offset, note })
        });
        GroupPicture {
            topics: [("t".to_owned(), topic)].into(),
            committed: committed.collect(),
            begun: begun.map(|begun| ("t".to_owned(), begun)).into_iter().collect(),
        }
    }

    fn begun(id: &str, since: u64, committed: bool) -> Option<Begun> {
        Some(Begun { id: id.to_owned(), since, from: vec![10, 20], committed })
    }

    fn offset_in(picture: &GroupPicture, number: u32) -> Result<u64> {
        let partition = partition(number);
        picture.note(GROUP, &partition)?;
        match picture.kept(GROUP, &partition)? {
            Some(offset) => Ok(offset),
            None => picture.first(GROUP, &partition),
        }
    }

    #[test]
    fn a_group_goes_on_where_it_was_and_begins_where_it_is_written() {
        let cases = [
            ("a later topic", picture("x", None, &[]), 0, 0),
            ("new, with its start", picture("x", begun("x", 5, false), &[]), 1, 20),
            ("a later partition", picture("x", begun("x", 5, false), &[]), 2, 0),
            ("committed", picture("x", begun("x", 5, true), &[(1, 25, "x", 5)]), 1, 25),
            ("its neighbour is", picture("x", begun("x", 5, true), &[(1, 25, "x", 5)]), 0, 10),
            ("begun again", picture("x", begun("x", 9, false), &[(1, 25, "x", 5)]), 1, 20),
            ("by hand", picture("x", begun("x", 5, true), &[(1, 3, "", 0)]), 1, 3),
        ];
        for (what, picture, number, expected) in cases {
            assert_eq!(offset_in(&picture, number).unwrap(), expected, "{what}");
        }
    }

    #[test]
    fn another_topic_of_the_name_and_forgotten_offsets_are_told() {
        let replaced = [
            picture("y", begun("x", 5, true), &[]),
            picture("y", begun("x", 5, true), &[(0, 25, "x", 5)]),
            picture("y", None, &[(0, 25, "x", 0)]),
        ];
        for picture in replaced {
            let error = offset_in(&picture, 0).unwrap_err();
            assert!(matches!(error, Error::TopicReplaced { .. }), "{error}");
        }
        for committed in [&[][..], &[(1, 25, "x", 4)]] {
            let error = offset_in(&picture("x", begun("x", 5, true), committed), 0).unwrap_err();
            assert!(matches!(error, Error::OffsetsExpired { .. }), "{error}");
        }
    }
}
