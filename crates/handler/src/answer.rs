//! What a handler's answer means, from a process and from a server.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Batch, Failure, Outcome};

/// No answer is longer.
pub const MAX_ANSWER_BYTES: usize = 4 << 20;

/// At most so much of a handler's words is shown.
const MAX_SHOWN_CHARS: usize = 300;

/// What a handler should write instead of a line that is not an answer.
const FORMS: &str = r#"answer each batch with one line, true, false, {"failed":["<EvId>",…]} or {"unavailable":"why"}, and write everything else to standard error"#;

/// The text of an answer, and the batch that it answers.
#[derive(Clone, Copy, Debug)]
pub struct HandlerAnswer<'a> {
    /// The text.
    pub text: &'a [u8],
    /// The batch that was given.
    pub batch: Batch<'a>,
}

/// An answer that names the failed events.
#[derive(Deserialize)]
struct NamedAnswer {
    failed: FailedEvents,
    /// The reason, in the handler's words.
    #[serde(default)]
    error: Option<Value>,
    /// The id of the last event of the batch, to name the batch that is answered.
    #[serde(default)]
    last: Option<String>,
}

/// The members of an answer.
const FAILED: &str = "failed";
const UNAVAILABLE: &str = "unavailable";

/// What to do about a handler that says so.
const THEIRS_AWAY: &str = "see that what the handler works on runs and answers; nothing is skipped, \
                           and the same events are tried again by themselves";

#[derive(Deserialize)]
#[serde(untagged)]
enum FailedEvents {
    All(bool),
    These(Vec<String>),
}

impl HandlerAnswer<'_> {
    /// Reads the answer of a process. Only `true` means done; `{"failed":["<EvId>",…]}` names the
    /// failed events; `{"unavailable":"why"}` says that what the handler works on is away. A debug
    /// line must never count as an answer.
    ///
    /// # Errors
    ///
    /// What is wrong with a line that is not an answer. Its batch counts as failed.
    pub fn read_line(self) -> Result<Outcome, Failure> {
        match serde_json::from_slice(self.text) {
            Ok(Value::Bool(true)) => Ok(Outcome::Done),
            Ok(Value::Bool(false)) => Ok(Outcome::failed("the handler answered false")),
            Ok(Value::Object(table)) if names_away(&table) => Ok(away(&table)),
            Ok(Value::Object(table)) if table.contains_key(FAILED) => self.read_named(table.into()),
            _ if self.text.trim_ascii().is_empty() => {
                Err(Failure::unclear(format!("the handler answered an empty line: {FORMS}")))
            }
            _ => {
                let length = self.text.len();
                let reason =
                    format!("the handler wrote a line of {length} bytes that is no answer");
                Err(Failure::unclear(format!("{reason}: {FORMS}")).saying(shown(self.text)))
            }
        }
    }

    /// Reads the body that a server sent with a status of success. The status means done, unless
    /// the body is `false` or an object with `failed` or `unavailable`.
    pub fn read_body(self) -> Outcome {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        let text = self.text.strip_prefix(MARK).unwrap_or(self.text);
        match serde_json::from_slice(text) {
            Ok(Value::Bool(false)) => Outcome::failed("the handler answered false"),
            Ok(Value::Object(table)) if names_away(&table) => away(&table),
            Ok(Value::Object(table)) if table.contains_key(FAILED) => {
                self.read_named(table.into()).unwrap_or_else(Outcome::Failed)
            }
            Err(_) if names(text, FAILED) || names(text, UNAVAILABLE) => {
                let name = if names(text, FAILED) { FAILED } else { UNAVAILABLE };
                let reason = format!(
                    "the handler's answer names {name:?}, but is not one JSON value in UTF-8"
                );
                Outcome::Failed(Failure::unclear(reason).saying(shown(text)))
            }
            _ => Outcome::Done,
        }
    }

    fn read_named(self, answer: Value) -> Result<Outcome, Failure> {
        let NamedAnswer { failed, error, last } = serde_json::from_value(answer).map_err(|_| {
            let reason = r#"the handler's answer has "failed", but not as a list of EvIds"#;
            Failure::unclear(reason).saying(shown(self.text))
        })?;
        if last
            .is_some_and(|last| self.batch.events.last().map(|event| event.ev_id()) != Some(&last))
        {
            return Err(Failure::unclear("the handler answered another batch, as \"last\" says"));
        }
        let said =
            error.map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned));
        let said = said.map(|said| shown(said.as_bytes())).filter(|said| !said.is_empty());
        Ok(match failed {
            FailedEvents::All(false) if said.is_none() => Outcome::Done,
            FailedEvents::These(ids) if ids.is_empty() && said.is_none() => Outcome::Done,
            FailedEvents::These(ids) if !ids.is_empty() => Outcome::partly(ids, said),
            // An error without names is about all events.
            _ => {
                Outcome::Failed(Failure { said, ..Failure::new("the handler says that it failed") })
            }
        })
    }
}

/// Whether an answer says that what the handler works on is away.
fn names_away(answer: &Map<String, Value>) -> bool {
    !matches!(answer.get(UNAVAILABLE), None | Some(Value::Null | Value::Bool(false)))
}

fn away(answer: &Map<String, Value>) -> Outcome {
    let said = match answer.get(UNAVAILABLE) {
        Some(Value::String(why)) => Some(why.clone()),
        None | Some(Value::Bool(_)) => None,
        Some(other) => Some(other.to_string()),
    };
    let said = said.map(|said| shown(said.as_bytes())).filter(|said| !said.is_empty());
    let reason = "the handler says that what it works on is away";
    Outcome::Failed(Failure { said, remedy: Some(THEIRS_AWAY), ..Failure::away(reason) })
}

/// Whether a text that is not JSON contains such a name of a member: an answer that was cut off, or
/// that is in UTF-16.
fn names(text: &[u8], member: &str) -> bool {
    let letters: Vec<u8> = text.iter().copied().filter(|byte| *byte != 0).collect();
    memchr::memmem::find(&letters, format!("\"{member}\"").as_bytes()).is_some()
}

/// The beginning of what a handler said, as one line of text.
pub fn shown(said: &[u8]) -> String {
    let start = &said[..said.len().min(4 * MAX_SHOWN_CHARS)];
    let text = String::from_utf8_lossy(start.trim_ascii());
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().take(MAX_SHOWN_CHARS).map(visible).collect();
    if said.trim_ascii().len() > shown.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    fn event(id: &str) -> Event {
        Event { json: "{}".to_owned(), ev_id: id.to_owned(), ..Event::default() }
    }

    fn answer<T>(text: &str, read: impl FnOnce(HandlerAnswer<'_>) -> T) -> T {
        let (first, second) = (event("a"), event("b"));
        let batch = Batch { events: &[&first, &second], attempt: 1 };
        read(HandlerAnswer { text: text.as_bytes(), batch })
    }

    fn line(text: &str) -> Result<Outcome, Failure> {
        answer(text, |answer| answer.read_line())
    }

    fn body(text: &str) -> Outcome {
        answer(text, |answer| answer.read_body())
    }

    #[test]
    fn a_process_says_done_with_true_and_with_nothing_else() {
        for done in ["true", " true\r", r#"{"failed":[]}"#, r#"{"failed":[],"error":null}"#] {
            assert_eq!(line(done), Ok(Outcome::Done), "{done}");
        }
        let rubbish = [
            "",
            " ",
            "ok",
            "True",
            "null",
            "0",
            "3",
            "\"ok\"",
            "[1,2]",
            "{}",
            "{\"ok\":true}",
            "{\"errors\":true}",
            "{\"failed\":",
            "true false",
            "{\"failed\":7}",
            "{\"failed\":[7]}",
        ];
        for text in rubbish {
            let failure = line(text).unwrap_err();
            assert!(failure.reason.contains("the handler"), "{text}: {failure:?}");
        }
    }

    #[test]
    fn a_line_that_is_no_answer_is_shown_with_what_to_write() {
        let failure = line("[1, 2]").unwrap_err();
        assert_eq!(failure.said.as_deref(), Some("[1, 2]"));
        let says = |words| failure.reason.contains(words);
        assert!(says("true, false, {\"failed\"") && says("standard error"), "{failure:?}");
        let long = shown("\u{e4}\n".repeat(400).as_bytes());
        assert!(long.chars().count() <= MAX_SHOWN_CHARS + 1 && long.ends_with('…'), "{long}");
    }

    #[test]
    fn false_and_an_answer_with_failed_mean_the_same_from_a_process_and_from_a_server() {
        let failed = |said: Option<&str>| {
            let said = said.map(str::to_owned);
            Outcome::Failed(Failure { said, ..Failure::new("the handler says that it failed") })
        };
        let partly = |said: Option<&str>| {
            Outcome::partly(vec!["a".into(), "b".into()], said.map(str::to_owned))
        };
        for (text, outcome) in [
            ("false", Outcome::failed("the handler answered false")),
            (r#"{"failed":["a","b"],"note":"x"}"#, partly(None)),
            (r#"{"failed":["a","b"],"error":"why"}"#, partly(Some("why"))),
            (r#"{"failed":true,"error":"why"}"#, failed(Some("why"))),
            (r#"{"failed":[],"error":"why"}"#, failed(Some("why"))),
            (r#"{"failed":true}"#, failed(None)),
            (r#"{"failed":false}"#, Outcome::Done),
        ] {
            assert_eq!(line(text), Ok(outcome.clone()), "{text}");
            assert_eq!(body(text), outcome, "{text}");
        }
    }

    #[test]
    fn what_the_handler_works_on_may_be_away_and_then_no_event_is_to_blame() {
        let told = |said: Option<&str>| {
            let said = said.map(str::to_owned);
            let failure = Failure::away("the handler says that what it works on is away");
            Outcome::Failed(Failure { said, remedy: Some(THEIRS_AWAY), ..failure })
        };
        for (text, outcome) in [
            (r#"{"unavailable":"the mail server is down"}"#, told(Some("the mail server is down"))),
            (r#"{"unavailable":{"code":7}}"#, told(Some(r#"{"code":7}"#))),
            (r#"{"unavailable":true,"failed":["a"]}"#, told(None)),
            (r#"{"unavailable":false,"failed":[]}"#, Outcome::Done),
            (r#"{"unavailable":null,"failed":["a"]}"#, Outcome::partly(vec!["a".into()], None)),
        ] {
            assert_eq!(line(text), Ok(outcome.clone()), "{text}");
            assert_eq!(body(text), outcome, "{text}");
        }
        assert!(line(r#"{"unavailable":false}"#).is_err());
        assert_eq!(body(r#"{"unavailable":false}"#), Outcome::Done);
        assert!(matches!(body(r#"{"unavailable":"cut"#), Outcome::Failed(_)));
    }

    #[test]
    fn an_answer_that_names_the_last_event_of_another_batch_is_none() {
        assert_eq!(line(r#"{"failed":[],"last":"b"}"#), Ok(Outcome::Done));
        assert!(line(r#"{"failed":[],"last":"a"}"#).unwrap_err().reason.contains("another batch"));
    }

    #[test]
    fn a_server_says_done_with_its_status_whatever_its_body() {
        for text in ["", "OK", "null", "<html>", "{}", "{\"status\":\"error\"}", "[]", "3"] {
            assert_eq!(body(text), Outcome::Done, "{text}");
        }
        assert!(matches!(body("{\"failed\":7}"), Outcome::Failed(_)));
    }

    #[test]
    fn a_body_that_names_what_failed_is_never_done_however_it_is_written() {
        let named = r#"{"failed":["a"]}"#;
        let of_a = body(named);
        assert!(matches!(of_a, Outcome::Partly { .. }));
        assert_eq!(body(&format!("\u{feff}{named}")), of_a);
        assert_eq!(body("\u{feff}false"), body("false"));
        for broken in [r#"{"failed":["a""#, r#"{"ok":1}{"failed":["a"]}"#, r#"x {"failed":[]}"#] {
            assert!(matches!(body(broken), Outcome::Failed(_)), "{broken}");
        }
        let wide: Vec<u8> = named.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let only = event("a");
        let batch = Batch { events: &[&only], attempt: 1 };
        assert!(matches!(HandlerAnswer { text: &wide, batch }.read_body(), Outcome::Failed(_)));
    }
}
