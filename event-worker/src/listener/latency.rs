//! How long events take from the commit in the source until the handler has done them, and how long
//! calls take.

use serde::{Deserialize, Serialize};

/// The upper ends of the histogram's buckets, in ms; one more takes the rest.
pub(crate) const BUCKETS_MS: [u64; 23] = [
    1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000, 10_000,
    30_000, 60_000, 600_000,
];

/// How many times were how long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Times per bucket of [`BUCKETS_MS`], and the rest.
    pub(crate) counts: [u64; BUCKETS_MS.len() + 1],
    pub(crate) sum_ms: u64,
}

impl Latency {
    pub(super) fn add(&mut self, took_ms: u64) {
        let bucket = BUCKETS_MS.partition_point(|end| *end < took_ms);
        self.counts[bucket] += 1;
        self.sum_ms += took_ms;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_ms += other.sum_ms;
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The upper end of the bucket that the quantile falls into, in ms, the last end for what is
    /// beyond it; `None` without any.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<u64> {
        let total: u64 = self.counts.iter().sum();
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            total > 0 && seen as f64 >= quantile * total as f64
        })?;
        Some(BUCKETS_MS[bucket.min(BUCKETS_MS.len() - 1)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_ends_of_buckets() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile(0.5), None);
        for took in [1, 1, 4, 1000] {
            latency.add(took);
        }
        assert_eq!((latency.quantile(0.5), latency.quantile(0.99)), (Some(1), Some(1_000)));
        latency.add(u64::MAX / 2);
        assert_eq!(latency.quantile(1.0), Some(600_000));
    }
}
