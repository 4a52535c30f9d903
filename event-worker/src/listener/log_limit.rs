//! How often the log says the same: once in a minute, with how often it happened.

use std::time::{Duration, Instant};

const LOG_EVERY: Duration = Duration::from_mins(1);

/// Lines of one kind.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    /// When one was logged last.
    at: Option<Instant>,
    /// Those that were not logged since then.
    since: u64,
}

impl LogLimit {
    /// It happens once more. Gives how many to log as one, if it is time to log.
    pub(super) fn note(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        if self.at.is_some_and(|at| now < at + LOG_EVERY) {
            return None;
        }
        self.at = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_logged_once_in_a_minute_with_how_often_it_happened() {
        let (mut limit, began) = (LogLimit::default(), Instant::now());
        let told = (0..121).map(|second| limit.note(began + Duration::from_secs(second)));
        assert_eq!(told.flatten().collect::<Vec<_>>(), [1, 60, 60]);
    }
}
