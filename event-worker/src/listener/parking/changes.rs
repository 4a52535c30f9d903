//! What of the parked events is not saved yet.

use std::collections::BTreeMap;

use bytes::Bytes;
use event_bus::{KeptChange, Partition};

/// Entries to put and to remove, each once.
#[derive(Debug, Default)]
pub(super) struct Changes(BTreeMap<(Partition, String), Option<Bytes>>);

impl Changes {
    pub(super) fn set(&mut self, partition: &Partition, key: String, value: Option<Bytes>) {
        self.0.insert((partition.clone(), key), value);
    }

    /// Takes all.
    pub(super) fn take(&mut self) -> Vec<KeptChange> {
        let changes = std::mem::take(&mut self.0).into_iter();
        changes.map(|((partition, key), value)| KeptChange { partition, key, value }).collect()
    }

    /// Gives back what was taken and not saved. What came since then counts more.
    pub(super) fn give_back(&mut self, changes: Vec<KeptChange>) {
        for KeptChange { partition, key, value } in changes {
            self.0.entry((partition, key)).or_insert(value);
        }
    }

    /// Forgets those of partitions that are not ours any more.
    pub(super) fn retain(&mut self, is_ours: impl Fn(&Partition) -> bool) {
        self.0.retain(|(partition, _), _| is_ours(partition));
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.0.keys().map(|(partition, _)| partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_saved_is_saved_later_unless_it_changed_meanwhile() {
        let partition = Partition { topic: "t".into(), number: 0 };
        let mut changes = Changes::default();
        changes.set(&partition, "a".into(), Some(Bytes::from("1")));
        changes.set(&partition, "b".into(), Some(Bytes::from("1")));
        let taken = changes.take();
        assert_eq!(changes.partitions().count(), 0);
        changes.set(&partition, "a".into(), None);
        changes.give_back(taken);
        let now: Vec<_> = changes.take().into_iter().map(|change| change.value).collect();
        assert_eq!(now, [None, Some(Bytes::from("1"))]);
    }
}
