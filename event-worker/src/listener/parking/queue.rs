//! Events of one key that wait for each other: the first has failed, or waits for its turn. The
//! keys of a row whose key changed wait together.

use std::collections::{BTreeSet, VecDeque};

use event_bus::Partition;
use service::Backoff;
use tokio::time::Instant;

use super::entry::{Trouble, cost};
use crate::event::TakenEvent;

pub(super) struct KeyQueue {
    /// The same after a restart.
    pub(super) name: String,
    pub(super) keys: BTreeSet<u64>,
    /// In order; those in a call are not among them.
    pub(super) events: VecDeque<TakenEvent>,
    /// Those in a call.
    running: Vec<EventPlace>,
    /// A call with several events failed: the next one is with the first alone.
    pub(super) is_halved: bool,
    /// Why the first event failed.
    pub(super) trouble: Option<Trouble>,
    pub(super) state: QueueState,
    pub(super) backoff: Backoff,
}

/// What an event is recognised by.
#[derive(Debug)]
struct EventPlace {
    partition: Partition,
    offset: u64,
    ev_id: String,
    /// It is kept on the bus.
    is_kept: bool,
}

impl EventPlace {
    fn of(event: &TakenEvent) -> Self {
        let (partition, offset) = event.place();
        let (partition, ev_id) = (partition.clone(), event.ev_id().to_owned());
        Self { partition, offset, ev_id, is_kept: event.is_kept }
    }

    /// In a topic that was made again, another event may have the same offset.
    fn is_same(&self, other: &Self) -> bool {
        self.offset == other.offset
            && self.ev_id == other.ev_id
            && self.partition == other.partition
    }
}

/// What a queue waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueState {
    /// The next call, not before this.
    Waiting(Instant),
    /// The end of a call.
    Running,
    /// A human.
    Parked,
}

impl KeyQueue {
    pub(super) fn new(name: String, at: Instant, backoff: Backoff) -> Self {
        Self {
            name,
            keys: BTreeSet::new(),
            events: VecDeque::new(),
            running: Vec::new(),
            is_halved: false,
            trouble: None,
            state: QueueState::Waiting(at),
            backoff,
        }
    }

    /// Whether nothing waits, and nothing is in a call.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.running.is_empty()
    }

    /// Whether the event is here already, and if so whether it is kept on the bus. The bus brings
    /// an event again that was kept before its place could be committed.
    pub(super) fn knows(&self, event: &TakenEvent) -> Option<bool> {
        let place = EventPlace::of(event);
        let at = self.place_for(event).checked_sub(1);
        let waiting = at.and_then(|at| self.events.get(at)).map(EventPlace::of);
        let known = waiting.as_ref().into_iter().chain(&self.running);
        known.into_iter().find(|known| known.is_same(&place)).map(|known| known.is_kept)
    }

    /// Puts an event where it belongs: before the first later one.
    pub(super) fn insert(&mut self, event: TakenEvent) {
        let at = self.place_for(&event);
        self.keys.insert(event.key());
        self.events.insert(at, event.kept_aside());
    }

    /// Where the first event is that is later than this one. The number says which of two events is
    /// later, also where a topic was made again, or a key has moved to another partition.
    fn place_for(&self, event: &TakenEvent) -> usize {
        match event.seq() {
            Some(seq) if self.events.iter().all(|other| other.seq().is_some()) => {
                self.events.partition_point(|other| other.seq() <= Some(seq))
            }
            // A record of an old `dts` has none.
            _ => {
                let later = |other: &TakenEvent| {
                    other.place().0 == event.place().0 && other.place().1 > event.place().1
                };
                self.events.iter().position(later).unwrap_or(self.events.len())
            }
        }
    }

    /// Whether it waits for a human, or did before the call that runs.
    pub(super) fn is_parked(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.parked_ms.is_some())
    }

    /// The call has ended, with these not done. Gives how many it had.
    pub(super) fn take_back(&mut self, returned: Vec<TakenEvent>) -> usize {
        let count = self.running.len();
        self.running.clear();
        // An event that came meanwhile may be earlier.
        returned.into_iter().for_each(|event| self.insert(event));
        count
    }

    /// Takes the events of the next call: one that failed alone, or else as many as fit. The two
    /// halves of a changed key go together.
    pub(super) fn take(&mut self, max_events: usize) -> Vec<TakenEvent> {
        let is_alone = self.trouble.is_some() || self.is_halved;
        let most = if is_alone { 1 } else { max_events.max(1) };
        let mut count = most.min(self.events.len());
        let is_cut = |at: usize| match (self.events.get(at.wrapping_sub(1)), self.events.get(at)) {
            (Some(last), Some(next)) => last.is_split_from(next),
            _ => false,
        };
        count += usize::from(is_cut(count));
        self.state = QueueState::Running;
        let events: Vec<TakenEvent> = self.events.drain(..count).collect();
        self.running = events.iter().map(EventPlace::of).collect();
        events
    }

    /// Removes some events, and gives them.
    pub(super) fn remove(&mut self, is_wanted: impl Fn(&TakenEvent) -> bool) -> Vec<TakenEvent> {
        let first = self.events.front().map(|event| event.ev_id().to_owned());
        let events = std::mem::take(&mut self.events).into_iter();
        let (removed, kept): (Vec<_>, Vec<_>) = events.partition(is_wanted);
        self.events = kept.into();
        if self.events.front().map(|event| event.ev_id().to_owned()) != first {
            self.trouble = None;
        }
        removed
    }

    /// Drops the events of partitions that are not ours any more; gives how many, and their bytes.
    /// Those in a call count until it has ended.
    pub(super) fn retain(&mut self, is_ours: impl Fn(&Partition) -> bool) -> (usize, usize) {
        self.running.retain(|event| is_ours(&event.partition));
        let dropped = self.remove(|event| !is_ours(event.place().0));
        let (events, bytes) = (dropped.len(), dropped.iter().map(cost).sum());
        (events, bytes)
    }
}
