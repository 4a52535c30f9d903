//! What was seen of the target's tables, and until when that is good.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::table::TargetTable;

/// A table is looked at again after this time: somebody may have altered it.
const GOOD_FOR: Duration = Duration::from_secs(5);

/// The last look at each table.
#[derive(Default)]
pub(super) struct KnownTables(Mutex<BTreeMap<String, Known>>);

/// A look at a table.
struct Known {
    table: Arc<TargetTable>,
    at: Instant,
    /// A row was refused since.
    is_doubted: bool,
}

/// What a look at a table may be taken from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Good(Arc<TargetTable>),
    /// It is to be looked at again: somebody may have altered it.
    Old,
    /// It is to be looked at: something does not fit it, so the source's may be another one, too.
    Doubted,
    /// It was never looked at.
    Unknown,
}

impl KnownTables {
    pub(super) fn get(&self, target: &str) -> Seen {
        match self.lock().get(target) {
            None => Seen::Unknown,
            Some(known) if known.is_doubted => Seen::Doubted,
            Some(known) if known.at.elapsed() < GOOD_FOR => Seen::Good(Arc::clone(&known.table)),
            Some(_) => Seen::Old,
        }
    }

    /// Keeps what was seen; gives what was seen before.
    pub(super) fn keep(&self, target: &str, table: Arc<TargetTable>) -> Option<Arc<TargetTable>> {
        let known = Known { table, at: Instant::now(), is_doubted: false };
        self.lock().insert(target.to_owned(), known).map(|before| before.table)
    }

    /// What is known of a table may be out of date.
    pub(super) fn doubt(&self, target: &str) {
        if let Some(known) = self.lock().get_mut(target) {
            known.is_doubted = true;
        }
    }

    /// What was seen last, however long ago.
    pub(super) fn last(&self, target: &str) -> Option<Arc<TargetTable>> {
        self.lock().get(target).map(|known| Arc::clone(&known.table))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
