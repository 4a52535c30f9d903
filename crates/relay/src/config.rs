//! What a relay reads, from where on, and how it calls.

use std::path::PathBuf;

use event_log::{ClientConfig, Start};
use service::BackoffConfig;

/// A relay.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Its name: its place is kept by it. At a server it is the name of a group.
    pub name: String,
    /// The stream.
    pub stream: String,
    /// Where the stream is.
    pub source: RelaySource,
    /// Where a relay begins that has no place yet.
    pub start: Start,
    /// Which records are given.
    pub choice: RecordChoice,
    /// How many records a call gets at most.
    pub batch_size: usize,
    /// About how many bytes of records a call gets at most; one record may be larger.
    pub batch_bytes: usize,
    /// How long to wait before a failed batch is tried again.
    pub retry: BackoffConfig,
    /// What to do when the next records were deleted.
    pub on_gone: OnGone,
    /// Whether the log shows what a callback says of its failures. That may contain what is in
    /// records.
    pub show_output: bool,
}

/// Where a stream is read.
#[derive(Clone, Debug)]
pub enum RelaySource {
    /// A server. It keeps the place.
    Server(ClientConfig),
    /// The directory of a log.
    Directory(Directory),
}

/// The directory of a log, and where the place is kept.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The directory of the log.
    pub log: PathBuf,
    /// The file that keeps the place. It is not in the directory of the log, which belongs to
    /// others.
    pub state: PathBuf,
}

/// Which records are given. An empty list means all.
#[derive(Clone, Debug, Default)]
pub struct RecordChoice {
    /// Regular expressions for whole topics.
    pub topics: Vec<String>,
    /// Types.
    pub kinds: Vec<u32>,
    /// Logs where the records were first appended.
    pub origins: Vec<u32>,
    /// Logs whose records are left out.
    pub not_origins: Vec<u32>,
}

/// What to do when the next records were deleted before they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnGone {
    /// End, and say so.
    #[default]
    Stop,
    /// Say so, and go on with the oldest that is there.
    Earliest,
}
