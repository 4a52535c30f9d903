//! A durable, ordered log on disk, with a gRPC server and its client.

mod agent;
mod chunks;
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
mod line;
mod link;
mod log;
#[cfg(test)]
mod power_cut;
mod printed;
mod queue;
mod reader;
mod record;
mod records;
mod reporter;
mod retention;
mod room;
mod server;
mod shared;
mod stream;
mod subscribe;
mod subscription;
mod tail;
pub mod typed;
mod wire;
mod writer;

pub use agent::{AgentConfig, FileSet, FileStart, run_agent};
pub use client::{Client, ClientConfig, Compress, RemoteProducer, RemoteSubscription};
pub use config::{OnFull, StorageConfig, StreamLimits, is_stream_name};
pub use copy::{
    config::MirrorConfig,
    local::LOCAL_PRODUCERS,
    mark::CopyOf,
    mirror::{Mirror, MirrorOptions, OnGone},
    state::CopyState,
};
pub use disk::end_and_state::{Checkpoint, CheckpointChange};
pub use error::Error;
pub use filter::RecordFilter;
pub use group::GroupState;
pub use http::HttpServer;
pub use leader::ProducerLead;
pub use line::{LineForm, LineType};
pub use link::ReporterLink;
pub use log::Log;
pub use printed::{PrintedRecord, timestamp};
pub use record::{
    APP_LOG, DATABASE_CHANGE, FIRST_DATA_TYPE, Header, JSON, NewHeaders, NewRecord, PLAIN, Record,
};
pub use reporter::{Reporter, ReporterConfig, ReporterState, SpoolConfig, WhenFull};
pub use server::{AccessConfig, Server, ServerConfig, ServerTokens, TlsFiles};
pub use stream::{OpenedProducer, Stream, StreamState};
pub use subscribe::{Start, Subscribe};
pub use subscription::{Event, Subscription};
pub use tail::{Append, Appended, MAX_BATCH_BYTES, ProducerSequence};
pub use typed::{AppLog, Typed};

/// The messages and services of `proto/event_log.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod proto {
    tonic::include_proto!("dbevent.eventlog.v1");

    /// All of it, for reflection.
    pub(crate) const DESCRIPTORS: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/event_log.bin"));
}
