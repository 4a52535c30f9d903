//! What is read from a spool at once, and sent as one batch.

use std::collections::VecDeque;

use crate::proto::NewRecord;

/// A chunk has about so many bytes.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// Records that were read from a spool.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Each with the place after it.
    pub(super) records: VecDeque<(u64, NewRecord)>,
    /// The place after all of them.
    pub(super) next: u64,
}
