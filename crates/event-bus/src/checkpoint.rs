//! What a producer saves together with its records.

use std::collections::BTreeMap;

use bytes::Bytes;

/// All that a producer has saved, by key.
pub type Checkpoint = BTreeMap<String, Bytes>;

/// A change of the checkpoint: a key and its new value, or `None` to remove it.
pub type CheckpointChange = (String, Option<Bytes>);
