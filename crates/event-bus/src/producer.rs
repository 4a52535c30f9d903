//! The writing side.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Batch, Result};

/// All that a producer has saved, by key.
pub type Checkpoint = BTreeMap<String, Bytes>;

/// A change of the checkpoint: a key and its new value, or `None` to remove it.
pub type CheckpointChange = (String, Option<Bytes>);

/// The one writer of a name. Opening it ([`Bus::producer`](crate::Bus::producer)) waits until no
/// other leads, fences whoever did, and gives the checkpoint.
///
/// There is one way to recover from an error: drop the producer, open it again, and go on from
/// the checkpoint that this gives.
#[async_trait]
pub trait Producer: Send {
    /// Appends a batch and changes the checkpoint: both or neither. Durable, and visible to
    /// consumers, when it returns. The batch may be empty.
    ///
    /// # Errors
    ///
    /// Transient: the bus is away or full. [`Error::Fenced`](crate::Error::Fenced): another process
    /// took over. After any error it is not known whether the batch was appended.
    async fn append(&mut self, batch: &Batch, checkpoint: &[CheckpointChange]) -> Result<()>;
}
