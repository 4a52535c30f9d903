//! `event-log serve` as a process, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod agent;
mod append;
mod chaos;
mod clock;
mod crash;
mod files;
mod full_disk;
mod http;
mod languages;
mod members;
mod mirror;
mod process;
mod refusals;
mod relay;
mod reporter;
mod rude;
mod slow;
mod tls;
mod tools;
