//! A durable, ordered log on disk with a network face.

mod config;

pub use config::{OnFull, StorageConfig, is_address, is_loopback, is_stream_name};

/// The messages and services of `proto/event_log.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod proto {
    tonic::include_proto!("dbevent.eventlog.v1");
}
