//! How a copy gets on.

use service::clock::now_ms;

use super::mark::CopyOf;

/// How a copy gets on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyState {
    /// What it is a copy of.
    pub of: CopyOf,
    /// Why nothing comes, if it is so.
    pub problem: Option<String>,
    /// Since when it is connected, or not: milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The end of the original, as it was last heard of.
    pub source_end: Option<u64>,
    /// It is about to become a stream of its own.
    pub(crate) is_promoted: bool,
}

impl CopyState {
    pub(crate) fn new(of: CopyOf) -> Self {
        let problem = Some("nobody has asked for it yet".to_owned());
        Self { of, problem, since_ms: now_ms(), source_end: None, is_promoted: false }
    }
}
