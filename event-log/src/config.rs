//! What a log keeps and where: the keys that `event-log.toml` and the `[bus]` sections share.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use service::{config::Section, glob};

/// What the log keeps, and where.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// The directory of the log; made when it is not there. Of one process at a time.
    pub directory: PathBuf,
    /// Records older than this are deleted, unless a group still needs them.
    pub retention: Duration,
    /// The data of all streams together is kept below this.
    pub max_bytes: u64,
    /// What happens when groups need more than `max_bytes`.
    pub on_full: OnFull,
    /// A data file is closed when it is larger than this.
    pub segment_bytes: u64,
    /// It is the spool of a reporter: what its one group has not finished, the server has not.
    pub is_spool: bool,
    /// Of some streams, by globs.
    pub streams: BTreeMap<String, StreamLimits>,
}

/// What is kept of the streams of a glob, where that is less than of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamLimits {
    /// As in [`StorageConfig`].
    pub retention: Option<Duration>,
    /// The data of each of these streams is kept below this.
    pub max_bytes: Option<u64>,
}

/// What to do when `max_bytes` is reached with records that a group has not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// Appends fail until the slowest group has gone on.
    Stop,
    /// The oldest segments are deleted; a group that needed them is told so.
    DropOldest,
}

impl StorageConfig {
    /// The defaults, in a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            retention: Duration::from_hours(7 * 24),
            max_bytes: 10 << 30,
            on_full: OnFull::Stop,
            segment_bytes: 64 << 20,
            is_spool: false,
            streams: BTreeMap::new(),
        }
    }

    /// What is kept of a stream: how long, and how much of it alone. The longest glob counts.
    pub(crate) fn limits_of(&self, stream: &str) -> (Duration, Option<u64>) {
        let named = self.streams.iter().filter(|(glob, _)| glob::matches(glob, stream));
        let limits = named.max_by_key(|(glob, _)| glob.len()).map(|(_, limits)| *limits);
        let StreamLimits { retention, max_bytes } = limits.unwrap_or_default();
        (retention.unwrap_or(self.retention), max_bytes)
    }

    /// Reads `directory`, `retention`, `maxBytes` and `onFull`; mistakes are noted there.
    pub fn read(section: &Section) -> Self {
        let default = Self::new("data/event-log");
        let max_bytes = section.or("maxBytes", ByteSize::b(default.max_bytes));
        let config = Self {
            directory: section.or("directory", default.directory.clone()),
            retention: section.or("retention", default.retention),
            max_bytes: max_bytes.as_u64(),
            on_full: match section.choice("onFull", ["stop", "drop-oldest"]) {
                Some(1) => OnFull::DropOldest,
                _ => OnFull::Stop,
            },
            streams: StreamLimits::read_all(&section.section("streams"), default.segment_bytes),
            ..default
        };
        if config.max_bytes < 2 * config.segment_bytes {
            let least = ByteSize::b(2 * config.segment_bytes);
            let problem = format!("{max_bytes} is less than two data files");
            section.note("maxBytes", &problem, &format!("write {least} or more"));
        }
        config
    }
}

impl StreamLimits {
    /// Reads the tables of `streams`, whose names are globs.
    fn read_all(section: &Section, segment_bytes: u64) -> BTreeMap<String, Self> {
        let globs: Vec<String> = section.keys().map(str::to_owned).collect();
        let read = |glob: String| {
            let section = section.section(&glob);
            let max_bytes: Option<ByteSize> = section.optional("maxBytes");
            if let Some(max_bytes) = max_bytes.filter(|max| max.as_u64() < 2 * segment_bytes) {
                let least = ByteSize::b(2 * segment_bytes);
                let problem = format!("{max_bytes} is less than two data files");
                section.note("maxBytes", &problem, &format!("write {least} or more"));
            }
            let max_bytes = max_bytes.map(|max| max.as_u64());
            (glob, Self { retention: section.optional("retention"), max_bytes })
        };
        globs.into_iter().map(read).collect()
    }
}

/// Whether a stream may be called so: it is the name of a directory and the beginning of topics.
pub fn is_stream_name(name: &str) -> bool {
    let first = name.bytes().next();
    name.len() <= 64
        && first.is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}
