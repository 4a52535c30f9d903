//! What a listener promises, shown on a bus in memory and with real handlers.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod background;
mod bus;
mod environments;
mod everyday;
mod full_sync;
mod full_sync_initial;
mod groups;
mod handlers;
mod http;
mod listener;
mod names;
mod program;
mod reset;
mod supervisor;
mod webhooks;
