//! From raw binlog events to row changes: no I/O, no clock, never panics.
//!
//! A [`Decoder`] takes the events of one connection in order. It follows where the stream stands,
//! which transaction is open and which tables its numbers mean, and hands each row change of a
//! captured table to a callback, as a view into the event. What it does not understand is an error
//! that names the place; nothing is skipped but what the server itself marks as ignorable.
//!
//! Bytes become JSON in [`Image::write_value`], each value from its own slice, by the column's
//! [`Kind`]; nothing is allocated per row.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

mod charset;
mod column;
mod decoder;
mod definition;
mod error;
mod gtid_event;
mod header;
mod heartbeat;
mod hidden;
mod image;
mod kind;
mod mariadb;
mod plan;
mod reader;
mod rows;
mod savepoint;
mod sql;
mod statement;
mod table_map;
mod tables;
mod transaction;
mod unpack;
mod value;
mod xa;

pub use change_event::Action;
pub use charset::Charset;
pub use column::{Column, Kind, Members};
pub use decoder::{Decoder, RawEvent, Step};
pub use definition::{Definition, Removal, Retyped};
pub use error::{Error, Fault, Setting};
pub use header::EventHeader;
pub use hidden::HiddenTypes;
pub use image::Image;
pub use mariadb::read_gtid_list;
pub use plan::TablePlan;
pub use rows::RowChange;
pub use savepoint::SavepointName;
pub use statement::LoggedStatement;
pub use tables::Capture;
pub use transaction::{DomainGtid, FormatDescription, Gtid, Position, Transaction, TransactionEnd};
pub use unpack::{TRANSACTION_PAYLOAD, Unpacker};
pub(crate) use value::{geometry, temporal::plain as moments, vector};
pub use xa::{XaOutcome, Xid};

/// Whether text of a collation, by its number, can be decoded.
pub fn knows_collation(id: u16) -> bool {
    id == charset::BINARY_COLLATION || Charset::of_collation(id).is_some()
}
