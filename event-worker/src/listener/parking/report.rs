//! What the parking place says of itself.

use std::sync::Arc;

use event_bus::Partition;
use serde::{Deserialize, Serialize};

use crate::table_name::TableName;

/// The place of an event that is kept on the bus, so that a commit may pass it.
#[derive(Clone, Debug)]
pub(in crate::listener) struct KeptAside {
    pub(in crate::listener) partition: Partition,
    pub(in crate::listener) offset: u64,
    pub(in crate::listener) table: Arc<TableName>,
}

/// What waits aside, for the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ParkingReport {
    /// Keys that wait.
    pub(crate) keys: u64,
    /// Keys of these that wait for a human.
    pub(crate) parked: u64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// Since when the first of them fails, in ms since the Unix epoch.
    pub(crate) oldest_ms: Option<u64>,
    /// There is no room for more: no events are taken from the bus.
    pub(crate) is_full: bool,
    /// Why the bus keeps no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
}
