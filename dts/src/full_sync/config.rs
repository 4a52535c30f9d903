//! The `[fullSync]` section.

use std::time::Duration;

use bytesize::ByteSize;
use service::config::Section;

/// How tables are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullSyncConfig {
    /// How many tables are read at once; a listener also gets at most this many tables at once.
    pub parallel: usize,
    /// How long reading one chunk should take.
    pub chunk_time: Duration,
    /// How many bytes of events a chunk should have; a chunk has at least one row.
    pub chunk_bytes: usize,
    /// The most rows per second, for all tables together; 0 for no limit.
    pub max_rate: u32,
    /// A table without any key is read in one piece if it has at most this many rows.
    pub max_keyless_rows: u64,
}

impl FullSyncConfig {
    pub(crate) fn read(section: &Section) -> Self {
        let chunk_bytes = section.or("chunkBytes", ByteSize::mib(4)).as_u64();
        let config = Self {
            parallel: section.or("parallel", 2),
            chunk_time: section.or("chunkTime", Duration::from_millis(200)),
            chunk_bytes: usize::try_from(chunk_bytes).unwrap_or(usize::MAX),
            max_rate: section.or("maxRate", 0),
            max_keyless_rows: section.or("maxKeylessRows", 1_000_000),
        };
        if !(1..=16).contains(&config.parallel) {
            section.note("parallel", "is not 1 to 16", "each table takes a connection to MySQL");
        }
        if config.chunk_time.is_zero() {
            section.note("chunkTime", "is zero", "write \"200ms\"");
        }
        if !(1 << 16..=1 << 26).contains(&config.chunk_bytes) {
            let remedy = "two chunks of each table are kept in memory";
            section.note("chunkBytes", "is not between 64KiB and 64MiB", remedy);
        }
        config
    }
}
