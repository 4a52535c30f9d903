//! Setting a group to another place.

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
    /// With this offset in every partition; where there is none, with the nearest that there is.
    Offset(u64),
}

/// A partition of a group that is, or shall be, set to another place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Which.
    pub partition: Partition,
    /// The next offset that the group had not finished; `None` if it never committed.
    pub from: Option<u64>,
    /// The offset that its deliveries begin at.
    pub to: u64,
}
