//! The control table: what programs that share a bus want of each other, by key.

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Checkpoint, Result};

/// A change of the control table: a key and its new value, or `None` where it was removed.
pub type ControlChange = (String, Option<Bytes>);

/// Hears of what changes in the control table. Any number of processes may.
#[async_trait]
pub trait Control: Send {
    /// Waits for the next changes. The first call gives all that is kept, by key, and at once, also
    /// where that is nothing. Of several changes of one key that lie between two calls the last one
    /// may stand for all; a key that was put and removed in between may not be told of at all.
    /// Cancel-safe: a dropped call loses nothing.
    ///
    /// # Errors
    ///
    /// Transient: the bus is away, the call may be repeated, and nothing is lost by it.
    async fn changes(&mut self) -> Result<Vec<ControlChange>>;
}

/// The table as it was told last, where a bus gives it whole.
#[derive(Debug, Default)]
pub(crate) struct ToldTable(Option<Checkpoint>);

impl ToldTable {
    /// What is to be told of the table as it is now; `None` where that is nothing new.
    pub(crate) fn tell(&mut self, now: Checkpoint) -> Option<Vec<ControlChange>> {
        let is_first = self.0.is_none();
        let before = self.0.get_or_insert_default();
        let removed = before.keys().filter(|key| !now.contains_key(*key));
        let removed = removed.map(|key| (key.clone(), None));
        let put = now.iter().filter(|(key, value)| before.get(*key) != Some(value));
        let put = put.map(|(key, value)| (key.clone(), Some(value.clone())));
        let changes: Vec<ControlChange> = removed.chain(put).collect();
        *before = now;
        (is_first || !changes.is_empty()).then_some(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, &'static str)]) -> Checkpoint {
        let entry = |(key, value): &(&str, &'static str)| ((*key).to_owned(), Bytes::from(*value));
        entries.iter().map(entry).collect()
    }

    #[test]
    fn all_is_told_first_and_then_what_changes() {
        let mut told = ToldTable::default();
        assert_eq!(told.tell(table(&[])), Some(vec![]), "the first time also of nothing");
        assert_eq!(told.tell(table(&[])), None);
        let put = |key: &str, value: &'static str| (key.to_owned(), Some(Bytes::from(value)));
        let both = table(&[("a", "1"), ("b", "1")]);
        assert_eq!(told.tell(both), Some(vec![put("a", "1"), put("b", "1")]));
        let changed = told.tell(table(&[("b", "2")]));
        assert_eq!(changed, Some(vec![("a".to_owned(), None), put("b", "2")]));
    }
}
