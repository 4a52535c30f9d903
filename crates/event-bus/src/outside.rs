//! What consumers that are in no group have in common.

use std::future::ready;

use crate::{Committing, Error, Partition};

/// A record that a consumer in no group was to read next was deleted.
pub(crate) fn gone(partition: Partition, next: u64, first: u64) -> Error {
    Error::OffsetGone { group: "(none)".to_owned(), partition, committed: next, first }
}

/// What a consumer that is in no group answers to a commit: no partition is its own.
pub(crate) fn commit(offsets: &[(Partition, u64)]) -> Committing {
    let refused = offsets.first().map(|(partition, _)| partition.clone());
    Box::pin(ready(refused.map_or(Ok(()), |partition| Err(Error::PartitionLost(partition)))))
}
