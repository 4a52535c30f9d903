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
    /// The moment of that, and the server's clock at that moment.
    pub(super) at: Instant,
    pub(super) server_time: SystemTime,
    /// The server's binlog files with their sizes, the oldest first.
    pub(super) files: Vec<(String, u64)>,
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
    /// The same for another place, to which we may have come since the server was asked.
    pub(crate) fn seen_from(mut self, place: Option<&DurablePlace>) -> Self {
        let Some(DurablePlace { file, pos, newest_commit, .. }) = place else { return self };
        let (Some(_), Some((last, end))) = (self.bytes_behind, self.files.last()) else {
            return self;
        };
        // A file that was not there yet is after all that was.
        let is_known = self.files.iter().any(|(name, _)| name == file);
        let is_past = !is_known || (last == file && pos >= end);
        self.bytes_behind = if is_past { Some(0) } else { bytes_behind(&self.files, file, *pos) };
        let now = self.server_time + self.at.elapsed();
        self.seconds_behind = match (self.bytes_behind, newest_commit) {
            (Some(0), _) => Some(0.0),
            (_, Some(commit)) => {
                Some(now.duration_since(*commit).unwrap_or_default().as_secs_f64())
            }
            _ => None,
        };
        self
    }

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

/// The bytes of these files after a place; `None` if the place is not in them.
pub(super) fn bytes_behind(files: &[(String, u64)], file: &str, pos: u64) -> Option<u64> {
    let at = files.iter().position(|(name, _)| name == file)?;
    let later = files[at + 1..].iter().map(|(_, size)| size).sum::<u64>();
    Some(files[at].1.checked_sub(pos)? + later)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<(String, u64)> {
        let files = [("b.999999", 100), ("b.1000000", 50), ("b.1000001", 7)];
        files.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect()
    }

    #[test]
    fn bytes_behind_count_over_files() {
        assert_eq!(bytes_behind(&files(), "b.999999", 90), Some(67));
        assert_eq!(bytes_behind(&files(), "b.1000001", 7), Some(0));
        assert_eq!(bytes_behind(&files(), "b.000001", 7), None);
        assert_eq!(bytes_behind(&files(), "b.1000001", 8), None, "it ends at 7");
    }

    #[test]
    fn a_sight_is_right_for_the_place_where_we_are_since() {
        let server_time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let commit = server_time - Duration::from_secs(20);
        let place = |file: &str, pos| DurablePlace {
            file: file.to_owned(),
            pos,
            oldest_file: file.to_owned(),
            newest_commit: Some(commit),
        };
        let sight = Sight {
            at: Instant::now(),
            server_time,
            files: files(),
            bytes_behind: Some(157),
            seconds_behind: None,
            purge: Purge::Unknown,
            oldest_file: String::new(),
            expires_after: None,
        };
        let from = |file, pos| {
            let seen = sight.clone().seen_from(Some(&place(file, pos)));
            (seen.bytes_behind, seen.seconds_behind.map(f64::round))
        };
        assert_eq!(from("b.1000000", 40), (Some(17), Some(20.0)));
        assert_eq!(from("b.1000001", 7), (Some(0), Some(0.0)));
        assert_eq!(from("b.1000001", 90), (Some(0), Some(0.0)), "more was logged since");
        assert_eq!(from("b.1000002", 4), (Some(0), Some(0.0)), "a file that was begun since");
        let unknown = Sight { bytes_behind: None, ..sight.clone() };
        assert_eq!(unknown.seen_from(Some(&place("b.1000001", 7))).bytes_behind, None);
    }
}
