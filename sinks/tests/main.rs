//! Sinks against real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod changes;
mod fetch;
mod file;
mod hosts;
mod kafka;
mod mysql;
mod mysql_servers;
mod postgres;
mod redis;
mod search;
mod source;
