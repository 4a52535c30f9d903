//! Waiting longer after each failure, with jitter, up to a cap.

use std::time::Duration;

use crate::config::Section;

/// How waits grow: the n-th is `min * factor^n`, at most `max`, less a random part of up to half,
/// so that many that failed at once do not come back at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackoffConfig {
    /// The first wait.
    pub min: Duration,
    /// No wait is longer.
    pub max: Duration,
    /// What a wait grows by; 1.0 or more.
    pub factor: f64,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { min: Duration::from_secs(1), max: Duration::from_mins(5), factor: 2.0 }
    }
}

impl BackoffConfig {
    /// Reads `min`, `max` and `factor`; mistakes are noted there.
    pub fn read(section: &Section) -> Self {
        let default = Self::default();
        let read = Self {
            min: section.or("min", default.min),
            max: section.or("max", default.max),
            factor: section.or("factor", default.factor),
        };
        if read.min < Duration::from_millis(1) {
            section.note("min", "is too short", r#"write "1ms" or more"#);
        }
        if read.max < read.min {
            section.note("max", "is less than min", "make it min or more");
        }
        if read.factor < 1.0 {
            section.note("factor", "is less than 1", "write 1.0 or more, for example 2.0");
        }
        read
    }
}

/// The waits of one series of failures.
#[derive(Clone, Debug)]
pub struct Backoff {
    config: BackoffConfig,
    failures: u32,
}

impl Backoff {
    /// A series that has not failed yet.
    pub fn new(config: BackoffConfig) -> Self {
        Self { config, failures: 0 }
    }

    /// How often it failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts one more failure and says how long to wait now.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// It worked: the next failure waits `min` again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn ceiling(&self) -> Duration {
        let exponent = i32::try_from(self.failures.min(1000)).unwrap_or(i32::MAX);
        let grown = self.config.min.as_secs_f64() * self.config.factor.powi(exponent);
        Duration::from_secs_f64(grown.min(self.config.max.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_start_again_after_a_success() {
        let config = BackoffConfig {
            min: Duration::from_secs(1),
            max: Duration::from_secs(10),
            factor: 2.0,
        };
        let mut backoff = Backoff::new(config);
        for ceiling in [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
            let wait = backoff.next_wait().as_secs_f64();
            assert!((ceiling / 2.0..=ceiling).contains(&wait), "{wait} for {ceiling}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_secs(1));
    }

    #[test]
    fn a_very_long_series_stays_at_the_cap() {
        let mut backoff = Backoff { config: BackoffConfig::default(), failures: u32::MAX };
        assert!(backoff.next_wait() <= Duration::from_mins(5));
    }
}
