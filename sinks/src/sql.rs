//! What targets that are SQL databases have in common: version columns, and what is kept of
//! deletes.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use full_sync::Table;

use crate::{shape::Shape, target::TargetFinding};

/// What is wrong with `versionColumn`, where the source has a column that gets this name: each row
/// would have it twice.
pub(crate) fn version_clash(
    version_column: Option<&str>,
    (shape, table): (&Shape, &Table),
) -> Option<TargetFinding> {
    let version = version_column?;
    let columns = table.columns.iter().flatten().filter(|column| shape.takes(&column.name));
    let names = columns.map(|column| shape.name_of(&column.name));
    names.into_iter().find(|name| name.eq_ignore_ascii_case(version)).map(|name| {
        let of = format!("{}.{}", table.schema, table.table);
        let what = format!("versionColumn = {version:?} is a column of {of} ({name}), too");
        TargetFinding::wrong(what, "give it a name that no column has, for example \"_seq\"")
    })
}

/// What to do about a row whose value another row has in a unique key of the target that is not the
/// source's key: rows of several lanes are written in another order than at the source.
pub(crate) fn taken_in(unique_key: &str) -> String {
    format!(
        "; another row there has this value of the unique key {unique_key}: if the value moved \
         from row to row at the source, the row is written when the other one has moved; if this \
         lasts, set `workers = 1` for the listener and `versionColumn` here, so that rows are \
         written in the order of the source, or drop that key there"
    )
}

/// The table in which a sink keeps the numbers of deletes.
pub(crate) const DELETED_TABLE: &str = "dbevent_deleted";

/// How long they are kept, if nothing else is set.
pub(crate) const DELETED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// So often what is kept of deletes is looked through.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// When the deletes of each schema were looked through.
#[derive(Debug, Default)]
pub(crate) struct ForgetTimes(Mutex<HashMap<String, Instant>>);

impl ForgetTimes {
    /// Whether it is time again; the next time is after an hour.
    pub(crate) fn is_due(&self, schema: &str) -> bool {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = times.get(schema).is_none_or(|before| before.elapsed() > FORGET_EVERY);
        if is_due {
            times.insert(schema.to_owned(), Instant::now());
        }
        is_due
    }
}
