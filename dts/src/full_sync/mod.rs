//! Full sync: reads a whole table for one listener, while the live stream goes on.
//!
//! A table is read in pages of its key's order, each a [`Description::page_query`]; a
//! [`RowWriter`] makes of every row the JSON that the binlog decoder makes of the same row.

mod bound;
mod catalog;
mod chunk;
mod config;
mod cursor;
mod error;
mod feed;
mod key;
mod live;
mod pace;
mod place;
mod read;
mod resolve;
mod row;
mod session;
mod shape;
mod size;
mod source;
mod table;
mod take;
mod tasks;
mod value;
mod watermark;

use std::time::{SystemTime, UNIX_EPOCH};

pub use config::FullSyncConfig;
pub use cursor::{Bounds, Cursor};
pub use error::{Error, Result};
pub use key::{Key, KeyPart};
pub use row::{Encoded, RowWriter};
pub use session::session;
pub use source::Source;
pub use table::{Column, Description, describe, describe_by, tables};
pub use watermark::{Marks, Named, Why};

pub(crate) use catalog::{Catalog, Entries};
pub(crate) use chunk::{Chunk, ChunkKind, Segment};
pub(crate) use feed::{Common, Feed, FeedId, News, Order, Piece, Told};
pub(crate) use live::Live;
pub(crate) use pace::{Throttle, until_handled};
pub(crate) use place::{Place, Stretch};
pub(crate) use resolve::{Found, resolve};
pub(crate) use table::MAX_INDEXED_BYTES;
pub(crate) use tasks::{Tasks, begin_again};
pub(crate) use watermark::{NO_TABLE, lack_of_lock, order, why_locked};

/// Now, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
