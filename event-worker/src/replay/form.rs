//! The parameters of a replay: reads them, and says what is wrong with them.

use std::{
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// What the number of an event begins with, to tell it from an offset.
const SEQ: &str = "seq:";

const FORMS: &str = "write earliest, a time like 2026-01-31T12:00:00Z, an offset, or seq:NUMBER";

/// Where a replay begins or ends, as users write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReplayBound {
    text: String,
    pub(super) at: BoundAt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BoundAt {
    /// The first record kept.
    Earliest,
    /// The first record appended at or after a time.
    Time(SystemTime),
    /// This offset in every partition.
    Offset(u64),
    /// The first event with this number or a higher one.
    Seq(u64),
}

/// Which events are to come once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WantedEvents {
    /// With the first one of these it begins.
    pub from: ReplayBound,
    /// Before the first one of these it ends. Default: where the listener is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ReplayBound>,
    /// Only tables that fit: `table` or `schema.table`, with wildcards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Only events of this key: a JSON object, or the value of a key of one column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether keys with newer events go backwards.
    #[serde(default)]
    pub force: bool,
}

impl ReplayBound {
    pub(super) fn seq(&self) -> Option<u64> {
        match self.at {
            BoundAt::Seq(seq) => Some(seq),
            _ => None,
        }
    }

    /// Whether it is a time after `now`.
    pub(super) fn is_after(&self, now_ms: u64) -> bool {
        let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
        matches!(self.at, BoundAt::Time(time) if since(time).as_millis() > u128::from(now_ms))
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl FromStr for ReplayBound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().ok();
        let time = || humantime::parse_rfc3339_weak(text).ok().map(BoundAt::Time);
        let at = match text.strip_prefix(SEQ) {
            Some(seq) => number(seq).map(BoundAt::Seq),
            None if text == "earliest" => Some(BoundAt::Earliest),
            None => number(text).map(BoundAt::Offset).or_else(time),
        };
        let text = text.to_owned();
        at.map(|at| Self { text, at }).ok_or_else(|| FORMS.to_owned())
    }
}

impl TryFrom<String> for ReplayBound {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|forms| format!("{text:?} is no place; {forms}"))
    }
}

impl From<ReplayBound> for String {
    fn from(bound: ReplayBound) -> Self {
        bound.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_word_a_time_an_offset_or_a_number_of_an_event() {
        let at = |text: &str| text.parse::<ReplayBound>().map(|bound| bound.at);
        assert_eq!(at("earliest"), Ok(BoundAt::Earliest));
        assert_eq!(at("42"), Ok(BoundAt::Offset(42)));
        assert_eq!(at("seq:42"), Ok(BoundAt::Seq(42)));
        assert!(matches!(at("2026-01-01T12:00:00Z"), Ok(BoundAt::Time(_))));
        for wrong in ["", "-1", "latest", "seq:", "seq:x", "yesterday"] {
            assert!(at(wrong).unwrap_err().contains("seq:NUMBER"), "{wrong}");
        }
    }

    #[test]
    fn a_body_has_what_the_command_has_and_nothing_else() {
        let read = |text: &str| serde_json::from_str::<WantedEvents>(text);
        assert_eq!(read(r#"{"from":"7","force":true}"#).unwrap().from.at, BoundAt::Offset(7));
        assert!(read(r#"{"from":"x"}"#).unwrap_err().to_string().contains("\"x\" is no place"));
        assert!(read(r#"{"from":"7","form":1}"#).is_err() && read("{}").is_err());
    }

    #[test]
    fn only_a_time_can_be_in_the_future() {
        let after = |text: &str| text.parse::<ReplayBound>().unwrap().is_after(1_000);
        assert!(after("1970-01-01T00:00:02Z") && !after("1970-01-01T00:00:01Z") && !after("5000"));
    }
}
