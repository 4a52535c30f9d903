//! Room 1: stays connected to MySQL as a replica and hands over raw events, from a position on.
//!
//! It knows nothing of rows and topics.

mod connect;
mod file;
mod hosts;
mod locate;
mod replica;
mod resume;
mod scan;
mod server;
mod start;
mod stream;

pub(crate) use connect::classify;
pub use connect::connect;
pub(crate) use hosts::open;
pub use hosts::{Hosts, Source};
pub use locate::{Depth, Place, locate};
pub use resume::{Resumed, check_position};
pub use server::{Finding, Server, Severity};
pub use start::resolve_start;
pub use stream::{AtEnd, Event, Stream};
