//! A record as a JSON object: for humans, scripts and handlers.

use std::{borrow::Cow, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::Record;

/// A record as it is printed: in one line, with the digits and the order of its JSON as they are.
///
/// `payload` is the JSON object or array that was appended; another text is a string. Bytes that
/// are not UTF-8 are base64, and `payloadEncoding` says so; `keyEncoding`, and `encoding` in a
/// header, do the same.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrintedRecord<'a> {
    offset: u64,
    time: String,
    #[serde(rename = "type")]
    kind: u32,
    origin: u32,
    topic: &'a str,
    key: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<&'static str>,
    headers: Vec<PrintedHeader<'a>>,
    payload: Payload<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_encoding: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct PrintedHeader<'a> {
    name: &'a str,
    value: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Payload<'a> {
    Json(Cow<'a, RawValue>),
    Text(Cow<'a, str>),
}

impl<'a> PrintedRecord<'a> {
    /// Of a record.
    pub fn of(record: &'a Record) -> Self {
        let (key, key_encoding) = text(&record.key);
        let headers = record.headers.iter().map(|header| {
            let (value, encoding) = text(&header.value);
            PrintedHeader { name: header.name(), value, encoding }
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

/// A time as RFC 3339 with milliseconds; its number where the calendar ends.
pub fn timestamp(time_ms: u64) -> String {
    /// 9999-12-31T23:59:59.999Z
    const LAST_MS: u64 = 253_402_300_799_999;
    if time_ms > LAST_MS {
        return time_ms.to_string();
    }
    let time = std::time::UNIX_EPOCH + Duration::from_millis(time_ms);
    humantime::format_rfc3339_millis(time).to_string()
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

    #[test]
    fn a_time_has_milliseconds_and_never_fails() {
        assert_eq!(timestamp(1_772_323_200_500), "2026-03-01T00:00:00.500Z");
        assert_eq!(timestamp(u64::MAX), u64::MAX.to_string());
    }
}
