//! The binlog of MySQL and MariaDB, decoded: from raw events to row changes.
//!
//! This crate does no I/O, reads no clock, and does not panic on any input. The events may come
//! over a replication connection or from a file: `examples/print_changes.rs` prints the changes of
//! a binlog file.
//!
//! A [`Decoder`] takes the events of one stream in order. It keeps track of the position, the open
//! transaction and the table that each table number means. Each row change of a captured table goes
//! to a callback, as a view into the event: a [`RowChange`]. What the decoder does not understand
//! is an [`Error`] that names the place. The decoder skips only what the server itself marks as
//! ignorable.
//!
//! [`Image::write_value`] turns bytes into JSON, each value from its own slice, by the column's
//! [`Kind`]. Nothing is allocated per row. `docs/event-format.md` describes the forms.
//!
//! Beside the decoder:
//!
//! - [`Checksum`] checks the CRC32 of each event, [`Unpacker`] unpacks compressed transactions.
//! - [`GtidSet`] calculates with the GTIDs of MySQL and with the positions of MariaDB.
//! - [`Charset`] reads text in the character sets of the servers.
//!
//! The layouts are those of the servers' own sources and documentation; each file names its source.

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
mod checksum;
mod column;
mod compressed;
mod decoder;
mod definition;
mod domains;
mod error;
mod event_type;
mod format_description;
mod gtid;
mod gtid_event;
mod gtid_set;
mod header;
mod heartbeat;
mod hidden;
mod image;
mod intervals;
mod mariadb;
mod plan;
mod position;
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
pub use checksum::Checksum;
pub use column::{Column, Kind, Members};
pub use decoder::{Decoder, RawEvent, Step};
pub use definition::{Definition, Removal, Retyped};
pub use error::{Error, Fault, Setting};
pub use format_description::FormatDescription;
pub use gtid::{DomainGtid, Gtid, GtidOrigin};
pub use gtid_set::{GtidSet, InvalidGtidSet};
pub use header::EventHeader;
pub use hidden::HiddenTypes;
pub use image::Image;
pub use mariadb::{GTID_LIST, read_gtid_list};
pub use plan::TablePlan;
pub use position::{FIRST_POS, FilePosition, file_number};
pub use rows::RowChange;
pub use savepoint::SavepointName;
pub use statement::LoggedStatement;
pub use tables::CaptureFilter;
pub use transaction::{Transaction, TransactionEnd};
pub use unpack::{TRANSACTION_PAYLOAD, Unpacker};
pub use value::{geometry, temporal::plain as moments, vector};
pub use xa::{XaOutcome, Xid};

/// Whether text of a collation, by its number, can be decoded.
pub fn knows_collation(id: u16) -> bool {
    id == charset::BINARY_COLLATION || Charset::of_collation(id).is_some()
}
