//! Tables of the source, read by SELECT: describes them, asks for rows by their keys, and turns
//! each row into the JSON that the binlog decoder writes for the same row
//! (`docs/event-format.md`).
//!
//! A full sync reads whole tables in pages; a sink fetches single rows of which an event has only
//! the key.

mod bound;
mod column;
mod conn;
mod cursor;
mod error;
mod key;
mod lookup;
mod page;
pub mod quote;
mod row;
mod session;
mod shape;
mod table;
mod value;

pub use self::{
    conn::Conn,
    cursor::{Bounds, Cursor},
    error::{TableError, TableResult},
    key::{Key, KeyPart},
    lookup::{Lookup, LookupKey},
    row::{Encoded, RowWriter, hash_of_row},
    session::{BEGIN_SNAPSHOT, is_mariadb, session},
    table::{Column, Description, MAX_INDEXED_BYTES, describe, describe_by, tables},
};
