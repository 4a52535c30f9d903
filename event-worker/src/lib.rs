//! Runs listeners: batches of changes, handlers that are called until they succeed.
//!
//! The journey of an event, in the order of its rooms: `listener` takes deliveries from the bus
//! and gives them to lanes by key; a lane calls a [`Handler`] until it succeeds; what is done is
//! committed. `supervisor` runs each listener as a process of its own, `api` shows them.

mod config;
mod error;
mod event;
mod handler;
mod listener;

pub use config::{
    Actions, Config, ExecConfig, HandlerConfig, HttpConfig, ListenConfig, ListenerConfig,
};
pub use error::Error;
pub use event::{Event, json_array};
pub use handler::{Batch, Failure, Handler, Outcome};
pub use listener::Listener;
