//! `Seq`: the number of an event, which only grows over all events of one `dts`, for ever.
//!
//! The checkpoint keeps the last number that was given, and goes with the records that were
//! counted: both are durable or neither. At each start from the checkpoint the number is set
//! forward to the clock, never back, and then counts records. A millisecond counts as [`PER_MILLI`]
//! records. That is more than can be published in a millisecond, so the number stays below the
//! number of the clock. Therefore it also grows if the bus is lost with its checkpoint, or comes
//! back from a backup.

use serde::{Deserialize, Serialize};

/// Two million records per second. The number is below 2^53 until the year 2109, so a program that
/// reads numbers as doubles reads it exactly.
const PER_MILLI: u64 = 1 << 11;

/// No number is larger, because targets keep it as a signed number of 64 bits.
const MAX: u64 = i64::MAX as u64;

/// The number of an event; the default is before every event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(u64);

impl Seq {
    /// The number from which a start from the checkpoint counts; `last` is the last number that is
    /// known to be given, if any.
    pub fn at_start(last: Option<Self>, now_ms: u64) -> Self {
        let clock = Self(now_ms.saturating_mul(PER_MILLI).min(MAX));
        last.map_or(clock, |last| last.max(clock))
    }

    /// The next number.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1).min(MAX))
    }

    /// In the form that events have.
    pub fn get(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In 2026.
    const NOW_MS: u64 = 1_790_000_000_000;

    fn after(mut seq: Seq, records: u64) -> Seq {
        (0..records).for_each(|_| seq = seq.next());
        seq
    }

    #[test]
    fn it_grows_whatever_the_clock_does() {
        let last = after(Seq::at_start(None, NOW_MS), 5);
        for now_ms in [0, NOW_MS - 1, NOW_MS, NOW_MS + 1, u64::MAX / 4096] {
            assert!(Seq::at_start(Some(last), now_ms).next() > last, "{now_ms}");
        }
    }

    #[test]
    fn it_grows_over_the_loss_of_the_checkpoint() {
        // Two seconds of a stream that is faster than any real one.
        let last = after(Seq::at_start(None, NOW_MS), 4_000_000);
        assert!(Seq::at_start(None, NOW_MS + 2000) > last);
    }

    #[test]
    fn it_is_exact_as_a_double_and_fits_in_a_signed_number() {
        let of_year = |year: u64| Seq::at_start(None, (year - 1970) * 31_556_952_000).get();
        assert!(of_year(2026) > 0 && of_year(2108) < 1 << 53);
        assert!(Seq::at_start(None, u64::MAX).next().get() < 1 << 63);
    }
}
