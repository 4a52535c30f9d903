//! A durable, ordered log on disk, with a gRPC server and its client.

mod client;
mod config;
mod copy;
mod disk;
mod error;
pub mod files;
mod filter;
mod group;
mod http;
mod keeper;
mod leader;
mod log;
mod queue;
mod reader;
mod record;
mod retention;
mod server;
mod shared;
mod stream;
mod subscribe;
mod subscription;
mod tail;
mod wire;
mod writer;

pub use client::{Client, ClientConfig, Compress, RemoteProducer, RemoteSubscription};
pub use config::{OnFull, StorageConfig, is_stream_name};
pub use copy::{
    local::LOCAL_PRODUCERS,
    mark::CopyOf,
    mirror::{Mirror, MirrorOptions, OnGone},
    state::CopyState,
};
pub use disk::end_and_state::{Checkpoint, CheckpointChange};
pub use error::Error;
pub use group::GroupState;
pub use http::HttpServer;
pub use leader::ProducerLead;
pub use log::Log;
pub use record::{DATABASE_CHANGE, FIRST_DATA_TYPE, Header, NewHeaders, NewRecord, Record};
pub use server::{AccessConfig, Server, ServerConfig, ServerTokens, TlsFiles};
pub use stream::{OpenedProducer, Stream, StreamState};
pub use subscribe::{Start, Subscribe};
pub use subscription::{Event, Subscription};
pub use tail::{Append, Appended, MAX_BATCH_BYTES, ProducerSequence};

/// The messages and services of `proto/event_log.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod proto {
    tonic::include_proto!("dbevent.eventlog.v1");

    /// All of it, for reflection.
    pub(crate) const DESCRIPTORS: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/event_log.bin"));
}
