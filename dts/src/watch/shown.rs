//! What the watch saw of the server's binlog: our distance from its end, and when the server
//! deletes the file that we need.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::checkpoint::Saved;

/// With less time than this until our file is deleted, the log warns.
const MIN_LEFT: Duration = Duration::from_hours(6);

/// What was seen at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sight {
    /// The moment of that.
    pub(super) at: Instant,
    /// Bytes of binlog after our position; unknown while the server does not have our position.
    pub(super) bytes_behind: Option<u64>,
    /// From the commit of the last transaction that is durable in the bus to now, by the server's
    /// clock; zero at the end of the binlog.
    pub(super) seconds_behind: Option<f64>,
    pub(super) purge: Purge,
    /// The oldest file that we need.
    pub(super) oldest_file: String,
    /// How long the server keeps a file that it does not write to any more; `None`: for ever.
    pub(super) expires_after: Option<Duration>,
}

/// When the server deletes the oldest binlog file that we need: the file of our position, or that
/// of a prepared, open XA transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Purge {
    /// Never by itself: automatic purging is off.
    Never,
    /// In this time at the earliest.
    In(Duration),
    /// The file does not exist, or nobody knows when it ended.
    Unknown,
}

/// A place in the binlog: everything before it is durable in the bus.
#[derive(Clone, Debug)]
pub(crate) struct DurablePlace {
    pub(crate) file: String,
    pub(crate) pos: u64,
    /// The oldest file that is still needed; it may be an earlier file.
    pub(crate) oldest_file: String,
    /// When the last transaction before it was committed, if one was read.
    pub(crate) newest_commit: Option<SystemTime>,
}

impl DurablePlace {
    /// The place of a checkpoint.
    pub(crate) fn of(saved: &Saved) -> Self {
        Self {
            file: saved.position.file.clone(),
            pos: saved.position.pos,
            oldest_file: saved.oldest_file().to_owned(),
            newest_commit: None,
        }
    }
}

impl Sight {
    /// The time left now, counted from when the server was asked.
    pub(crate) fn purge_in(&self) -> Purge {
        match self.purge {
            Purge::In(left) => Purge::In(left.saturating_sub(self.at.elapsed())),
            other => other,
        }
    }

    /// The time left, if it is less than `MIN_LEFT` and less than half of the time that the server
    /// keeps a file.
    pub(crate) fn purge_is_near(&self) -> Option<Duration> {
        let Purge::In(left) = self.purge_in() else { return None };
        let kept = self.expires_after.unwrap_or(Duration::MAX);
        (left < MIN_LEFT.min(kept / 2)).then_some(left)
    }

    /// See [`Sight::bytes_behind`].
    pub(crate) fn bytes_behind(&self) -> Option<u64> {
        self.bytes_behind
    }

    /// See [`Sight::seconds_behind`].
    pub(crate) fn seconds_behind(&self) -> Option<f64> {
        self.seconds_behind
    }

    /// See [`Sight::expires_after`].
    pub(crate) fn expires_after(&self) -> Option<Duration> {
        self.expires_after
    }

    pub(crate) fn to_json(&self) -> Value {
        let (purge, left) = match self.purge_in() {
            Purge::Never => ("never", None),
            Purge::In(left) => ("in", Some(left.as_secs())),
            Purge::Unknown => ("unknown", None),
        };
        json!({
            "bytesBehind": self.bytes_behind,
            "secondsBehindSource": self.seconds_behind,
            "purge": purge,
            "purgeInSeconds": left,
            "oldestFileNeeded": self.oldest_file,
            "askedSecondsAgo": self.at.elapsed().as_secs_f64(),
        })
    }
}
