//! Another replica has our id: whether for moments, or permanently.

use std::time::{Duration, Instant};

/// How long we wait before we connect again. Our connection ends the other one, which may need only
/// moments to finish.
pub(super) const MIN_WAIT: Duration = Duration::from_secs(5);

/// Collisions with more time between them have nothing to do with each other.
const MAX_GAP: Duration = Duration::from_mins(1);

/// If another replica keeps coming back for this long, it stays.
const MAX_TIME: Duration = Duration::from_mins(2);

/// The collisions that followed each other.
#[derive(Debug, Default)]
pub(super) struct Collisions {
    first_and_last: Option<(Instant, Instant)>,
}

impl Collisions {
    /// Notes a collision, and returns whether the collisions do not end by themselves.
    pub(super) fn go_on(&mut self, now: Instant) -> bool {
        let going_on = self.first_and_last.filter(|(_, last)| now - *last < MAX_GAP);
        let first = going_on.map_or(now, |(first, _)| first);
        self.first_and_last = Some((first, now));
        now - first >= MAX_TIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collisions_of_some_seconds_are_waited_out_and_those_that_last_are_not() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut collisions = Collisions::default();
        for seconds in [0, 10, 69, 110, 119, 300, 350, 400] {
            assert!(!collisions.go_on(at(seconds)), "{seconds}");
        }
        assert!(collisions.go_on(at(420)));
    }
}
