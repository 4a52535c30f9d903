//! Compares what comes from the bus with the book that `dts` keeps of what it gave to the bus.
//!
//! The first record of a line in each append says how many records of its line come before it
//! (`event_bus::Mark`). We count the records from such a mark on. The next mark must have the
//! number that we counted. So each member of a group checks its own partitions, from the first mark
//! of each assignment on: whatever is delivered again, or was skipped before, raises no alarm.

use std::{collections::HashMap, sync::Arc};

use event_bus::{Delivery, Mark, Partition, TopicLines};

/// What we count in one way: see `event_bus::Book`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct LineKey {
    partition: Partition,
    topic: Arc<str>,
    /// Whether its records are for this listener only: rows of its full syncs.
    is_ours: bool,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    origin: u64,
    /// How many records of the line come before its next one.
    next: u64,
    /// The offset of its last record.
    offset: u64,
}

/// What is missing before a record; negative for records that are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) records: i64,
    /// The offset of the line's record before.
    pub(super) after: u64,
}

/// The lines that we count.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    lines: HashMap<LineKey, Line>,
    /// The line of the record before: most records are of the same line.
    hot: Option<(LineKey, Line)>,
    /// How many records were counted.
    counted: u64,
}

impl Ledger {
    /// The partition is assigned, or goes: its lines begin with their next mark.
    pub(super) fn forget(&mut self, partition: &Partition) {
        self.cool();
        self.lines.retain(|key, _| key.partition != *partition);
    }

    /// Counts a record; says what is missing before it. `is_ours` says that the record is for this
    /// listener only.
    pub(super) fn count(&mut self, delivery: &Delivery, is_ours: bool) -> Option<Missing> {
        self.counted += 1;
        let Delivery { partition, topic, offset, headers, .. } = delivery;
        let mark = Mark::among(headers);
        let is_it = |key: &LineKey| {
            key.is_ours == is_ours && key.partition == *partition && key.topic == *topic
        };
        if !self.hot.as_ref().is_some_and(|(key, _)| is_it(key)) {
            self.cool();
            let (partition, topic) = (partition.clone(), Arc::clone(topic));
            let key = LineKey { partition, topic, is_ours };
            let line = match (self.lines.remove(&key), mark) {
                (Some(line), _) => line,
                (None, Some(Mark { origin, number })) => {
                    Line { origin, next: number, offset: *offset }
                }
                // Nobody says how many come before it.
                (None, None) => return None,
            };
            self.hot = Some((key, line));
        }
        let (_, line) = self.hot.as_mut()?;
        let mut missing = None;
        if let Some(mark) = mark {
            let records = mark.number.cast_signed() - line.next.cast_signed();
            if mark.origin == line.origin && records != 0 {
                missing = Some(Missing { records, after: line.offset });
            }
            (line.origin, line.next) = (mark.origin, mark.number);
        }
        line.next += 1;
        line.offset = *offset;
        missing
    }

    /// How many records were counted.
    pub(super) fn counted(&self) -> u64 {
        self.counted
    }

    /// Which records that are in the book did not come, at the end of each line: how many, of which
    /// topic, and after which offset of which partition.
    pub(super) fn short_of(
        &mut self,
        listener: &str,
        book: impl Fn(&str) -> Option<TopicLines>,
    ) -> Vec<(Partition, Arc<str>, Missing)> {
        self.cool();
        let short = self.lines.iter().filter_map(|(key, line)| {
            let lines = book(&key.topic).filter(|lines| lines.origin == line.origin)?;
            let of = if key.is_ours { lines.addressed.get(listener)? } else { &lines.plain };
            // A log has one partition for all topics, and the book's number for it is 0.
            let written = *of.get(usize::try_from(key.partition.number).ok()?)?;
            let records = written.checked_sub(line.next).filter(|records| *records > 0)?;
            let missing = Missing { records: records.cast_signed(), after: line.offset };
            Some((key.partition.clone(), Arc::clone(&key.topic), missing))
        });
        short.collect()
    }

    /// These are known to be missing: they are not told again.
    pub(super) fn accept(&mut self, partition: &Partition, topic: &str, missing: Missing) {
        self.cool();
        for (key, line) in &mut self.lines {
            if key.partition == *partition && *key.topic == *topic && line.offset == missing.after {
                line.next += missing.records.unsigned_abs();
            }
        }
    }

    fn cool(&mut self) {
        if let Some((key, line)) = self.hot.take() {
            self.lines.insert(key, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use event_bus::BOOK_HEADER;

    use super::*;
    use crate::event::tests::delivery;

    const ORIGIN: u64 = 7;

    fn record(offset: u64, mark: Option<(u64, u64)>) -> Delivery {
        let mark = mark.map(|(origin, number)| Mark { origin, number }.to_string());
        let headers = mark.map(|mark| (BOOK_HEADER.to_owned(), mark));
        Delivery { headers: headers.into_iter().collect(), ..delivery(offset, "{}") }
    }

    /// What is missing before each of these records: an offset, and a mark if it has one.
    fn missing(ledger: &mut Ledger, records: &[(u64, Option<u64>)]) -> Vec<(u64, i64, u64)> {
        let found = records.iter().filter_map(|(offset, number)| {
            let record = record(*offset, number.map(|number| (ORIGIN, number)));
            let Missing { records, after } = ledger.count(&record, false)?;
            Some((*offset, records, after))
        });
        found.collect()
    }

    #[test]
    fn a_record_that_is_missing_or_too_many_is_found_at_the_next_mark() {
        let mut ledger = Ledger::default();
        let all = [(1, None), (2, Some(40)), (3, None), (5, Some(42)), (6, None), (9, Some(44))];
        assert_eq!(missing(&mut ledger, &all), []);
        assert_eq!(missing(&mut ledger, &[(10, None), (12, Some(47))]), [(12, 1, 10)]);
        assert_eq!(missing(&mut ledger, &[(13, None), (14, None), (15, Some(49))]), [(15, -1, 14)]);
        assert_eq!(missing(&mut ledger, &[(16, Some(50))]), [], "it is told once");
    }

    #[test]
    fn what_an_assignment_brings_again_and_another_book_are_no_alarm() {
        let mut ledger = Ledger::default();
        assert_eq!(missing(&mut ledger, &[(2, Some(40)), (3, None)]), []);
        ledger.forget(&record(0, None).partition);
        assert_eq!(missing(&mut ledger, &[(1, None), (2, Some(40)), (3, None), (4, Some(42))]), []);
        assert_eq!(ledger.count(&record(5, Some((ORIGIN + 1, 0))), false), None);
        assert!(ledger.count(&record(6, Some((ORIGIN + 1, 2))), false).is_some());
    }

    #[test]
    fn rows_of_our_full_syncs_are_a_line_of_their_own() {
        let mut ledger = Ledger::default();
        for offset in 0..10 {
            let mark = Some((ORIGIN, offset / 2));
            assert_eq!(ledger.count(&record(offset, mark), offset % 2 == 1), None);
        }
    }

    #[test]
    fn what_does_not_come_at_the_end_is_found_in_the_book_and_told_once() {
        let mut ledger = Ledger::default();
        assert_eq!(missing(&mut ledger, &[(2, Some(40)), (3, None)]), []);
        let book = |plain: u64| {
            let lines =
                TopicLines { origin: ORIGIN, plain: vec![0, 0, plain], ..TopicLines::default() };
            move |_: &str| Some(lines.clone())
        };
        assert_eq!(ledger.short_of("me", book(42)), []);
        let found = ledger.short_of("me", book(45));
        let (partition, topic, missing) = &found[0];
        assert_eq!((found.len(), *missing), (1, Missing { records: 3, after: 3 }));
        ledger.accept(partition, topic, *missing);
        assert_eq!(ledger.short_of("me", book(45)), []);
        assert_eq!(ledger.short_of("me", |_| None), []);
    }
}
