//! The handler calls that run, so that one that takes long is seen.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::event::TakenEvent;

/// A call that has run for longer than this is shown.
const LONG_MS: u64 = 10_000;

/// A call that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunningCall {
    /// When it began, in ms since the Unix epoch.
    pub(crate) since_ms: u64,
    /// Its first event, and the place of this event on the bus.
    pub(crate) first_ev_id: String,
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    /// How many events it has.
    pub(crate) events: usize,
}

/// The calls that run, by lane.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<BTreeMap<usize, RunningCall>>);

impl Calls {
    /// A lane calls its handler with these.
    pub(super) fn begin(&self, lane: usize, events: &[TakenEvent], now_ms: u64) {
        let Some(first) = events.first() else { return };
        let (partition, offset) = first.place();
        let call = RunningCall {
            since_ms: now_ms,
            first_ev_id: first.ev_id().to_owned(),
            topic: partition.topic.to_string(),
            partition: partition.number,
            offset,
            events: events.len(),
        };
        self.lock().insert(lane, call);
    }

    /// The call of a lane has ended.
    pub(super) fn end(&self, lane: usize) {
        self.lock().remove(&lane);
    }

    /// The call that has run for longest, if that is long.
    pub(super) fn long(&self, now_ms: u64) -> Option<RunningCall> {
        let calls = self.lock();
        let oldest = calls.values().min_by_key(|call| call.since_ms)?;
        (now_ms.saturating_sub(oldest.since_ms) > LONG_MS).then(|| oldest.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, RunningCall>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;

    #[test]
    fn the_oldest_call_is_shown_once_it_has_run_for_long() {
        let calls = Calls::default();
        calls.begin(0, &[event(1, "a"), event(2, "b")], 500);
        calls.begin(1, &[event(3, "c")], 0);
        assert_eq!(calls.long(LONG_MS), None);
        let shown = |now| calls.long(now).map(|call| (call.first_ev_id, call.events));
        assert_eq!(shown(LONG_MS + 1), Some(("c".to_owned(), 1)));
        calls.end(1);
        assert_eq!(shown(LONG_MS + 500), None);
        assert_eq!(shown(LONG_MS + 501), Some(("a".to_owned(), 2)));
    }
}
