//! What consumers that are in no group have in common.

use std::future::ready;

use crate::{Committing, Error, Partition};

/// What a consumer that is in no group answers to a commit: no partition is its own.
pub(crate) fn commit(offsets: &[(Partition, u64)]) -> Committing {
    let refused = offsets.first().map(|(partition, _)| partition.clone());
    Box::pin(ready(refused.map_or(Ok(()), |partition| Err(Error::PartitionLost(partition)))))
}
