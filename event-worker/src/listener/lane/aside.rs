//! Events that fail alone are set aside, so that the lane goes on with others.

use std::collections::BTreeSet;

use crate::{event::TakenEvent, handler::Failure};

/// Events that failed and wait for each other: those of one key, in order, or of both keys of a row
/// whose key changed.
#[derive(Debug)]
pub(in crate::listener) struct SetAside {
    pub(in crate::listener) events: Vec<TakenEvent>,
    pub(in crate::listener) failure: Failure,
}

/// Whether it is known of a call which events made it fail: the handler named them, or there was
/// nothing else in the call.
pub(super) fn is_found(failed: &[TakenEvent], tried: usize) -> bool {
    match failed {
        [_] => true,
        [first, second] if first.is_split_from(second) => true,
        many => !many.is_empty() && many.len() < tried,
    }
}

/// Sets aside what failed, key by key, with the later events of these keys from the rest of the
/// batch.
pub(super) fn take(
    failed: Vec<TakenEvent>,
    rest: &mut Vec<TakenEvent>,
    failure: &Failure,
) -> Vec<SetAside> {
    let mut groups: Vec<(BTreeSet<u64>, Vec<TakenEvent>)> = Vec::new();
    let mut others = Vec::with_capacity(rest.len());
    let count = failed.len();
    for (at, event) in failed.into_iter().chain(rest.drain(..)).enumerate() {
        // A past event is older than those that wait.
        let is_live = event.replay().is_none();
        let belongs = |(keys, events): &(BTreeSet<u64>, Vec<TakenEvent>)| {
            let is_half = events.last().is_some_and(|last| last.is_split_from(&event));
            is_live && (is_half || keys.contains(&event.key()))
        };
        match groups.iter_mut().find(|group| belongs(group)) {
            Some((keys, events)) => {
                keys.insert(event.key());
                events.push(event);
            }
            None if at < count => groups.push((BTreeSet::from([event.key()]), vec![event])),
            None => others.push(event),
        }
    }
    *rest = others;
    let aside = |(_, events)| SetAside { events, failure: failure.clone() };
    groups.into_iter().map(aside).collect()
}

/// How many calls in a row may fail before the lane waits. To find one event among many, calls with
/// ever fewer events are needed, and most of them fail. If more fail than that, it is not one event
/// that is bad: the handler cannot work at all.
#[derive(Debug)]
pub(super) struct Isolation {
    enough: u32,
    failed: u32,
}

impl Isolation {
    pub(super) fn new(batch_size: usize) -> Self {
        Self { enough: batch_size.max(1).ilog2() + 3, failed: 0 }
    }

    pub(super) fn succeeded(&mut self) {
        self.failed = 0;
    }

    /// A call failed; whether the next call may follow at once.
    pub(super) fn failed(&mut self) -> bool {
        self.failed = self.failed.saturating_add(1);
        self.failed <= self.enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event_of_key;

    fn ids(events: &[TakenEvent]) -> Vec<&str> {
        events.iter().map(TakenEvent::ev_id).collect()
    }

    #[test]
    fn what_failed_is_set_aside_key_by_key_with_the_later_events_of_each_key() {
        let failed = vec![event_of_key(1, "a1", "a"), event_of_key(2, "b1", "b")];
        let mut rest = vec![
            event_of_key(3, "c1", "c"),
            event_of_key(4, "b2", "b"),
            event_of_key(5, "a2", "a"),
        ];
        let aside = take(failed, &mut rest, &Failure::new("no"));
        let taken: Vec<_> = aside.iter().map(|one| ids(&one.events)).collect();
        assert_eq!(taken, [["a1", "a2"], ["b1", "b2"]]);
        assert_eq!(ids(&rest), ["c1"]);
    }

    #[test]
    fn the_keys_of_a_row_whose_key_changed_wait_together() {
        let failed = vec![event_of_key(1, "a1", "a")];
        let mut rest = vec![
            event_of_key(2, "g#5d", "a"),
            event_of_key(3, "g#5i", "b"),
            event_of_key(4, "c", "c"),
            event_of_key(5, "b2", "b"),
        ];
        let aside = take(failed, &mut rest, &Failure::new("no"));
        assert_eq!(ids(&aside[0].events), ["a1", "g#5d", "g#5i", "b2"]);
        assert_eq!((aside.len(), ids(&rest)), (1, vec!["c"]));
    }

    #[test]
    fn it_is_known_what_failed_when_it_was_alone_or_named() {
        let (a, b) = (event_of_key(1, "a", "a"), event_of_key(2, "b", "b"));
        assert!(is_found(std::slice::from_ref(&a), 1));
        assert!(is_found(std::slice::from_ref(&a), 9));
        assert!(!is_found(&[a, b], 2));
        let halves = [event_of_key(1, "g#5d", "a"), event_of_key(2, "g#5i", "b")];
        assert!(is_found(&halves, 2));
    }

    #[test]
    fn one_bad_event_among_many_is_found_without_a_wait_and_a_sick_handler_is_waited_for() {
        let mut isolation = Isolation::new(128);
        let quick = (0..20).take_while(|_| isolation.failed()).count();
        assert_eq!(quick, 10);
        isolation.succeeded();
        assert!(isolation.failed());
    }
}
