//! What the binlog does not show of columns, for all columns that were ever seen. Also for a column
//! that was dropped or renamed since: so a row that is read again has the same contents as the
//! first time.

use std::collections::BTreeSet;

use binlog::HiddenTypes;
use event_bus::{Checkpoint, CheckpointChange};

use crate::error::{Error, Result};

/// The key in the checkpoint.
const KEY: &str = "hidden-types";

/// If there are more than this, columns that are gone are forgotten.
const MAX_SEEN: usize = 10_000;

/// Used instead of a type if the column is generated, whatever its type is.
pub(super) const GENERATED: &str = "generated";

/// Schema, table, column, and what the binlog does not show of the column: its type as
/// `information_schema` has it, or [`GENERATED`].
pub(super) type Fact = (String, String, String, String);

#[derive(Debug, Default)]
pub(in crate::pipeline) struct SeenTypes {
    facts: BTreeSet<Fact>,
    /// Whether the checkpoint lacks something.
    is_new: bool,
}

impl SeenTypes {
    /// Reads the facts from the checkpoint.
    ///
    /// # Errors
    ///
    /// When they have another form than this version writes.
    pub(in crate::pipeline) fn load(checkpoint: &Checkpoint) -> Result<Self> {
        let Some(bytes) = checkpoint.get(KEY) else { return Ok(Self::default()) };
        let facts = serde_json::from_slice(bytes).map_err(|error| {
            Error::Internal(format!("the checkpoint's {KEY} cannot be read: {error}"))
        })?;
        Ok(Self { facts, is_new: false })
    }

    /// The tables with known facts that the server does not give any more.
    pub(super) fn tables_beside(&self, now: &BTreeSet<Fact>) -> BTreeSet<(String, String)> {
        let beside = self.facts.difference(now);
        beside.map(|(schema, table, ..)| (schema.clone(), table.clone())).collect()
    }

    /// Takes the facts that the server gives now. Earlier facts are kept for columns that are gone;
    /// a column in `present` without its fact is another column than before.
    pub(super) fn take_in(
        &mut self,
        now: BTreeSet<Fact>,
        present: &BTreeSet<(String, String, String)>,
    ) {
        let is_gone = |(schema, table, column, _): &&Fact| {
            !present.contains(&(schema.clone(), table.clone(), column.clone()))
        };
        let gone = self.facts.difference(&now).filter(is_gone).cloned();
        let mut facts: BTreeSet<Fact> = gone.chain(now.iter().cloned()).collect();
        if facts.len() > MAX_SEEN {
            facts = now;
        }
        self.is_new |= facts != self.facts;
        self.facts = facts;
    }

    pub(super) fn add_to(&self, types: &mut HiddenTypes) {
        for (schema, table, column, hidden) in &self.facts {
            let table = (schema.clone(), table.clone());
            match hidden.as_str() {
                GENERATED => types.add_generated(table, column.clone()),
                data_type => types.add(table, column.clone(), (data_type, 0)),
            }
        }
    }

    /// The changes for the checkpoint since the last call.
    pub(super) fn take_change(&mut self) -> Option<CheckpointChange> {
        let bytes = std::mem::take(&mut self.is_new).then(|| serde_json::to_vec(&self.facts).ok());
        Some((KEY.to_owned(), Some(bytes??.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(column: &str, hidden: &str) -> Fact {
        ["shop", "t", column, hidden].map(str::to_owned).into()
    }

    fn present(columns: &[&str]) -> BTreeSet<(String, String, String)> {
        let name = |column: &&str| ("shop".to_owned(), "t".to_owned(), (*column).to_owned());
        columns.iter().map(name).collect()
    }

    #[test]
    fn a_column_that_is_gone_stays_what_it_was_after_a_restart() {
        let mut seen = SeenTypes::default();
        seen.take_in([fact("u", "uuid"), fact("g", GENERATED)].into(), &present(&[]));
        let (key, value) = seen.take_change().unwrap();
        assert!(seen.take_change().is_none(), "it is written once");
        let mut seen = SeenTypes::load(&Checkpoint::from([(key, value.unwrap())])).unwrap();
        // It was renamed to `w`.
        let now = BTreeSet::from([fact("w", "uuid")]);
        assert_eq!(seen.tables_beside(&now).len(), 1);
        seen.take_in(now, &present(&["id", "w"]));
        let all = [fact("g", GENERATED), fact("u", "uuid"), fact("w", "uuid")];
        assert_eq!(seen.facts, all.into());
        assert!(seen.take_change().is_some());
    }

    #[test]
    fn a_column_that_is_another_now_is_not_what_it_was() {
        let mut seen = SeenTypes::default();
        seen.take_in([fact("u", "uuid")].into(), &present(&[]));
        // BINARY(16) now, or INET6.
        seen.take_in(BTreeSet::new(), &present(&["id", "u"]));
        assert!(seen.facts.is_empty());
        seen.take_in([fact("u", "uuid")].into(), &present(&[]));
        seen.take_in([fact("u", "inet6")].into(), &present(&["id", "u"]));
        assert_eq!(seen.facts, [fact("u", "inet6")].into());
    }
}
