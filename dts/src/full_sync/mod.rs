//! Full sync: reads a whole table for one listener, while the live stream goes on.
//!
//! A table is read in pages of its key's order, each a [`Description::page_query`]; a
//! [`RowWriter`] makes of every row the JSON that the binlog decoder makes of the same row.

mod bound;
mod cursor;
mod error;
mod key;
mod row;
mod session;
mod table;
mod value;

pub use cursor::{Bounds, Cursor};
pub use error::{Error, Result};
pub use key::{Key, KeyPart};
pub use row::{Encoded, RowWriter};
pub use session::session;
pub use table::{Column, Description, describe, tables};
