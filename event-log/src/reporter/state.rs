//! How a reporter stands, for people.

use std::fmt;

use bytesize::ByteSize;

use crate::ReporterLink;

/// How a reporter stands.
#[derive(Clone, Debug)]
pub struct ReporterState {
    /// How it is connected.
    pub link: ReporterLink,
    /// What waits in the spool.
    pub spooled_bytes: u64,
    /// The most that may wait there.
    pub max_bytes: u64,
}

impl fmt::Display for ReporterState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { link, spooled_bytes, max_bytes } = self;
        let (spooled, max) = (ByteSize::b(*spooled_bytes), ByteSize::b(*max_bytes));
        write!(out, "{spooled} of {max} wait in the spool; the server: {link}")
    }
}
