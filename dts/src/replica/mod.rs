//! Room 1: stays connected to MySQL as a replica and hands over raw events, from a position on.
//!
//! It knows nothing of rows and topics.

mod ask;
mod connect;
mod file;
mod first_event;
mod hidden;
mod hosts;
mod locate;
mod managed;
mod mariadb;
mod port;
mod pulse;
mod replication;
mod resume;
mod resumed;
mod scan;
mod server;
mod settings;
mod start;
mod stream;
mod wire;

pub(crate) use ask::binlog_filters;
pub use connect::connect;
pub(crate) use connect::{away, classify};
pub(crate) use file::beyond_end;
pub use hidden::HiddenColumn;
pub use hosts::{Hosts, OpenSource};
pub(crate) use hosts::{open, refuse_stops};
pub use locate::{Depth, LocatedPlace, locate};
pub(crate) use managed::Managed;
pub(crate) use mariadb::gtids_at;
pub(crate) use pulse::Pulse;
pub(crate) use replication::{
    filters as replication_filters, is_replica, may_replicate, may_see as may_see_replication,
};
pub use resume::check_position;
pub use resumed::Resumed;
pub(crate) use scan::file_created;
pub use server::{Product, Server};
pub use source_table::Conn;
pub use start::resolve_start;
pub use stream::{AtEnd, Event, Stream};
