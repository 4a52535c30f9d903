//! A change event, as its consumers get one.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::Action;

/// A change event. Text is borrowed from the record where it can be; values stay JSON text.
///
/// A reader skips members that it does not know: a later version may add some.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChangeEvent<'a> {
    /// The idempotency key: one id never has two contents.
    #[serde(rename = "EvId", borrow)]
    pub id: Cow<'a, str>,
    /// The schema (database) of the table.
    #[serde(borrow)]
    pub schema: Cow<'a, str>,
    /// The table.
    #[serde(borrow)]
    pub table_name: Cow<'a, str>,
    /// What happened.
    pub action: Action,
    /// The key: an object of columns, as JSON text.
    #[serde(rename = "PK", borrow, deserialize_with = "json_text")]
    pub key: &'a str,
    /// The row after the change, or for a delete before it: an object of columns, as JSON text.
    #[serde(borrow, deserialize_with = "json_text")]
    pub data: &'a str,
    /// What the changed columns held before an update: an object of columns, as JSON text.
    #[serde(borrow, default, deserialize_with = "optional_json_text")]
    pub old: Option<&'a str>,
    /// How many bytes the whole event would have had: too many for the bus, so `data` holds only
    /// the key, and `old` is absent.
    #[serde(default)]
    pub oversized: Option<u64>,
    /// Columns that `data` lacks though the change may have changed them. A MariaDB does not log
    /// what it generates.
    #[serde(borrow, default)]
    pub absent: Vec<Cow<'a, str>>,
    /// The number of the event: of two events of one `dts` the later one has the higher number, for
    /// ever. Below 2^63. Absent in records of versions that did not number.
    #[serde(default)]
    pub seq: Option<u64>,
    /// Where the event comes from.
    pub origin: Origin,
    /// For which listener a row of a full sync is.
    #[serde(borrow, default)]
    pub listener: Option<Cow<'a, str>>,
    /// Commit time in milliseconds since 1970.
    pub ts: u64,
    /// The place in the binlog.
    #[serde(borrow)]
    pub source: Source<'a>,
}

fn json_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de str, D::Error> {
    <&RawValue>::deserialize(deserializer).map(RawValue::get)
}

fn optional_json_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de str>, D::Error> {
    let value = Option::<&RawValue>::deserialize(deserializer)?;
    Ok(value.map(RawValue::get))
}

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A change, as it happened.
    Binlog,
    /// A row that was read from its table on request.
    FullSync,
    /// An event of the past that a listener gets once more on request. Only handlers see this: on
    /// the bus the event has its first origin.
    Replay,
}

impl Origin {
    /// As events have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Binlog => "binlog",
            Self::FullSync => "full_sync",
            Self::Replay => "replay",
        }
    }
}

/// The place of a change in the binlog.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source<'a> {
    /// `server_id` of the server that first had the change.
    pub server_id: u32,
    /// The transaction's GTID, where the server writes them.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub gtid: Option<Cow<'a, str>>,
    /// The binlog file.
    #[serde(borrow)]
    pub file: Cow<'a, str>,
    /// Where the binlog event with the row begins.
    pub pos: u64,
    /// How many row changes of the transaction came before this one.
    pub row: u64,
}
