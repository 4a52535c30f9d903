//! The unit in which a bus keeps order.

use std::sync::Arc;

/// The unit of order, of assignment and of commit: a Kafka partition, or a whole log stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic, or the name of the log stream.
    pub topic: Arc<str>,
    /// The partition's number; 0 in a log.
    pub number: u32,
}
