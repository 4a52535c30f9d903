//! The savepoints of a transaction that the server can still go back to.

use std::collections::BTreeMap;

use binlog::SavepointName;

use crate::error::{Error, Result};

/// How many are remembered, the last ones: clients that make many seldom go back to an old one.
const MAX_SAVEPOINTS: usize = 50_000;

/// Savepoints by name, each with a value.
#[derive(Debug)]
pub(super) struct Savepoints<T> {
    /// In the order in which they were made.
    made: BTreeMap<u64, (SavepointName, T)>,
    names: BTreeMap<String, u64>,
    /// How many were made.
    count: u64,
    /// How many of them have names that are not plain.
    special: usize,
}

impl<T> Default for Savepoints<T> {
    fn default() -> Self {
        Self { made: BTreeMap::new(), names: BTreeMap::new(), count: 0, special: 0 }
    }
}

impl<T: Clone> Savepoints<T> {
    /// A savepoint is made. It replaces an earlier one with this name.
    pub(super) fn set(&mut self, name: SavepointName, value: T) {
        if let Some(before) = self.names.get(&name.folded()).copied() {
            self.remove(before);
        }
        if self.made.len() >= MAX_SAVEPOINTS
            && let Some((&oldest, _)) = self.made.first_key_value()
        {
            self.remove(oldest);
        }
        self.count += 1;
        self.special += usize::from(!name.is_plain());
        self.names.insert(name.folded(), self.count);
        self.made.insert(self.count, (name, value));
    }

    /// Goes back to a savepoint, which stays; those after it are removed.
    ///
    /// # Errors
    ///
    /// Refused, when it is not clear which one the server means.
    pub(super) fn back_to(&mut self, name: &SavepointName) -> Result<T> {
        self.find(name).ok_or_else(|| unknown(name))
    }

    fn find(&mut self, name: &SavepointName) -> Option<T> {
        let number = *self.names.get(&name.folded())?;
        let later: Vec<u64> = self.made.range(number..).skip(1).map(|(&later, _)| later).collect();
        let is_other = |later: &u64| !self.made.get(later).is_some_and(|(it, _)| it.may_be(name));
        if (self.special > 0 || !name.is_plain()) && !later.iter().all(is_other) {
            return None;
        }
        for later in later {
            self.remove(later);
        }
        self.made.get(&number).map(|(_, value)| value.clone())
    }

    /// The values of all savepoints.
    pub(super) fn values(&mut self) -> impl Iterator<Item = &mut T> {
        self.made.values_mut().map(|(_, value)| value)
    }

    fn remove(&mut self, number: u64) {
        let Some((name, _)) = self.made.remove(&number) else { return };
        self.special -= usize::from(!name.is_plain());
        self.names.remove(&name.folded());
    }
}

fn unknown(name: &SavepointName) -> Error {
    Error::refused(
        format!(
            "the server rolled back to the savepoint {name}, and it is not known which rows are \
             rolled back: they are already appended, the name can be read in two ways, or too \
             many savepoints were made since"
        ),
        "begin after the end of the transaction (`dts position set --file … --pos …`; SHOW BINLOG \
         EVENTS shows where it ends), and send the tables that it changed again with a full sync",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Savepoints<usize> {
        let mut savepoints = Savepoints::default();
        for (at, name) in names.iter().enumerate() {
            savepoints.set(SavepointName::new(name), at);
        }
        savepoints
    }

    fn back(savepoints: &mut Savepoints<usize>, name: &str) -> Option<usize> {
        savepoints.back_to(&SavepointName::new(name)).ok()
    }

    #[test]
    fn going_back_removes_the_later_savepoints() {
        let mut savepoints = of(&["a", "b", "c"]);
        assert_eq!(back(&mut savepoints, "B"), Some(1));
        assert_eq!(back(&mut savepoints, "c"), None);
        assert_eq!(back(&mut savepoints, "b"), Some(1), "it stays");
        assert_eq!(back(&mut savepoints, "a"), Some(0));
        assert_eq!(back(&mut savepoints, "b"), None);
    }

    #[test]
    fn a_savepoint_replaces_the_one_with_its_name() {
        let mut savepoints = of(&["a", "b", "A"]);
        assert_eq!(back(&mut savepoints, "b"), Some(1));
        assert_eq!(back(&mut savepoints, "a"), None, "it was after b");
    }

    #[test]
    fn names_that_depend_on_the_server_are_not_guessed() {
        assert_eq!(back(&mut of(&["é", "e"]), "é"), None, "e may have taken its place");
        assert_eq!(back(&mut of(&["é", "e"]), "e"), Some(1));
        assert_eq!(back(&mut of(&["é", "ff"]), "é"), Some(0));
    }

    #[test]
    fn the_oldest_are_forgotten_when_there_are_too_many() {
        let names: Vec<String> = (0..=MAX_SAVEPOINTS).map(|at| format!("s{at}")).collect();
        let mut savepoints = of(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(back(&mut savepoints, "s0"), None);
        assert_eq!(back(&mut savepoints, "s1"), Some(1));
    }
}
