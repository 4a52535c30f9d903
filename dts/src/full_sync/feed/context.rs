//! What all full syncs share, and what a feed can be asked to read.

use std::sync::Arc;

use event_bus::{Bus, TopicName};
use source_table::Cursor;
use tokio::sync::Semaphore;

use super::{pace::Throttle, yield_to_live::Live};
use crate::{
    capture::Capture,
    full_sync::{config::FullSyncConfig, source::TableSource, tasks::place::KeyRange},
};

/// What all tasks share.
pub(crate) struct FeedContext {
    pub(crate) source: TableSource,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) topics: TopicName,
    pub(crate) capture: Arc<Capture>,
    pub(crate) config: FullSyncConfig,
    pub(crate) throttle: Throttle,
    /// One permit for each chunk that may be read at the same time.
    pub(crate) turns: Semaphore,
    pub(crate) live: Live,
}

/// What to read.
#[derive(Clone, Debug)]
pub(crate) enum ReadPiece {
    /// The rows after a key; or the next part of a table without a key.
    After(Option<Cursor>),
    /// These rows, once more.
    Again(KeyRange),
}
