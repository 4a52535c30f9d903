//! A part of a replay: a range of offsets of one partition whose keys fit in memory.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use change_event::order_key;
use event_bus::{Delivery, Partition};

use crate::{event::TakenEvent, listener::status::ShownReplay};

/// The rows of a part, by [`row_of`].
pub(super) type Rows = HashSet<u64>;

/// A part of a replay while it runs.
pub(in crate::listener) struct Part {
    /// Names it within this process.
    pub(super) run: u64,
    /// The replay that it belongs to.
    pub(super) replay: Arc<str>,
    pub(super) partition: Partition,
    pub(super) generation: u64,
    /// Where the replay ends in this partition.
    pub(super) to: u64,
    /// The rows that it has events of. Empty when all events are to come.
    pub(super) rows: Arc<Rows>,
    /// Those that have newer events.
    newer: Rows,
    /// The bytes of each event that is not finished, by offset.
    unfinished: BTreeMap<u64, usize>,
    bytes: usize,
    /// All offsets below this were read.
    scanned: u64,
    replayed: u64,
    left_out: u64,
}

/// How far a part is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stand {
    /// `None` while none runs.
    pub(super) run: Option<u64>,
    /// The next offset that is not finished.
    pub(super) next: u64,
    pub(super) replayed: u64,
    pub(super) left_out: u64,
}

/// Where a part is, and what was counted before it.
pub(super) struct Began {
    pub(super) next: u64,
    pub(super) replayed: u64,
    pub(super) left_out: u64,
}

/// Names of a part.
pub(super) struct PartOf {
    pub(super) run: u64,
    pub(super) replay: Arc<str>,
    pub(super) partition: Partition,
    pub(super) generation: u64,
    pub(super) to: u64,
}

impl Part {
    pub(super) fn new(of: PartOf, rows: Arc<Rows>, began: &Began) -> Self {
        let PartOf { run, replay, partition, generation, to } = of;
        let Began { next, replayed, left_out } = *began;
        Self {
            run,
            replay,
            partition,
            generation,
            to,
            rows,
            newer: Rows::new(),
            unfinished: BTreeMap::new(),
            bytes: 0,
            scanned: next,
            replayed,
            left_out,
        }
    }

    /// These rows have newer events.
    pub(super) fn note_newer(&mut self, rows: impl IntoIterator<Item = u64>) {
        let ours = rows.into_iter().filter(|row| self.rows.contains(row));
        self.newer.extend(ours);
    }

    /// An event is to be done, unless its row has a newer one: then it is left out.
    pub(super) fn begins(&mut self, row: u64, event: &TakenEvent, is_held_up: bool) -> bool {
        let (_, offset) = event.place();
        self.scanned_to(offset + 1);
        if is_held_up || self.newer.contains(&row) {
            self.left_out += 1;
            return false;
        }
        self.bytes += event.bytes();
        self.unfinished.insert(offset, event.bytes());
        true
    }

    /// All below `next` was read.
    pub(super) fn scanned_to(&mut self, next: u64) {
        self.scanned = self.scanned.max(next);
    }

    /// An event is done; `false` for one of the live stream, or of another part.
    pub(super) fn finish(&mut self, event: &TakenEvent) -> bool {
        let is_ours = event.replay() == Some(self.run);
        let Some(bytes) = is_ours.then(|| self.unfinished.remove(&event.place().1)).flatten()
        else {
            return false;
        };
        self.bytes -= bytes;
        self.replayed += 1;
        true
    }

    /// How many events wait or are in a call.
    pub(super) fn unfinished(&self) -> usize {
        self.unfinished.len()
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn next(&self) -> u64 {
        self.unfinished.first_key_value().map_or(self.scanned, |(offset, _)| *offset)
    }

    pub(super) fn stand(&self) -> Stand {
        let (replayed, left_out) = (self.replayed, self.left_out);
        Stand { run: Some(self.run), next: self.next(), replayed, left_out }
    }

    /// How the status shows it.
    pub(super) fn shown(&self) -> ShownReplay {
        ShownReplay {
            id: self.replay.to_string(),
            topic: self.partition.topic.to_string(),
            partition: self.partition.number,
            next: self.next(),
            to: self.to,
            replayed: self.replayed,
            left_out: self.left_out,
        }
    }
}

/// Stands for the row of an event: the same for all keys that a server may take for one row's.
///
/// A topic may hold several tables, so the table counts. Of two rows that share the number, one may
/// be left out because of the other. With half a million rows that happens to one replay in a
/// hundred million.
pub(super) fn row_of(delivery: &Delivery) -> u64 {
    let table = delivery.headers.iter().find(|(name, _)| name == "table");
    let table = table.map_or("", |(_, table)| table);
    let mut hasher = DefaultHasher::new();
    (&delivery.topic, table, order_key(&delivery.key)).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::tests::{delivery, event_of_key, value};

    fn part(rows: &[u64]) -> Part {
        let partition = Partition { topic: "t".into(), number: 0 };
        let of = PartOf { run: 7, replay: "r".into(), partition, generation: 0, to: 9 };
        let began = Began { next: 2, replayed: 10, left_out: 20 };
        Part::new(of, Arc::new(rows.iter().copied().collect()), &began)
    }

    fn past(offset: u64) -> TakenEvent {
        event_of_key(offset, &offset.to_string(), "k").replayed_by(7)
    }

    #[test]
    fn it_is_as_far_as_the_first_event_that_is_not_done() {
        let mut part = part(&[]);
        assert_eq!(part.stand().next, 2);
        let events = [3, 4, 6].map(past);
        events.iter().for_each(|event| assert!(part.begins(1, event, false)));
        part.scanned_to(8);
        assert_eq!((part.stand().next, part.unfinished()), (3, 3));
        part.finish(&events[1]);
        part.finish(&event_of_key(3, "live", "k"));
        part.finish(&event_of_key(3, "3", "k").replayed_by(6));
        assert_eq!((part.stand().next, part.stand().replayed), (3, 11));
        part.finish(&events[0]);
        assert_eq!(part.stand().next, 6);
        part.finish(&events[2]);
        part.finish(&events[2]);
        assert_eq!((part.stand().next, part.stand().replayed, part.bytes()), (8, 13, 0));
    }

    #[test]
    fn a_row_with_a_newer_event_is_left_out_from_then_on() {
        let mut part = part(&[1, 2]);
        assert!(part.begins(1, &past(2), false));
        part.note_newer([1, 5]);
        assert!(!part.begins(1, &past(3), false) && part.begins(2, &past(4), false));
        assert!(part.begins(5, &past(5), false) && !part.begins(5, &past(6), true));
        assert_eq!(part.stand().left_out, 22);
    }

    #[test]
    fn rows_are_the_same_whose_keys_a_collation_takes_for_equal_and_tables_are_apart() {
        let row = |key: &str, table: &str| {
            let headers = [("table".to_owned(), table.to_owned())].into();
            let key = Bytes::copy_from_slice(key.as_bytes());
            row_of(&Delivery { key, headers, ..delivery(1, &value("1")) })
        };
        assert_eq!(row(r#"{"c":"key"}"#, "s.t"), row(r#"{"c":"KEY"}"#, "s.t"));
        assert_ne!(row(r#"{"c":"key"}"#, "s.t"), row(r#"{"c":"key"}"#, "s.u"));
        assert_ne!(row(r#"{"c":"key"}"#, "s.t"), row(r#"{"c":"kex"}"#, "s.t"));
    }
}
