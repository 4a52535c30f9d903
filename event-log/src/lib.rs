//! A durable, ordered log on disk with a network face.

/// The messages and services of `proto/event_log.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod proto {
    tonic::include_proto!("dbevent.eventlog.v1");
}
