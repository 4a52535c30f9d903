//! Records, as they are given to the log and as it gives them back.

use bytes::Bytes;

use crate::proto;

/// The first type that is not the log's own.
pub const FIRST_DATA_TYPE: u32 = 1000;
/// The type of bytes without a form: a line of text, most often.
pub const PLAIN: u32 = 1000;
/// The type of a database change.
pub const DATABASE_CHANGE: u32 = 1001;
/// The type of a line of an app's log: [`AppLog`](crate::AppLog).
pub const APP_LOG: u32 = 1101;
/// The type of a JSON value.
pub const JSON: u32 = 1201;

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
    /// All together up to 64 MiB.
    pub payload: &'a [u8],
}

/// Headers, as a caller or the network gives them.
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

/// A record of the log: `Record` of `proto/event_log.proto`. Its parts share the buffer that it
/// came in.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Record {
    /// Its place in the stream.
    #[prost(uint64, tag = "1")]
    pub offset: u64,
    /// When the log took it in, in milliseconds since the Unix epoch.
    #[prost(uint64, tag = "2")]
    pub time_ms: u64,
    /// What the payload is.
    #[prost(uint32, tag = "3")]
    pub kind: u32,
    /// The log where it was first appended.
    #[prost(uint32, tag = "4")]
    pub origin: u32,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) topic: Bytes,
    /// As it was appended.
    #[prost(bytes = "bytes", tag = "6")]
    pub key: Bytes,
    /// As it was appended.
    #[prost(bytes = "bytes", tag = "7")]
    pub payload: Bytes,
    /// As they were appended.
    #[prost(message, repeated, tag = "8")]
    pub headers: Vec<Header>,
}

/// A header of a record.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Header {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) name: Bytes,
    /// As it was appended.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

impl Record {
    /// As it was appended.
    pub fn topic(&self) -> &str {
        // It was checked when the record came in.
        std::str::from_utf8(&self.topic).unwrap_or_default()
    }

    /// Checks the parts that must be text.
    pub(crate) fn check_texts(&self) -> Result<(), &'static str> {
        if std::str::from_utf8(&self.topic).is_err() {
            return Err("the topic is not UTF-8");
        }
        let is_text = |header: &Header| std::str::from_utf8(&header.name).is_ok();
        if self.headers.iter().all(is_text) { Ok(()) } else { Err("a header is not UTF-8") }
    }
}

impl Header {
    /// As it was appended.
    pub fn name(&self) -> &str {
        // It was checked when the record came in.
        std::str::from_utf8(&self.name).unwrap_or_default()
    }
}
