//! What all full syncs have in common, and what a feed can be asked for.

use std::sync::Arc;

use event_bus::{Bus, TopicName};
use tokio::sync::Semaphore;

use super::{live::Live, pace::Throttle};
use crate::{
    capture::Capture,
    full_sync::{
        config::FullSyncConfig, source::TableSource, sql::cursor::Cursor, tasks::place::KeyRange,
    },
};

/// What all tasks have in common.
pub(crate) struct FeedContext {
    pub(crate) source: TableSource,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) topics: TopicName,
    pub(crate) capture: Arc<Capture>,
    pub(crate) config: FullSyncConfig,
    pub(crate) throttle: Throttle,
    /// So many chunks are read at once.
    pub(crate) turns: Semaphore,
    pub(crate) live: Live,
}

/// What to read.
#[derive(Clone, Debug)]
pub(crate) enum ReadPiece {
    /// The rows behind a key; or the next part of a table without one.
    After(Option<Cursor>),
    /// These rows, again.
    Again(KeyRange),
}
