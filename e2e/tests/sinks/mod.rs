//! Sinks, each with a real server as its target.

mod mysql;
mod postgres;
