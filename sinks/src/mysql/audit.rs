//! The audit log: a row for each change. The event's id is its key, so that an event that comes
//! again is not there twice.

use super::literal::push_text;
use crate::change::Change;

/// The columns beside those of the source's table, and how they are declared.
pub(super) const AUDIT_COLUMNS: [(&str, &str); 4] = [
    ("ev_id", "VARCHAR(191) CHARACTER SET ascii COLLATE ascii_bin NOT NULL"),
    ("ev_action", "VARCHAR(6) CHARACTER SET ascii NULL"),
    ("ev_time", "DATETIME(3) NULL"),
    ("ev_seq", "BIGINT UNSIGNED NULL"),
];

/// The literals of these columns for a change.
pub(super) fn literals(change: &Change<'_>) -> [String; 4] {
    let text = |text: &str| {
        let mut sql = String::new();
        push_text(&mut sql, text);
        sql
    };
    let ms = change.read.ts;
    [
        text(&change.read.id),
        text(change.read.action.as_str()),
        format!("FROM_UNIXTIME({}.{:03})", ms / 1000, ms % 1000),
        change.read.seq.map_or_else(|| "NULL".to_owned(), |seq| seq.to_string()),
    ]
}
