//! Knows which events are unfinished, and so how far each partition may be committed.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use event_bus::{Assignment, Partition};
use service::clock::now_ms;

use super::table_counts::TableCounts;
use crate::{event::TakenEvent, table_name::TableName};

/// The partitions that are ours, and the unfinished events of each.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    partitions: BTreeMap<Partition, TrackedPartition>,
    next_generation: u64,
    /// How many events are unfinished.
    waiting: u64,
    /// The unfinished events of partitions that went, since somebody asked.
    returned: Returned,
}

/// Events that are not for this process any more.
#[derive(Debug, Default)]
pub(super) struct Returned {
    pub(super) events: u64,
    pub(super) tables: TableCounts,
}

#[derive(Debug)]
struct TrackedPartition {
    generation: u64,
    /// Events from the first unfinished one on, in order of their offsets.
    events: VecDeque<Tracked>,
    /// All offsets below this were seen.
    scanned: u64,
    committed: u64,
    assigned_ms: u64,
}

#[derive(Debug)]
struct Tracked {
    offset: u64,
    committed_ms: u64,
    table: Arc<TableName>,
    is_done: bool,
}

impl TrackedPartition {
    /// The next offset that is not finished.
    fn position(&self) -> u64 {
        self.events.front().map_or(self.scanned, |event| event.offset)
    }
}

impl Tracker {
    /// The partition is ours. Unfinished events of an earlier assignment do not count any more.
    pub(super) fn assign(&mut self, assignment: &Assignment) {
        let Assignment { partition, position } = assignment;
        let tracked = TrackedPartition {
            generation: self.next_generation,
            events: VecDeque::new(),
            scanned: *position,
            committed: *position,
            assigned_ms: now_ms(),
        };
        self.next_generation += 1;
        self.remove(partition);
        self.partitions.insert(partition.clone(), tracked);
    }

    /// The partition is not ours any more.
    pub(super) fn remove(&mut self, partition: &Partition) {
        let events = self.partitions.remove(partition).map(|tracked| tracked.events);
        for event in events.into_iter().flatten().filter(|event| !event.is_done) {
            self.waiting -= 1;
            self.returned.events += 1;
            self.returned.tables.of_table(&event.table).returned += 1;
        }
    }

    /// The unfinished events of partitions that went, since the last call.
    pub(super) fn take_returned(&mut self) -> Returned {
        std::mem::take(&mut self.returned)
    }

    /// How many events are unfinished.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// The number of the partition's assignment, if it is ours.
    pub(super) fn generation(&self, partition: &Partition) -> Option<u64> {
        Some(self.partitions.get(partition)?.generation)
    }

    /// The number that the next assignment will have.
    pub(super) fn next_generation(&self) -> u64 {
        self.next_generation
    }

    /// Whether the partition that an event came with is still ours.
    pub(super) fn holds(&self, event: &TakenEvent) -> bool {
        self.generation(event.place().0) == Some(event.generation)
    }

    /// An event came that must be finished.
    pub(super) fn begin(&mut self, event: &TakenEvent) {
        let (partition, offset) = event.place();
        if let Some(tracked) = self.partitions.get_mut(partition) {
            let (committed_ms, table) = (event.committed_ms(), Arc::clone(event.table()));
            tracked.events.push_back(Tracked { offset, committed_ms, table, is_done: false });
            tracked.scanned = tracked.scanned.max(offset + 1);
            self.waiting += 1;
        }
    }

    /// All offsets below `next` were seen. Those for which `begin` was not called need no work.
    pub(super) fn scan(&mut self, partition: &Partition, next: u64) {
        if let Some(tracked) = self.partitions.get_mut(partition) {
            tracked.scanned = tracked.scanned.max(next);
        }
    }

    /// An event is finished. Ignores an event of an earlier assignment, and one that is finished
    /// already; gives `false` for these.
    pub(super) fn finish(&mut self, event: &TakenEvent) -> bool {
        let (partition, offset) = event.place();
        self.holds(event) && self.pass(partition, offset)
    }

    /// The event at this place of ours needs no work any more; `false` if that was so before.
    pub(super) fn pass(&mut self, partition: &Partition, offset: u64) -> bool {
        let Some(tracked) = self.partitions.get_mut(partition) else { return false };
        let found = tracked.events.binary_search_by_key(&offset, |event| event.offset);
        let found = found.ok().and_then(|index| tracked.events.get_mut(index));
        let is_new = found.is_some_and(|event| !std::mem::replace(&mut event.is_done, true));
        self.waiting -= u64::from(is_new);
        while tracked.events.front().is_some_and(|event| event.is_done) {
            tracked.events.pop_front();
        }
        is_new
    }

    /// The partitions that moved since they were last committed, and how far.
    pub(super) fn uncommitted(&self) -> Vec<(Partition, u64)> {
        let moved =
            self.partitions.iter().filter(|(_, tracked)| tracked.position() > tracked.committed);
        moved.map(|(partition, tracked)| (partition.clone(), tracked.position())).collect()
    }

    /// How far a partition of ours may be committed.
    pub(super) fn position(&self, partition: &Partition) -> Option<u64> {
        Some(self.partitions.get(partition)?.position())
    }

    /// How far a partition is committed, and since when it is ours; zeros for one that is not.
    pub(super) fn standing(&self, partition: &Partition) -> (u64, u64) {
        let tracked = self.partitions.get(partition);
        tracked.map(|tracked| (tracked.committed, tracked.assigned_ms)).unwrap_or_default()
    }

    /// These were committed.
    pub(super) fn committed(&mut self, offsets: &[(Partition, u64)]) {
        for (partition, offset) in offsets {
            if let Some(tracked) = self.partitions.get_mut(partition) {
                tracked.committed = tracked.committed.max(*offset);
            }
        }
    }

    /// Whether a place is that of the first unfinished event of its partition.
    pub(super) fn is_front(&self, (partition, offset): &(Partition, u64)) -> bool {
        let front = self.partitions.get(partition).and_then(|tracked| tracked.events.front());
        front.is_some_and(|event| event.offset == *offset)
    }

    /// When the oldest unfinished event was committed in the source, in ms since the Unix epoch.
    pub(super) fn oldest_unfinished_ms(&self) -> Option<u64> {
        let fronts = self.partitions.values().filter_map(|tracked| tracked.events.front());
        fronts.map(|event| event.committed_ms).min()
    }

    /// All offsets of the partition below this were seen, if this assignment of it is ours.
    pub(super) fn scanned(&self, partition: &Partition, generation: u64) -> Option<u64> {
        let tracked = self.partitions.get(partition)?;
        (tracked.generation == generation).then_some(tracked.scanned)
    }

    /// The partitions that are ours, with the numbers of their assignments.
    pub(super) fn owned(&self) -> impl Iterator<Item = (Partition, u64)> {
        self.partitions.iter().map(|(partition, it)| (partition.clone(), it.generation))
    }

    /// The partitions that are ours.
    pub(super) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event_of;

    fn partition(number: u32) -> Partition {
        Partition { topic: "t".into(), number }
    }

    fn assigned(position: u64) -> (Tracker, Partition) {
        let mut tracker = Tracker::default();
        tracker.assign(&Assignment { partition: partition(0), position });
        (tracker, partition(0))
    }

    #[test]
    fn only_what_lies_below_the_lowest_unfinished_event_is_committed() {
        let (mut tracker, p) = assigned(10);
        let events = [10, 11, 15].map(|offset| event_of(&p, offset, 0));
        events.iter().for_each(|event| tracker.begin(event));
        tracker.finish(&events[1]);
        tracker.finish(&events[2]);
        assert_eq!(tracker.uncommitted(), []);
        assert_eq!([10, 15].map(|offset| tracker.is_front(&(p.clone(), offset))), [true, false]);
        assert_eq!(tracker.oldest_unfinished_ms(), Some(events[0].committed_ms()));
        tracker.finish(&events[0]);
        assert_eq!(tracker.uncommitted(), [(p.clone(), 16)]);
        tracker.committed(&[(p, 16)]);
        assert_eq!(tracker.uncommitted(), []);
    }

    #[test]
    fn a_quiet_group_moves_on_by_what_was_scanned() {
        let (mut tracker, p) = assigned(0);
        tracker.scan(&p, 7);
        assert_eq!(tracker.uncommitted(), [(p.clone(), 7)]);
        let event = event_of(&p, 8, 0);
        tracker.begin(&event);
        tracker.scan(&p, 20);
        assert_eq!(tracker.uncommitted(), [(p.clone(), 8)]);
        tracker.finish(&event);
        assert_eq!(tracker.uncommitted(), [(p, 20)]);
    }

    #[test]
    fn a_result_from_before_the_partition_was_lost_does_not_count() {
        let (mut tracker, p) = assigned(0);
        let early = event_of(&p, 0, tracker.generation(&p).unwrap());
        tracker.begin(&early);
        tracker.remove(&p);
        tracker.finish(&early);
        tracker.assign(&Assignment { partition: p.clone(), position: 0 });
        let late = event_of(&p, 0, tracker.generation(&p).unwrap());
        tracker.begin(&late);
        tracker.finish(&early);
        assert_eq!(tracker.uncommitted(), []);
        assert!(tracker.holds(&late) && !tracker.holds(&early));
        tracker.finish(&late);
        assert_eq!(tracker.uncommitted(), [(p, 1)]);
    }

    #[test]
    fn what_waits_and_what_went_is_counted() {
        let (mut tracker, p) = assigned(0);
        let events = [0, 1, 2].map(|offset| event_of(&p, offset, 0));
        events.iter().for_each(|event| tracker.begin(event));
        assert_eq!([&events[1], &events[1]].map(|event| tracker.finish(event)), [true, false]);
        assert_eq!(tracker.waiting(), 2);
        tracker.remove(&p);
        assert!(!tracker.finish(&events[0]));
        assert_eq!((tracker.waiting(), tracker.take_returned().events), (0, 2));
        assert_eq!(tracker.take_returned().events, 0);
    }

    #[test]
    fn partitions_do_not_hold_each_other_back() {
        let (mut tracker, p) = assigned(0);
        tracker.assign(&Assignment { partition: partition(1), position: 0 });
        tracker.begin(&event_of(&p, 0, 0));
        tracker.scan(&partition(1), 3);
        assert_eq!(tracker.uncommitted(), [(partition(1), 3)]);
    }
}
