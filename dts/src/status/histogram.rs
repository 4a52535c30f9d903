//! The buckets of the histograms.

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// Times, from half a millisecond to four minutes.
#[derive(Debug)]
pub(super) struct LagHistogram(pub(super) Histogram);

impl Default for LagHistogram {
    fn default() -> Self {
        // 0.5 ms to 4.4 min.
        Self(Histogram::new(exponential_buckets(0.0005, 2.0, 20)))
    }
}

/// Bytes, from 256 to 64 MiB.
#[derive(Debug)]
pub(super) struct SizeHistogram(pub(super) Histogram);

impl Default for SizeHistogram {
    fn default() -> Self {
        // 256 bytes to 64 MiB.
        Self(Histogram::new(exponential_buckets(256.0, 4.0, 10)))
    }
}
