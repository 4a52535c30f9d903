//! The epoch of a stream: 1, and one more each time that a copy of it was made the original. It is
//! kept as the checkpoint of a producer that no client can open, so it goes into every copy and
//! outlives the deletion of old files.

use bytes::Bytes;

use crate::{CheckpointChange, disk::end_and_state::Producers};

/// The producer that holds the epoch; names of clients have no control characters.
pub(crate) const EPOCH: &str = "\u{1}epoch";
const NUMBER: &str = "number";

/// The epoch of a stream with these producers.
pub(crate) fn of(producers: &Producers) -> u64 {
    let kept = producers.get(EPOCH).and_then(|state| state.checkpoint.get(NUMBER));
    let number = kept.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
    number.unwrap_or(1)
}

/// The change that makes this the epoch.
pub(crate) fn change_to(epoch: u64) -> CheckpointChange {
    (NUMBER.to_owned(), Some(Bytes::from(epoch.to_string())))
}
