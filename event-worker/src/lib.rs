//! Runs listeners: batches of changes, handlers that are called until they succeed.
//!
//! The journey of an event, in the order of its rooms: `listener` takes deliveries from the bus
//! and gives them to lanes by key; a lane calls a [`Handler`] until it succeeds; what is done is
//! committed. `supervisor` runs each listener as a process of its own, `api` shows them.

mod config;

pub use config::{
    Actions, Config, ExecConfig, HandlerConfig, HttpConfig, ListenConfig, ListenerConfig,
};
