//! What a log keeps and where: the keys that `event-log.toml` and the `[bus]` sections share.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use service::config::Section;

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
        }
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

/// Whether a stream may be called so: it is the name of a directory and the beginning of topics.
pub fn is_stream_name(name: &str) -> bool {
    let first = name.bytes().next();
    name.len() <= 64
        && first.is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}
