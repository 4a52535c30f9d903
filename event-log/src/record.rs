//! Records, as they are given to the log and as it gives them back.

use bytes::Bytes;

use crate::proto;

/// The first type that is not the log's own.
pub const FIRST_DATA_TYPE: u32 = 1000;
/// The type of a database change.
pub const DATABASE_CHANGE: u32 = 1001;

/// A record to append.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// What the payload is; 1000 or more.
    pub kind: u32,
    /// Up to 249 bytes.
    pub topic: &'a str,
    /// Up to 1 MiB.
    pub key: &'a [u8],
    /// Up to 64 KiB together.
    pub headers: NewHeaders<'a>,
    /// With all the rest up to 64 MiB.
    pub payload: &'a [u8],
}

/// Headers, from whichever side they come.
#[derive(Clone, Copy, Debug)]
pub enum NewHeaders<'a> {
    /// From a caller in this process.
    Text(&'a [(String, String)]),
    /// From the network.
    Proto(&'a [proto::Header]),
}

impl NewHeaders<'_> {
    /// Calls `each` with every name and value.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&str, &[u8])) {
        match self {
            Self::Text(list) => {
                list.iter().for_each(|(name, value)| each(name, value.as_bytes()));
            }
            Self::Proto(list) => list.iter().for_each(|header| each(&header.name, &header.value)),
        }
    }
}

/// A record of the log. Its parts share one buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the stream.
    pub offset: u64,
    /// When the log took it in, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What the payload is.
    pub kind: u32,
    /// The log where it was first appended.
    pub origin: u32,
    pub(crate) topic: Bytes,
    /// As it was appended.
    pub key: Bytes,
    /// As they were appended.
    pub headers: Vec<(String, Bytes)>,
    /// As it was appended.
    pub payload: Bytes,
}

impl Record {
    /// As it was appended.
    pub fn topic(&self) -> &str {
        // It was checked when the record was decoded.
        std::str::from_utf8(&self.topic).unwrap_or_default()
    }
}
