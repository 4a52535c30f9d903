//! A partition that is ours: how far it is read, and which end of it counts.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::{Delivery, Partition, kafka::offsets::Note};

/// A record that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastRecord {
    pub(super) offset: u64,
    hash: u64,
}

impl LastRecord {
    pub(super) fn of(offset: u64, key: &[u8], value: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        (key, value).hash(&mut hasher);
        Self { offset, hash: hasher.finish() }
    }
}

/// The end of a partition, as the statistics say it.
///
/// The library keeps what it knew when a partition is paused or given up. So the first end that it
/// tells may be an old one; the end is new when it has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToldEnd {
    /// There were no statistics since we began to read here.
    NotYet,
    /// The library does not know the end.
    Unknown,
    /// The offset after the last record.
    At(u64),
}

/// A partition that is ours.
pub(super) struct Owned {
    pub(super) partition: Partition,
    pub(super) note: Note,
    pub(super) generation: u64,
    /// The offset after all that was taken.
    pub(super) next: u64,
    /// The last record of the batches that were handed over.
    pub(super) last: Option<LastRecord>,
    /// The offset of the last record that was taken, also into a batch that is being filled.
    pub(super) newest: Option<u64>,
    /// It is read once more, and must be the same.
    pub(super) proof: Option<LastRecord>,
    /// What the statistics said last.
    pub(super) told: ToldEnd,
    /// Whether the statistics surely speak of this reading: a record came, or their end changed.
    pub(super) is_fresh: bool,
    /// An end that counts as soon as no record is left in the library's queue.
    pub(super) end: Option<u64>,
    pub(super) is_paused: bool,
    pub(super) is_leaving: bool,
}

impl Owned {
    /// Whether a record was taken already: the library may give a record twice after other
    /// partitions were assigned.
    pub(super) fn has_taken(&self, offset: u64) -> bool {
        self.newest.is_some_and(|newest| offset <= newest)
    }

    /// Whether a record is not the one that was at its offset, as far as that is known.
    pub(super) fn contradicts(&self, delivery: &Delivery) -> bool {
        let Delivery { offset, key, value, .. } = delivery;
        let before = self.last.filter(|last| last.offset == *offset);
        before.is_some_and(|last| last != LastRecord::of(*offset, key, value))
    }

    /// The library begins to read the partition here.
    pub(super) fn begin_reading(&mut self) {
        (self.is_fresh, self.told) = (false, ToldEnd::NotYet);
    }

    /// Takes the end that the statistics tell, if it is of this reading.
    pub(super) fn learn(&mut self, told: ToldEnd) {
        let before = std::mem::replace(&mut self.told, told);
        if before != ToldEnd::NotYet && before != told {
            self.is_fresh = true;
        }
        if !self.is_fresh {
            return;
        }
        self.end = match told {
            ToldEnd::At(end) if end > self.next => Some(end),
            ToldEnd::At(_) | ToldEnd::Unknown | ToldEnd::NotYet => None,
        };
    }
}
