//! Tables of the target that were made by a change: what the source's had before is not there.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A table of the source: its schema and its name.
type Names = (String, String);

/// What is known of such tables, since the listener's process began.
#[derive(Debug, Default)]
pub(crate) struct Begun(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// A full sync has sent rows of these.
    filled: BTreeSet<Names>,
    /// Of these it has not, since their targets were made.
    begun: BTreeSet<Names>,
}

impl Begun {
    /// A full sync sends rows of a table.
    pub(crate) fn fills(&self, source: (&str, &str)) {
        let mut known = self.lock();
        let names = owned(source);
        known.begun.remove(&names);
        known.filled.insert(names);
    }

    /// The target of a table was made for the first time; whether that is to be told, as no full
    /// sync fills it.
    pub(crate) fn made(&self, source: (&str, &str)) -> bool {
        let mut known = self.lock();
        let names = owned(source);
        !known.filled.contains(&names) && known.begun.insert(names)
    }

    /// The target of a table was gone, and was made anew.
    pub(crate) fn made_anew(&self, source: (&str, &str)) {
        self.lock().begun.insert(owned(source));
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.lock().begun.len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn owned((schema, table): (&str, &str)) -> Names {
    (schema.to_owned(), table.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_told_once_and_counts_until_a_full_sync_sends_its_rows() {
        let begun = Begun::default();
        let item = ("shop", "item");
        assert!(begun.made(item));
        assert_eq!((begun.made(item), begun.count()), (false, 1));
        begun.fills(item);
        assert_eq!((begun.made(item), begun.count()), (false, 0));
        begun.made_anew(item);
        assert_eq!(begun.count(), 1);
    }
}
