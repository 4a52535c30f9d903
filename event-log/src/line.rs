//! Lines of text as records.

use bytes::Bytes;
use serde_json::{Map, Value, value::RawValue};

use crate::{APP_LOG, AppLog, JSON, PLAIN, proto::NewRecord};

/// What the lines of an input are, and what their records get.
#[derive(Clone, Debug, PartialEq)]
pub struct LineForm {
    /// What a line is.
    pub line: LineType,
    /// The topic of each record.
    pub topic: String,
    /// The key of each record.
    pub key: Bytes,
    /// What an app log has where the line does not say it: `env`, `system`, `level`.
    pub app: AppLog,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineType {
    /// Any bytes, as a record of this type.
    Bytes(u32),
    /// A JSON value, as a record of this type.
    Json(u32),
    /// The message of an app log.
    AppMessage,
    /// An app log, as a JSON object.
    AppLog,
}

impl LineType {
    /// The type for `text` lines that nobody gave another.
    pub const TEXT: Self = Self::Bytes(PLAIN);
    /// The type for JSON lines that nobody gave another.
    pub const JSON: Self = Self::Json(JSON);
}

impl LineForm {
    /// The record of a line, which is without its line feed.
    ///
    /// # Errors
    ///
    /// Why the line is not what it should be.
    pub fn record(&self, line: &[u8]) -> Result<NewRecord, String> {
        Ok(match self.line {
            LineType::Bytes(kind) => self.made(kind, line.to_vec()),
            LineType::Json(kind) => {
                let _: &RawValue =
                    serde_json::from_slice(line).map_err(|error| not_json(&error))?;
                self.made(kind, line.to_vec())
            }
            LineType::AppMessage => {
                let AppLog { time_ns, .. } = AppLog::now("", "");
                let message = String::from_utf8_lossy(line).into_owned();
                let log = AppLog { time_ns, message, ..self.app.clone() };
                self.made(APP_LOG, log.record("").payload)
            }
            LineType::AppLog => self.made(APP_LOG, self.app_log(line)?),
        })
    }

    /// A line that is not what it should be, as it is: type 1000, and the header `problem` says
    /// what is wrong.
    pub fn record_of_wrong(&self, line: &[u8], problem: &str) -> NewRecord {
        let record = self.made(PLAIN, line.to_vec());
        crate::typed::with_header(record, "problem", problem.to_owned())
    }

    fn made(&self, kind: u32, payload: impl Into<Bytes>) -> NewRecord {
        let (topic, key) = (self.topic.clone(), self.key.clone());
        NewRecord { r#type: kind, topic, key, payload: payload.into(), headers: Vec::new() }
    }

    /// Adds what is missing; members that we do not know stay.
    fn app_log(&self, line: &[u8]) -> Result<Vec<u8>, String> {
        let wrong = |error: &serde_json::Error| format!("is not an app log: {error}");
        let mut members: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| wrong(&error))?;
        let log: AppLog = serde_json::from_value(Value::Object(members.clone()))
            .map_err(|error| wrong(&error))?;
        let texts = [
            ("env", &log.env, &self.app.env),
            ("system", &log.system, &self.app.system),
            ("level", &log.level, &self.app.level),
        ];
        for (name, found, instead) in texts {
            if found.is_empty() && !instead.is_empty() {
                members.insert(name.to_owned(), Value::from(instead.clone()));
            }
        }
        if log.time_ns == 0 {
            members.insert("timeNs".to_owned(), Value::from(AppLog::now("", "").time_ns));
        }
        serde_json::to_vec(&members).map_err(|error| wrong(&error))
    }
}

fn not_json(error: &serde_json::Error) -> String {
    // There is only one line.
    format!("is not JSON: {}", error.to_string().replace(" at line 1 column ", " at byte "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(line: LineType) -> LineForm {
        let app = AppLog { system: "shop".into(), ..AppLog::default() };
        LineForm { line, topic: "t".into(), key: "k".into(), app }
    }

    #[test]
    fn each_kind_of_line_becomes_its_record() {
        let record = form(LineType::TEXT).record(b"\xff\r").unwrap();
        assert_eq!((record.r#type, &record.payload[..]), (1000, &b"\xff\r"[..]));
        assert_eq!((&*record.topic, &record.key[..]), ("t", &b"k"[..]));
        let record = form(LineType::JSON).record(b" {\"a\": 1} ").unwrap();
        assert_eq!((record.r#type, &record.payload[..]), (1201, &b" {\"a\": 1} "[..]));
        let record = form(LineType::AppMessage).record(b"a\xffb").unwrap();
        let log = AppLog::read(&record.payload).unwrap();
        assert_eq!((record.r#type, &*log.message, &*log.system), (1101, "a\u{fffd}b", "shop"));
        assert!(log.time_ns > 0);
        let record = form(LineType::AppLog).record(b"{\"level\":\"info\",\"pid\":1}").unwrap();
        let members: Value = serde_json::from_slice(&record.payload).unwrap();
        assert_eq!((&members["pid"], &members["system"]), (&json!(1), &json!("shop")));
        assert!(members["timeNs"].as_u64().unwrap() > 0);
    }

    #[test]
    fn a_line_that_is_something_else_is_told_and_kept_as_it_is_where_that_is_asked() {
        for (line, text, said) in [
            (LineType::JSON, &b""[..], "is not JSON: EOF while parsing a value"),
            (LineType::JSON, b"{} x", "is not JSON: trailing characters at byte 4"),
            (LineType::JSON, b"\"\xff\"", "is not JSON: invalid unicode"),
            (LineType::AppLog, b"[]", "is not an app log: invalid type"),
            (LineType::AppLog, b"{\"level\":1}", "is not an app log: invalid type"),
        ] {
            let problem = form(line).record(text).unwrap_err();
            assert!(problem.starts_with(said), "{problem}");
            let record = form(line).record_of_wrong(text, &problem);
            assert_eq!((record.r#type, &record.payload[..]), (1000, text));
            assert_eq!(record.headers[0].name, "problem");
        }
    }
}
