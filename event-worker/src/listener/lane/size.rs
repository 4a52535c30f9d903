//! How many events a lane gives to one call. A call that failed without saying which events failed
//! halves the number: a batch that is too large gets smaller, and an event that always fails is
//! alone in the end. When calls succeed, the number doubles again.

use crate::event::TakenEvent;

/// After at most so many successful calls the size grows again.
const MAX_PATIENCE: u32 = 1024;

#[derive(Debug)]
pub(super) struct CallSize {
    max: usize,
    events: usize,
    /// Successful calls of this size.
    successes: u32,
    /// After so many of them the size grows. Doubles each time that a larger call fails.
    patience: u32,
    /// The size has grown, and no call of the new size has succeeded yet.
    has_grown: bool,
}

impl CallSize {
    pub(super) fn new(max: usize) -> Self {
        Self { max, events: max, successes: 0, patience: 1, has_grown: false }
    }

    /// How many of these events go into the next call.
    pub(super) fn of(&self, events: &[TakenEvent]) -> usize {
        let fits = if self.events < self.max { self.events } else { events.len() };
        uncut(fits.min(events.len()), |at| match (events.get(at.wrapping_sub(1)), events.get(at)) {
            (Some(last), Some(next)) => last.is_split_from(next),
            _ => false,
        })
    }

    /// A call with so many events succeeded.
    pub(super) fn succeeded(&mut self, count: usize) {
        if count < self.events || self.events == self.max {
            return;
        }
        if self.has_grown {
            self.has_grown = false;
            self.patience = 1;
        }
        self.successes += 1;
        if self.successes >= self.patience {
            self.successes = 0;
            self.events = (2 * self.events).min(self.max);
            self.has_grown = true;
        }
    }

    /// The event is found that made calls fail: others may be taken together as before.
    pub(super) fn found(&mut self) {
        *self = Self::new(self.max);
    }

    /// A call with so many events failed, and it is not known because of which.
    pub(super) fn failed(&mut self, count: usize) {
        if self.has_grown {
            self.patience = (2 * self.patience).min(MAX_PATIENCE);
        }
        self.has_grown = false;
        self.successes = 0;
        self.events = (count / 2).max(1);
    }
}

/// The number of events, or a number close to it that does not separate the two halves of a changed
/// key. `is_cut` says whether a cut at a place does so.
pub(in crate::listener) fn uncut(count: usize, is_cut: impl Fn(usize) -> bool) -> usize {
    match (is_cut(count), count) {
        (false, _) => count,
        (true, ..=1) => 2,
        (true, _) => count - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;

    /// The sizes of the calls for a handler that takes no more than `limit`.
    fn sizes(max: usize, limit: usize, calls: usize) -> Vec<usize> {
        let mut size = CallSize::new(max);
        let call = |_| {
            let count = size.events;
            if count > limit {
                size.failed(count);
            } else {
                size.succeeded(count);
            }
            count
        };
        (0..calls).map(call).collect()
    }

    #[test]
    fn it_is_halved_until_calls_succeed_and_larger_ones_are_tried_ever_more_rarely() {
        let expected = [50, 25, 12, 24, 12, 12, 24, 12, 12, 12, 12, 24, 12];
        assert_eq!(sizes(50, 20, 13), expected);
        let failures = sizes(50, 20, 10_000).into_iter().filter(|size| *size > 20).count();
        assert!(failures < 30, "{failures}");
    }

    #[test]
    fn it_grows_back_at_once_when_the_handler_is_well_again() {
        let mut size = CallSize::new(50);
        for _ in 0..9 {
            size.failed(size.events);
        }
        assert_eq!(size.events, 1);
        let mut calls = 0;
        while size.events < 50 {
            size.succeeded(size.events);
            calls += 1;
        }
        assert_eq!(calls, 6);
    }

    #[test]
    fn the_halves_of_a_changed_key_go_together_into_the_smallest_call() {
        let events = [event(1, "g#5d"), event(2, "g#5i"), event(3, "x"), event(4, "y")];
        let mut size = CallSize::new(4);
        assert_eq!(size.of(&events), 4);
        size.failed(2);
        assert_eq!(size.of(&events), 2);
        assert_eq!(size.of(&events[2..]), 1);
        assert_eq!(size.of(&[]), 0);
    }
}
