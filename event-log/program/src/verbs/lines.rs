//! Records as lines of JSON, and which of them are wanted.

use std::{
    borrow::Cow,
    io::{self, BufWriter, ErrorKind, StdoutLock, Write},
    path::PathBuf,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use event_log::{Error, Record, Start, Subscribe};
use serde::Serialize;
use serde_json::value::RawValue;

use super::point::timestamp;

const BUFFER_BYTES: usize = 64 << 10;

/// Which records of a stream.
#[derive(Args)]
pub(crate) struct Wanted {
    /// A regular expression for the whole topic; may be given several times.
    #[arg(long, value_name = "REGEX")]
    topic: Vec<String>,
    /// The type; may be given several times.
    #[arg(long = "type", value_name = "N")]
    kind: Vec<u32>,
    /// The id of the log where the record was first appended; may be given several times.
    #[arg(long, value_name = "N")]
    origin: Vec<u32>,
    /// The key, whole.
    #[arg(long)]
    key: Option<String>,
}

impl Wanted {
    /// What a reader is asked for.
    pub(crate) fn filter(&self) -> Subscribe {
        Subscribe {
            group: String::new(),
            start: Start::Earliest,
            topics: self.topic.clone(),
            kinds: self.kind.clone(),
            origins: self.origin.clone(),
            addressee: None,
            max_bytes: 0,
            client: String::new(),
        }
    }

    /// What a reader does not know of.
    pub(crate) fn has_key(&self, record: &Record) -> bool {
        self.key.as_ref().is_none_or(|key| record.key == key.as_bytes())
    }
}

/// Standard output, for lines.
pub(crate) struct Lines {
    out: BufWriter<StdoutLock<'static>>,
}

/// Whether somebody still reads the lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Open,
    Closed,
}

impl Lines {
    pub(crate) fn new() -> Self {
        Self { out: BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock()) }
    }

    pub(crate) fn print(&mut self, record: &Record) -> Result<Output, Error> {
        let line = serde_json::to_writer(&mut self.out, &Line::of(record));
        let written = line.map_err(io::Error::from).and_then(|()| self.out.write_all(b"\n"));
        outcome(written)
    }

    pub(crate) fn flush(&mut self) -> Result<Output, Error> {
        outcome(self.out.flush())
    }
}

fn outcome(written: io::Result<()>) -> Result<Output, Error> {
    match written {
        Ok(()) => Ok(Output::Open),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Output::Closed),
        Err(source) => {
            let path = PathBuf::from("standard output");
            Err(Error::Io { action: "cannot write to", path, source })
        }
    }
}

/// A record as it is printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    offset: u64,
    time: String,
    #[serde(rename = "type")]
    kind: u32,
    origin: u32,
    topic: &'a str,
    key: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<&'static str>,
    headers: Vec<HeaderLine<'a>>,
    payload: Payload<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_encoding: Option<&'static str>,
}

#[derive(Serialize)]
struct HeaderLine<'a> {
    name: &'a str,
    value: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payload<'a> {
    Json(Cow<'a, RawValue>),
    Text(Cow<'a, str>),
}

impl<'a> Line<'a> {
    fn of(record: &'a Record) -> Self {
        let (key, key_encoding) = text(&record.key);
        let headers = record.headers.iter().map(|header| {
            let (value, encoding) = text(&header.value);
            HeaderLine { name: header.name(), value, encoding }
        });
        let (payload, payload_encoding) = match json(&record.payload) {
            Some(json) => (Payload::Json(json), None),
            None => {
                let (text, encoding) = text(&record.payload);
                (Payload::Text(text), encoding)
            }
        };
        Self {
            offset: record.offset,
            time: timestamp(record.time_ms),
            kind: record.kind,
            origin: record.origin,
            topic: record.topic(),
            key,
            key_encoding,
            headers: headers.collect(),
            payload,
            payload_encoding,
        }
    }
}

/// Text as it is; other bytes as base64, with the name of that.
fn text(bytes: &[u8]) -> (Cow<'_, str>, Option<&'static str>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(_) => (Cow::Owned(STANDARD.encode(bytes)), Some("base64")),
    }
}

/// A JSON object or array, with its digits and its order as they are, in one line.
fn json(bytes: &[u8]) -> Option<Cow<'_, RawValue>> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if !matches!(first, Some(b'{' | b'[')) {
        return None;
    }
    let json: &RawValue = serde_json::from_slice(bytes).ok()?;
    if !json.get().contains(['\n', '\r']) {
        return Some(Cow::Borrowed(json));
    }
    // Within a text of JSON there is no line break, so this changes nothing.
    RawValue::from_string(json.get().replace(['\n', '\r'], " ")).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(bytes: &[u8]) -> String {
        match json(bytes) {
            Some(json) => json.get().to_owned(),
            None => serde_json::to_string(&text(bytes).0).unwrap(),
        }
    }

    #[test]
    fn a_payload_is_json_as_it_is_or_text_or_base64() {
        let cases: [(&[u8], &str); 7] = [
            (
                b"{\"a\":1.10,\"big\":123456789012345678901}",
                "{\"a\":1.10,\"big\":123456789012345678901}",
            ),
            (b" [1,\n\r\n 2]", "[1,    2]"),
            (b"plain \"text\"", "\"plain \\\"text\\\"\""),
            (b"17", "\"17\""),
            (b"{half", "\"{half\""),
            (b"", "\"\""),
            (b"\xff\x00", "\"/wA=\""),
        ];
        for (bytes, line) in cases {
            assert_eq!(payload(bytes), line);
        }
        assert_eq!(text(b"\xff\x00").1, Some("base64"));
    }
}
