//! What `dts` keeps in the bus to go on from: the position, and all that belongs to it.

mod loss;
mod position;
mod seq;
mod touched;

use std::ops::AddAssign;

use binlog::{Gtid, GtidSet, InvalidGtidSet, file_number};
use bytes::Bytes;
use event_bus::{Checkpoint, CheckpointChange};
use serde::{Deserialize, Serialize};

pub(crate) use self::loss::full_sync_of;
use self::touched::TouchedJson;
pub use self::{
    loss::Loss,
    position::{BinlogPlace, SourcePosition},
    seq::Seq,
    touched::{Touched, TouchedTables, Touching},
};

/// The checkpoint's key for [`Saved`].
pub const POSITION_KEY: &str = "position";

/// The checkpoint's key for the last [`Seq`] after the position was forgotten.
const SEQ_KEY: &str = "seq";

/// How much of the transaction that follows a position is already durable in the bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// The number of its records.
    pub records: u64,
    /// CRC32 over (table, action, key, row number) of these records: the same records must come
    /// again.
    pub crc: u32,
}

/// Counts of whole transactions. `published = read - filtered + split`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Accounting {
    /// Row changes read from the binlog.
    pub read: u64,
    /// Row changes of tables that are not captured.
    pub filtered: u64,
    /// Updates that became two records, because they changed the record's key.
    pub split: u64,
    /// Records appended to the bus.
    pub published: u64,
}

impl Accounting {
    /// How many records are missing; negative for records that are too many.
    pub(crate) fn missing(&self) -> i64 {
        (self.read + self.split).cast_signed() - (self.filtered + self.published).cast_signed()
    }
}

/// What the checkpoint keeps under [`POSITION_KEY`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The server that the position was read from.
    pub server_uuid: String,
    /// The end of the last whole transaction.
    pub position: SourcePosition,
    /// The part of the next transaction that is durable; zero for none.
    pub skip: Skip,
    /// The counts from the first start up to the position.
    pub accounting: Accounting,
    /// XA transactions before the position that are prepared, and neither committed nor rolled
    /// back. They are read again if the server is asked by file; by GTID the server sends them by
    /// itself.
    pub prepared: Vec<BinlogPlace>,
    /// When the server began the position's file, in seconds since 1970, if that is known. A file
    /// of this name that was begun at another time is another file.
    pub file_created: Option<u32>,
    /// The GTID of the transaction that `skip` counts records of.
    pub open: Option<Gtid>,
    /// Which tables the last transactions changed.
    pub touched: Touched,
    /// The last loss that was accepted.
    pub loss: Option<Loss>,
    /// Whether prepared XA transactions were forgotten because the server is another one.
    pub lost_prepared: bool,
    /// The number of the last event that was published, if any was numbered.
    pub seq: Option<Seq>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SavedJson {
    server_uuid: String,
    gtid_set: Option<String>,
    file: String,
    pos: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skip: Option<Skip>,
    #[serde(default)]
    accounting: Accounting,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    prepared: Vec<BinlogPlace>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_created: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open_transaction: Option<String>,
    #[serde(default, skip_serializing_if = "TouchedJson::is_empty")]
    touched: TouchedJson,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    loss: Option<Loss>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lost_prepared: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
}

/// A checkpoint that has another form than this version writes.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCheckpoint {
    /// The JSON is not as expected.
    #[error("the checkpoint cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Its GTID set is invalid.
    #[error("the checkpoint cannot be read: {0}")]
    Gtids(#[from] InvalidGtidSet),
}

impl AddAssign for Accounting {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.filtered += other.filtered;
        self.split += other.split;
        self.published += other.published;
    }
}

impl Saved {
    /// Whether a stream from there begins at the position, and not before it.
    pub(crate) fn begins_at(&self, from: &SourcePosition) -> bool {
        let is_same = from.file == self.position.file && from.pos == self.position.pos;
        self.prepared.is_empty() && (is_same || from.gtids.is_some())
    }

    /// The checkpoint of a first start.
    pub fn new(server_uuid: String, position: SourcePosition) -> Self {
        Self {
            server_uuid,
            position,
            skip: Skip::default(),
            accounting: Accounting::default(),
            prepared: Vec::new(),
            file_created: None,
            open: None,
            touched: Touched::default(),
            loss: None,
            lost_prepared: false,
            seq: None,
        }
    }

    /// The oldest binlog file that is needed to go on: the position's file, or the file where a
    /// prepared, open XA transaction begins.
    pub(crate) fn oldest_file(&self) -> &str {
        let prepared = self.prepared.iter().map(|place| place.file.as_str());
        let oldest = prepared.min_by_key(|file| file_number(file));
        match oldest {
            Some(file) if file_number(file) < file_number(&self.position.file) => file,
            _ => &self.position.file,
        }
    }

    /// The bytes to keep.
    pub fn to_bytes(&self) -> Bytes {
        self.to_json().into()
    }

    /// One JSON object.
    pub fn to_json(&self) -> String {
        let json = SavedJson {
            server_uuid: self.server_uuid.clone(),
            gtid_set: self.position.gtids.as_ref().map(GtidSet::to_string),
            file: self.position.file.clone(),
            pos: self.position.pos,
            skip: (self.skip.records > 0).then_some(self.skip),
            accounting: self.accounting,
            prepared: self.prepared.clone(),
            file_created: self.file_created,
            open_transaction: self.open.as_ref().map(Gtid::to_string),
            touched: (&self.touched).into(),
            loss: self.loss.clone(),
            lost_prepared: self.lost_prepared,
            seq: self.seq,
        };
        // A struct of strings and numbers always serialises.
        serde_json::to_string(&json).unwrap_or_default()
    }

    /// Reads what [`Saved::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// When the bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidCheckpoint> {
        let json: SavedJson = serde_json::from_slice(bytes)?;
        Ok(Self {
            server_uuid: json.server_uuid,
            position: SourcePosition {
                gtids: json.gtid_set.as_deref().map(str::parse).transpose()?,
                file: json.file,
                pos: json.pos,
            },
            skip: json.skip.unwrap_or_default(),
            accounting: json.accounting,
            prepared: json.prepared,
            file_created: json.file_created,
            open: json.open_transaction.as_deref().map(str::parse).transpose()?,
            touched: json.touched.try_into()?,
            loss: json.loss,
            lost_prepared: json.lost_prepared,
            seq: json.seq,
        })
    }
}

/// The position in a checkpoint.
///
/// # Errors
///
/// When it has a form that this version does not know.
pub fn saved_in(checkpoint: &Checkpoint) -> Result<Option<Saved>, InvalidCheckpoint> {
    checkpoint.get(POSITION_KEY).map(|bytes| Saved::from_bytes(bytes)).transpose()
}

/// The number of the last event that was published, even if the position was forgotten since then.
///
/// # Errors
///
/// As [`saved_in`].
pub fn seq_in(checkpoint: &Checkpoint) -> Result<Option<Seq>, InvalidCheckpoint> {
    let kept = checkpoint.get(SEQ_KEY).map(|bytes| serde_json::from_slice::<Seq>(bytes));
    let kept = kept.transpose()?;
    Ok(saved_in(checkpoint)?.and_then(|saved| saved.seq).max(kept))
}

/// Puts a position into a checkpoint, or removes it; `seq` stays in both cases.
pub fn set_position(saved: Option<&Saved>, seq: Option<Seq>) -> Vec<CheckpointChange> {
    let position = saved.map(Saved::to_bytes);
    let seq = seq.map(|seq| seq.get().to_string().into());
    vec![(SEQ_KEY.to_owned(), seq), (POSITION_KEY.to_owned(), position)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_file_that_is_needed_may_be_that_of_a_prepared_transaction() {
        let position = SourcePosition { file: "b.1000000".to_owned(), ..SourcePosition::default() };
        let mut saved = Saved::new(String::new(), position);
        assert_eq!(saved.oldest_file(), "b.1000000");
        for (file, oldest) in [
            ("b.1000000", "b.1000000"),
            ("b.999999", "b.999999"),
            ("b.999998", "b.999998"),
            ("b.999999", "b.999998"),
        ] {
            saved.prepared.push(BinlogPlace { file: file.to_owned(), pos: 4 });
            assert_eq!(saved.oldest_file(), oldest);
        }
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let saved = Saved {
            server_uuid: "3e11fa47-71ca-11e1-9e33-c80aa9429562".to_owned(),
            position: SourcePosition {
                gtids: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7".parse().unwrap()),
                file: "binlog.000003".to_owned(),
                pos: 1 << 33,
            },
            skip: Skip { records: 3, crc: 9 },
            accounting: Accounting { read: 5, filtered: 1, split: 2, published: 6 },
            prepared: vec![BinlogPlace { file: "binlog.000002".to_owned(), pos: 4 }],
            file_created: Some(1_700_000_000),
            open: Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:6".parse().unwrap()),
            touched: Touched::default(),
            loss: Some(Loss {
                gtid_set: "3e11fa47-71ca-11e1-9e33-c80aa9429562:8-9".to_owned(),
                tables: vec!["shop.item".to_owned()],
                all_tables_known: true,
                at_ms: 1,
            }),
            lost_prepared: true,
            seq: Some(Seq::at_start(None, 1_790_000_000_000)),
        };
        assert_eq!(Saved::from_bytes(&saved.to_bytes()).unwrap(), saved);
        let without_gtids = Saved {
            position: SourcePosition { gtids: None, ..saved.position.clone() },
            skip: Skip::default(),
            ..saved
        };
        assert_eq!(Saved::from_bytes(&without_gtids.to_bytes()).unwrap(), without_gtids);
    }

    #[test]
    fn the_last_number_stays_without_the_position() {
        let seq = Some(Seq::at_start(None, 1_790_000_000_000));
        let mut checkpoint = Checkpoint::new();
        assert_eq!(seq_in(&checkpoint).unwrap(), None);
        let saved = Saved::new("uuid".to_owned(), SourcePosition::default());
        for position in [Some(&saved), None, Some(&saved)] {
            let last = seq_in(&checkpoint).unwrap().or(seq);
            for (key, value) in set_position(position, last) {
                match value {
                    Some(value) => checkpoint.insert(key, value),
                    None => checkpoint.remove(&key),
                };
            }
            assert_eq!(seq_in(&checkpoint).unwrap(), seq, "{position:?}");
            assert_eq!(saved_in(&checkpoint).unwrap().is_some(), position.is_some());
        }
        let newer = Saved { seq: seq.map(Seq::next), ..saved };
        checkpoint.insert(POSITION_KEY.to_owned(), newer.to_bytes());
        assert_eq!(seq_in(&checkpoint).unwrap(), newer.seq, "the one that was kept is older");
    }

    #[test]
    fn another_text_is_refused() {
        assert!(Saved::from_bytes(b"{}").is_err());
        let gtids = br#"{"serverUuid":"","gtidSet":"x","file":"f","pos":4}"#;
        assert!(Saved::from_bytes(gtids).is_err());
    }
}
