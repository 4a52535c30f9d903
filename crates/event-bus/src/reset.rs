//! Where a group shall go on, when somebody sets it.

use std::time::SystemTime;

use crate::Partition;

/// Where a group shall go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetTo {
    /// With the first record kept.
    Earliest,
    /// With the first record that comes after now.
    Latest,
    /// With the first record appended at or after a time.
    Time(SystemTime),
    /// With this offset in every partition; where the offset is gone, with the nearest one.
    Offset(u64),
}

/// A partition in which a group is set to another offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Which.
    pub partition: Partition,
    /// The next offset that the group had not finished; `None` if it never committed.
    pub from: Option<u64>,
    /// The offset that its deliveries begin at.
    pub to: u64,
}
