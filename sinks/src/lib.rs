//! Handlers that are built in: each brings changes to a kind of target.
//!
//! A sink is chosen like any handler (`docs/sinks.md`). `shape` says which rows and columns go to
//! the target, `target` is what each kind of target does, and each kind has its module. A sink
//! knows events and their tables; it knows no bus.

mod altered;
mod begun;
mod change;
mod config;
mod connection;
mod digits;
mod elasticsearch;
mod fetch;
mod figures;
mod file;
mod filter;
mod geometry;
mod host_look;
mod http;
mod kafka;
mod made_up;
mod message;
mod mysql;
mod postgres;
mod reasons;
mod redis;
mod request;
mod selection;
mod servers;
mod shape;
mod sink;
mod sql;
mod tables;
mod target;
mod template;
mod value;

pub use self::{
    config::{SINKS, SinkConfig},
    figures::Figures,
    http::{is_loopback, read_ca},
    request::{Per, Request, RequestForm, is_template},
    selection::Selection,
    sink::Sink,
    tables::{NoTables, Tables},
    target::TargetFinding,
};
