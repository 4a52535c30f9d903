//! What a subscriber asks for.

use bytes::Bytes;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record kept.
    Earliest,
    /// With the first record after now.
    Latest,
    /// With this offset.
    Offset(u64),
    /// With the first record taken in at this time or later: milliseconds since the Unix epoch.
    Time(u64),
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// With a group, the log keeps the offset, and only one member is active; empty: no group.
    pub group: String,
    /// Where to begin; with a group only the first time.
    pub start: Start,
    /// Regular expressions for whole topics; none: all.
    pub topics: Vec<String>,
    /// Types; none: all.
    pub kinds: Vec<u32>,
    /// Origins; none: all.
    pub origins: Vec<u32>,
    /// A header by which records are addressed: a record whose header has another value is left
    /// out.
    pub addressee: Option<(String, Bytes)>,
    /// About how many bytes one delivery has; 0: 1 MiB.
    pub max_bytes: usize,
    /// Who this is, for humans.
    pub client: String,
}
