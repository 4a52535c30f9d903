//! Records whose payload has a form: how they are made, and how they are read.
//!
//! # Forms
//!
//! Type 1000: any bytes; a line of text, most often. Type 1001: a database change
//! (`docs/event-format.md`). Type 1201: one JSON value, of the app's own.
//!
//! Type 1101, an app log: a JSON object with these members. A reader takes what is missing as empty
//! (`timeNs`: 0), and skips what it does not know.
//!
//! ```text
//! env       text    where it runs: "prod"
//! system    text    which program: "shop"
//! level     text    "trace", "debug", "info", "warn", "error" or "fatal"
//! file      text    the source file, with its line if that is known: "src/pay.rs:17"
//! function  text    the function in it
//! timeNs    number  when it was said: nanoseconds since the Unix epoch, UTC, as a whole number
//! message   text    what was said
//! fields    object  anything else, by name
//! ```

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    APP_LOG, DATABASE_CHANGE, Error, JSON, PLAIN, Record,
    proto::{Header, NewRecord},
};

/// A line of an app's log: type 1101.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppLog {
    /// Where it runs, for example `prod`.
    pub env: String,
    /// Which program.
    pub system: String,
    /// `trace`, `debug`, `info`, `warn`, `error` or `fatal`.
    pub level: String,
    /// The source file, with its line if that is known.
    pub file: String,
    /// The function in it.
    pub function: String,
    /// When it was said, in nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// What was said.
    pub message: String,
    /// Anything else, by name.
    pub fields: Map<String, Value>,
}

impl AppLog {
    /// One that is said now, at a level.
    pub fn now(level: &str, message: impl Into<String>) -> Self {
        let (level, message) = (level.to_owned(), message.into());
        Self { level, message, time_ns: now_ns(), ..Self::default() }
    }

    /// Reads the payload of a record of type 1101.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and where.
    pub fn read(payload: &[u8]) -> Result<Self, serde_json::Error> {
        // A list would be taken as the members in their order.
        let members: Map<String, Value> = serde_json::from_slice(payload)?;
        serde_json::from_value(Value::Object(members))
    }

    /// The record of it.
    pub fn record(&self, topic: &str) -> NewRecord {
        // Texts and numbers can always be written.
        let payload = serde_json::to_vec(self).unwrap_or_default();
        new(APP_LOG, topic, payload)
    }
}

/// A record of any bytes: type 1000.
pub fn plain(topic: &str, payload: impl Into<Bytes>) -> NewRecord {
    new(PLAIN, topic, payload)
}

/// A record of a JSON value: type 1201.
///
/// # Errors
///
/// [`Error::Rejected`] for a value that JSON cannot hold.
pub fn json(topic: &str, value: &impl Serialize) -> Result<NewRecord, Error> {
    let rejected = |error| Error::Rejected(format!("this cannot be written as JSON: {error}"));
    Ok(new(JSON, topic, serde_json::to_vec(value).map_err(rejected)?))
}

fn new(kind: u32, topic: &str, payload: impl Into<Bytes>) -> NewRecord {
    let (topic, payload) = (topic.to_owned(), payload.into());
    NewRecord { r#type: kind, topic, payload, ..NewRecord::default() }
}

/// Gives a record one header more.
pub fn with_header(mut record: NewRecord, name: &str, value: impl Into<Bytes>) -> NewRecord {
    record.headers.push(Header { name: name.to_owned(), value: value.into() });
    record
}

/// What a record holds, by its type.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed {
    /// Type 1001: a change event in JSON.
    DatabaseChange(Bytes),
    /// Type 1101.
    AppLog(AppLog),
    /// Type 1201.
    Json(Value),
    /// Any other type: its payload as it is.
    Other(Bytes),
}

impl Typed {
    /// Reads a record.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`]: the payload is not what the type says.
    pub fn of(record: &Record) -> Result<Self, Error> {
        let payload = &record.payload;
        let wrong = |error: serde_json::Error| {
            let Record { offset, kind, .. } = record;
            Error::Rejected(format!("the record at offset {offset} is not of type {kind}: {error}"))
        };
        Ok(match record.kind {
            DATABASE_CHANGE => Self::DatabaseChange(payload.clone()),
            APP_LOG => Self::AppLog(AppLog::read(payload).map_err(wrong)?),
            JSON => Self::Json(serde_json::from_slice(payload).map_err(wrong)?),
            _ => Self::Other(payload.clone()),
        })
    }
}

/// Now, in nanoseconds since the Unix epoch.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: u32, payload: Bytes) -> Result<Typed, Error> {
        let (offset, time_ms, origin, headers) = (7, 0, 1, Vec::new());
        let (topic, key) = (Bytes::new(), Bytes::new());
        Typed::of(&Record { offset, time_ms, kind, origin, topic, key, payload, headers })
    }

    #[test]
    fn what_is_made_is_read_as_it_was() {
        let log = AppLog {
            env: "prod".into(),
            file: "a.rs:1".into(),
            fields: json!({"user": 7}).as_object().unwrap().clone(),
            ..AppLog::now("warn", "slow")
        };
        let record = log.record("t");
        assert_eq!((record.r#type, &*record.topic), (1101, "t"));
        let members = serde_json::from_slice::<Value>(&record.payload).unwrap();
        assert_eq!(members["timeNs"], json!(log.time_ns));
        assert_eq!(read(1101, record.payload).unwrap(), Typed::AppLog(log));

        let record = super::json("t", &[1, 2]).unwrap();
        assert_eq!(read(record.r#type, record.payload).unwrap(), Typed::Json(json!([1, 2])));
        let record = plain("t", "\u{fffd}x");
        assert_eq!(read(record.r#type, record.payload).unwrap(), Typed::Other("\u{fffd}x".into()));
    }

    #[test]
    fn an_app_log_of_another_program_may_have_less_or_more_and_wrong_ones_are_told() {
        let log = AppLog::read(br#"{"message":"m","host":"h"}"#).unwrap();
        assert_eq!(log, AppLog { message: "m".into(), ..AppLog::default() });
        let said = read(1101, Bytes::from("[1]")).unwrap_err().to_string();
        assert!(said.contains("offset 7 is not of type 1101"), "{said}");
        assert!(read(1201, Bytes::from("{")).is_err());
    }
}
