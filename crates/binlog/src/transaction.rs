//! The transaction around the row changes: where it begins, its GTID, when it committed.

use super::{gtid::Gtid, position::FilePosition};

/// A transaction, as far as it is known while its rows are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its GTID, if the server writes GTIDs.
    pub gtid: Option<Gtid>,
    /// Where its first event begins.
    pub start: FilePosition,
    /// When it was committed on the server that first had it, in microseconds since 1970. Before
    /// MySQL 8.0.1 these are whole seconds, and the time when the statement began.
    pub commit_micros: u64,
    /// The `server_id` of the server that first had it.
    pub server_id: u32,
}

/// What is known at the end of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionEnd {
    /// As [`Transaction::gtid`].
    pub gtid: Option<Gtid>,
    /// Where the next transaction begins: reading can start here.
    pub end: FilePosition,
    /// As [`Transaction::commit_micros`].
    pub commit_micros: u64,
    /// Row changes read, captured or not.
    pub rows: u64,
}
