//! Full sync: reads a whole table for one listener, while the live stream goes on.
//!
//! | room | its one job |
//! |---|---|
//! | `feed` | a running task: reads a chunk when it is asked for and the listener has room |
//! | `tasks` | which full syncs there are, what was decided, what the checkpoint keeps |
//! | `stream` | merges chunks into the live stream; called by the pipeline |
//!
//! The crate `source-table` describes tables, selects pages of them in the order of their key, and
//! turns each row into the JSON that the binlog decoder writes for the same row. `watermark` has
//! the marks around each read.

mod config;
mod feed;
mod source;
mod stream;
mod tasks;
mod watermark;

pub use config::FullSyncConfig;

pub use source::TableSource;
pub use stream::{
    row_record::FullSyncTable,
    window::{Touch, WindowId, Windows},
};

pub(crate) use feed::{context::FeedContext, pace::Throttle, yield_to_live::Live};
pub(crate) use stream::{FullSyncs, merge::MergeRoom};
pub(crate) use tasks::{
    Tasks,
    catalog::{CatalogEntries, TableCatalog},
};
pub use watermark::{Marks, Named, Why};
pub(crate) use watermark::{NO_TABLE, lack_of_lock, why_locked};
