//! What a sink has done: for status and metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{altered::Altered, begun::Begun};

/// Counts since the listener's process began.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    rows: AtomicU64,
    deletes: AtomicU64,
    requests: AtomicU64,
    retries: AtomicU64,
    conflicts: AtomicU64,
    absent: AtomicU64,
    refused: AtomicU64,
    unfilled: AtomicU64,
    fetched: AtomicU64,
    gone: AtomicU64,
    bytes: AtomicU64,
    request_micros: AtomicU64,
    pub(crate) begun: Begun,
    pub(crate) altered: Altered,
}

/// The same at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Figures {
    /// Rows that were written.
    pub rows: u64,
    /// Rows that were deleted.
    pub deletes: u64,
    /// Requests, or transactions, that the target has answered.
    pub requests: u64,
    /// Requests that were sent again: the target was busy, or two transactions locked each other.
    pub retries: u64,
    /// Changes that the target had already, or for which it had a newer one.
    pub conflicts: u64,
    /// Changes with only some columns (`binlog_row_image = MINIMAL`) of rows that the target does
    /// not have: nothing was written.
    pub absent: u64,
    /// Changes that the target refused.
    pub refused: u64,
    /// Rows that were fetched from the source, because they were too large for their events.
    pub fetched: u64,
    /// Changes of such rows that were not at the source any more: nothing was written.
    pub gone: u64,
    /// Columns that the sink has added to tables with rows: these rows have NULL there.
    pub unfilled: u64,
    /// Tables of the target that were made by a change, and of which no full sync has sent rows
    /// since.
    pub begun: u64,
    /// Columns that were altered at the source, and not at the target.
    pub altered: u64,
    /// Bytes of requests.
    pub bytes: u64,
    /// The time of all requests together, in microseconds.
    pub request_micros: u64,
}

/// A request that was answered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answered {
    pub(crate) bytes: usize,
    pub(crate) took: Duration,
}

/// What became of the changes of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) deletes: u64,
    pub(crate) conflicts: u64,
    /// Changes with only some columns, of rows that the target does not have.
    pub(crate) absent: u64,
}

impl Written {
    pub(crate) fn also(&mut self, more: Self) {
        self.rows += more.rows;
        self.deletes += more.deletes;
        self.conflicts += more.conflicts;
        self.absent += more.absent;
    }
}

impl Counts {
    pub(crate) fn answered(&self, Answered { bytes, took }: Answered) {
        self.requests.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.request_micros.fetch_add(micros, Relaxed);
    }

    pub(crate) fn wrote(&self, Written { rows, deletes, conflicts, absent }: Written) {
        self.rows.fetch_add(rows, Relaxed);
        self.deletes.fetch_add(deletes, Relaxed);
        self.conflicts.fetch_add(conflicts, Relaxed);
        self.absent.fetch_add(absent, Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(crate) fn refused(&self, changes: usize) {
        self.refused.fetch_add(changes as u64, Relaxed);
    }

    pub(crate) fn fetched(&self, rows: u64, gone: u64) {
        self.fetched.fetch_add(rows, Relaxed);
        self.gone.fetch_add(gone, Relaxed);
    }

    pub(crate) fn left_unfilled(&self, columns: usize) {
        self.unfilled.fetch_add(columns as u64, Relaxed);
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            rows: self.rows.load(Relaxed),
            deletes: self.deletes.load(Relaxed),
            requests: self.requests.load(Relaxed),
            retries: self.retries.load(Relaxed),
            conflicts: self.conflicts.load(Relaxed),
            absent: self.absent.load(Relaxed),
            refused: self.refused.load(Relaxed),
            fetched: self.fetched.load(Relaxed),
            gone: self.gone.load(Relaxed),
            unfilled: self.unfilled.load(Relaxed),
            begun: self.begun.count(),
            altered: self.altered.count(),
            bytes: self.bytes.load(Relaxed),
            request_micros: self.request_micros.load(Relaxed),
        }
    }
}
