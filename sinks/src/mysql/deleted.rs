//! The numbers of deletes, which the sink keeps so that an older change brings no row back.
//!
//! They are in a table of the sink's own, in the schema of the target's tables. There each table
//! has one more row, with an empty key: its number is that of the last delete, and its lock keeps
//! writers apart. Those that only write rows share it. Who deletes has it alone: an older change
//! that is being written elsewhere would not see the delete, nor the delete the row.

use std::{borrow::Cow, collections::BTreeMap};

use xxhash_rust::xxh3::xxh3_128;

use super::{
    literal::{named, push_text},
    rows::RowChange,
    table::TargetTable,
};
use crate::sql::DELETED_TABLE;

/// A key that is longer is known by its hash.
const MAX_KEY_CHARS: usize = 500;

/// So many old deletes are forgotten in one statement.
pub(super) const FORGOTTEN_AT_ONCE: u64 = 10_000;

/// The statements about the deletes of a table.
#[derive(Clone, Copy)]
pub(super) struct Deletes<'t> {
    pub(super) table: &'t TargetTable,
    pub(super) is_mariadb: bool,
}

/// The name of a change's row among the deletes.
pub(super) fn row_name<'c>(change: &'c RowChange<'_, '_>) -> Cow<'c, str> {
    let key = change.wanted.change.read.key;
    match key.chars().count() <= MAX_KEY_CHARS {
        true => Cow::Borrowed(key),
        false => Cow::Owned(format!("{:032x}", xxh3_128(key.as_bytes()))),
    }
}

impl Deletes<'_> {
    pub(super) fn create(self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (table_name VARCHAR(64) NOT NULL, row_key \
             VARCHAR({MAX_KEY_CHARS}) NOT NULL, seq BIGINT UNSIGNED NOT NULL, deleted_at DATETIME \
             NOT NULL, PRIMARY KEY (table_name, row_key), KEY (deleted_at)) ENGINE=InnoDB \
             CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            self.place()
        )
    }

    /// Makes the table's own row, if it is not there.
    pub(super) fn make_lock(self) -> String {
        let (place, table) = (self.place(), self.name());
        format!(
            "INSERT IGNORE INTO {place} (table_name, row_key, seq, deleted_at) VALUES ({table}, \
             '', 0, UTC_TIMESTAMP())"
        )
    }

    /// Locks the table's own row, and gives the number of the last delete.
    pub(super) fn lock(self, is_alone: bool) -> String {
        let how = if is_alone { "FOR UPDATE" } else { "LOCK IN SHARE MODE" };
        format!(
            "SELECT seq FROM {} WHERE table_name = {} AND row_key = '' {how}",
            self.place(),
            self.name()
        )
    }

    /// Asks for the deletes of rows.
    pub(super) fn look<'n>(self, names: impl Iterator<Item = &'n str>) -> String {
        let mut sql = format!(
            "SELECT row_key, seq FROM {} WHERE table_name = {} AND row_key IN (''",
            self.place(),
            self.name()
        );
        for name in names {
            sql.push(',');
            push_text(&mut sql, name);
        }
        sql.push(')');
        sql
    }

    /// Keeps the numbers of deletes.
    pub(super) fn keep(self, deletes: &BTreeMap<Cow<'_, str>, u64>) -> String {
        let table = self.name();
        let newest = deletes.values().max().copied().unwrap_or_default();
        let own = (Cow::Borrowed(""), newest);
        let all = deletes.iter().map(|(name, seq)| (Cow::Borrowed(&**name), *seq));
        let rows = std::iter::once(own).chain(all).map(|(name, seq)| {
            let mut row = format!("({table},");
            push_text(&mut row, &name);
            row + &format!(",{seq},UTC_TIMESTAMP())")
        });
        let rows: Vec<String> = rows.collect();
        let (alias, brought) = match self.is_mariadb {
            true => ("", "VALUES(seq)"),
            false => (" AS new", "new.seq"),
        };
        let place = self.place();
        format!(
            "INSERT INTO {place} (table_name, row_key, seq, deleted_at) VALUES {}{alias} ON \
             DUPLICATE KEY UPDATE deleted_at = UTC_TIMESTAMP(), seq = GREATEST({place}.seq, \
             {brought})",
            rows.join(",")
        )
    }

    /// Forgets some of the deletes that are so old.
    pub(super) fn forget(self, kept: std::time::Duration) -> String {
        format!(
            "DELETE FROM {} WHERE deleted_at < UTC_TIMESTAMP() - INTERVAL {} SECOND AND row_key \
             <> '' LIMIT {FORGOTTEN_AT_ONCE}",
            self.place(),
            kept.as_secs()
        )
    }

    fn place(self) -> String {
        match self.table.schema.is_empty() {
            true => DELETED_TABLE.to_owned(),
            false => format!("{}.{DELETED_TABLE}", named(&self.table.schema)),
        }
    }

    fn name(self) -> String {
        let mut name = String::new();
        push_text(&mut name, &self.table.name);
        name
    }
}
