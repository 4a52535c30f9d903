//! Full sync: reads a whole table for one listener, while the live stream goes on.
//!
//! | room | its one job |
//! |---|---|
//! | `sql` | what is said to MySQL: describe tables, select pages, make JSON of their rows |
//! | `feed` | one task at work: reads a chunk when it is asked for and the listener has room |
//! | `tasks` | which full syncs there are, what is decided of them, what the checkpoint keeps |
//! | `stream` | merges chunks into the live stream; called by the pipeline |
//!
//! A table is read in pages of its key's order, each a [`Description::page_query`]; a
//! [`RowWriter`] makes of every row the JSON that the binlog decoder makes of the same row.

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

pub(crate) use feed::{context::FeedContext, live::Live, pace::Throttle};
pub(crate) use sql::{
    table::MAX_INDEXED_BYTES,
    watermark::{NO_TABLE, lack_of_lock, why_locked},
};
pub(crate) use stream::{FullSyncs, merge::MergeRoom};
pub(crate) use tasks::{
    Tasks,
    catalog::{CatalogEntries, TableCatalog},
};
