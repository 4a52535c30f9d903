//! How many rows the next chunk should have.

use std::time::Duration;

use crate::full_sync::config::FullSyncConfig;

/// The first chunk has at most this many rows: nobody knows yet how long reading takes.
const FIRST_ROWS: u64 = 1000;

/// A row counts as at least this many bytes.
const MIN_ROW_BYTES: u64 = 64;

const MAX_ROWS: u64 = 1_000_000;

/// Follows the time and the bytes that chunks take.
#[derive(Debug)]
pub(crate) struct Size {
    rows: u64,
    time: Duration,
    bytes: u64,
    /// How often in a row the server stopped the read.
    too_large: u32,
}

impl Size {
    /// For a table whose rows have on average this many bytes.
    pub(crate) fn new(config: &FullSyncConfig, row_bytes: u64) -> Self {
        let bytes = config.chunk_bytes as u64;
        let rows = (bytes / row_bytes.max(MIN_ROW_BYTES)).clamp(1, FIRST_ROWS);
        Self { rows, time: config.chunk_time, bytes, too_large: 0 }
    }

    /// The most rows of the next chunk.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// A chunk of this many rows and bytes took this long to read.
    pub(crate) fn read(&mut self, (rows, bytes): (u64, u64), took: Duration) {
        self.too_large = 0;
        if rows == 0 {
            return;
        }
        let by_time = rows as f64 * self.time.as_secs_f64() / took.as_secs_f64().max(1e-6);
        let by_bytes = rows as f64 * self.bytes as f64 / bytes.max(1) as f64;
        let next = by_time.min(by_bytes).min(self.rows as f64 * 2.0);
        self.rows = (next as u64).clamp(1, MAX_ROWS);
    }

    /// The server stopped the read because it took too long.
    pub(crate) fn was_too_large(&mut self) {
        self.rows = (self.rows / 4).max(1);
        self.too_large += 1;
    }

    /// Whether the server stops reads again and again, and reading less does not help: if no index
    /// gives the key's order, each read looks at the whole table.
    pub(crate) fn is_in_vain(&self, is_ordered: bool) -> bool {
        const PATIENCE: u32 = 3;
        self.too_large >= PATIENCE && (!is_ordered || self.rows == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(row_bytes: u64) -> Size {
        let config = FullSyncConfig {
            parallel: 1,
            chunk_time: Duration::from_millis(200),
            chunk_bytes: 1 << 20,
            max_rate: 0,
            max_keyless_rows: 1,
        };
        Size::new(&config, row_bytes)
    }

    #[test]
    fn chunks_grow_and_shrink_with_what_they_take() {
        let mut size_at = size(100);
        assert_eq!(size_at.rows(), FIRST_ROWS);
        size_at.read((1000, 100_000), Duration::from_millis(10));
        assert_eq!(size_at.rows(), 2000, "never more than twice as many");
        size_at.read((2000, 1 << 21), Duration::from_millis(10));
        assert_eq!(size_at.rows(), 1000, "the bytes count");
        size_at.read((1000, 1000), Duration::from_secs(2));
        assert_eq!(size_at.rows(), 100, "the time counts");
        size_at.was_too_large();
        assert_eq!(size_at.rows(), 25);
        size_at.read((1, 1 << 30), Duration::from_secs(9));
        assert_eq!(size_at.rows(), 1, "one row at least");
        assert_eq!(size(1 << 20).rows(), 1);
    }

    #[test]
    fn reads_that_are_ended_again_and_again_are_in_vain() {
        let mut size = size(100);
        size.was_too_large();
        size.was_too_large();
        assert!(!size.is_in_vain(false));
        size.was_too_large();
        assert!(size.is_in_vain(false) && !size.is_in_vain(true));
        size.read((1, 100), Duration::from_millis(1));
        assert!(!size.is_in_vain(false));
        (0..10).for_each(|_| size.was_too_large());
        assert!(size.is_in_vain(true));
    }
}
