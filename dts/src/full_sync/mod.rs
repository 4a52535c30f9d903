//! Full sync: reads a whole table for one listener, while the live stream goes on.
//!
//! | room | its one job |
//! |---|---|
//! | `sql` | what we ask MySQL: describe tables, select pages, turn their rows into JSON |
//! | `feed` | a running task: reads a chunk when it is asked for and the listener has room |
//! | `tasks` | which full syncs there are, what was decided, what the checkpoint keeps |
//! | `stream` | merges chunks into the live stream; called by the pipeline |
//!
//! A table is read in pages in the order of its key, each a [`Description::page_query`]. A
//! [`RowWriter`] turns each row into the JSON that the binlog decoder writes for the same row.

mod config;
mod feed;
mod source;
mod sql;
mod stream;
mod tasks;

pub use config::FullSyncConfig;

pub use source::TableSource;
pub use sql::{
    cursor::{Bounds, Cursor},
    error::{TableError, TableResult},
    key::{Key, KeyPart},
    row::{Encoded, RowWriter},
    session::session,
    table::{Column, Description, describe, describe_by, tables},
    watermark::{Marks, Named, Why},
};
pub use stream::{
    row_record::FullSyncTable,
    window::{Touch, WindowId, Windows},
};

pub(crate) use feed::{context::FeedContext, pace::Throttle, yield_to_live::Live};
pub(crate) use sql::{
    table::MAX_INDEXED_BYTES,
    watermark::{NO_TABLE, lack_of_lock, why_locked},
};
pub(crate) use stream::{FullSyncs, merge::MergeRoom};
pub(crate) use tasks::{
    Tasks,
    catalog::{CatalogEntries, TableCatalog},
};
