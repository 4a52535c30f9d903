//! Events of one key that wait for each other: the first has failed, or waits for its turn. The
//! keys of a row whose key changed wait together.

use std::collections::{BTreeSet, VecDeque};

use event_bus::Partition;
use service::Backoff;
use tokio::time::Instant;

use super::entry::{Trouble, cost};
use crate::event::Event;

pub(super) struct KeyQueue {
    /// The same after a restart.
    pub(super) name: String,
    pub(super) keys: BTreeSet<u64>,
    /// In order; those in a call are not among them.
    pub(super) events: VecDeque<Event>,
    /// The places of those in a call, and whether each is kept on the bus.
    running: Vec<(Partition, u64, bool)>,
    /// A call with several events failed: the next one is with the first alone.
    pub(super) is_halved: bool,
    /// Why the first event failed.
    pub(super) trouble: Option<Trouble>,
    pub(super) state: QueueState,
    pub(super) backoff: Backoff,
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
    pub(super) fn knows(&self, event: &Event) -> Option<bool> {
        let place = event.place();
        let is_before = |other: &&Event| {
            let (at, offset) = other.place();
            at == place.0 && offset <= place.1
        };
        let waiting = self.events.iter().rev().find(is_before);
        let waiting = waiting.filter(|other| other.place() == place);
        let running = self.running.iter().find(|(at, offset, _)| (at, *offset) == place);
        waiting.map(|event| event.is_kept).or(running.map(|(.., is_kept)| *is_kept))
    }

    /// Puts an event where it belongs: before the first later one of its partition.
    pub(super) fn insert(&mut self, event: Event) {
        let (partition, offset) = event.place();
        let is_later = |other: &Event| {
            let (at, number) = other.place();
            at == partition && number > offset
        };
        let last = self.events.iter().rev().find(|other| other.place().0 == partition);
        // Most events are later than all others.
        let at = match last.is_some_and(is_later) {
            true => self.events.iter().position(is_later),
            false => None,
        };
        self.keys.insert(event.key());
        self.events.insert(at.unwrap_or(self.events.len()), event);
    }

    /// Whether it waits for a human, or did before the call that runs.
    pub(super) fn is_parked(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.parked_ms.is_some())
    }

    /// The call has ended, with these not done. Gives how many it had.
    pub(super) fn take_back(&mut self, returned: Vec<Event>) -> usize {
        let count = self.running.len();
        self.running.clear();
        for event in returned.into_iter().rev() {
            self.events.push_front(event);
        }
        // An event that came meanwhile may be earlier.
        let is_sorted = self.events.iter().is_sorted_by(|one, other| {
            one.place().0 != other.place().0 || one.place().1 < other.place().1
        });
        if !is_sorted {
            let events = std::mem::take(&mut self.events);
            events.into_iter().for_each(|event| self.insert(event));
        }
        count
    }

    /// Takes the events of the next call: one that failed alone, or else as many as fit. The two
    /// halves of a changed key go together.
    pub(super) fn take(&mut self, max_events: usize) -> Vec<Event> {
        let is_alone = self.trouble.is_some() || self.is_halved;
        let most = if is_alone { 1 } else { max_events.max(1) };
        let mut count = most.min(self.events.len());
        let is_cut = |at: usize| match (self.events.get(at.wrapping_sub(1)), self.events.get(at)) {
            (Some(last), Some(next)) => last.is_split_from(next),
            _ => false,
        };
        count += usize::from(is_cut(count));
        self.state = QueueState::Running;
        let events: Vec<Event> = self.events.drain(..count).collect();
        let place = |event: &Event| (event.place().0.clone(), event.place().1, event.is_kept);
        self.running = events.iter().map(place).collect();
        events
    }

    /// Removes some events, and gives them.
    pub(super) fn remove(&mut self, is_wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
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
        self.running.retain(|(partition, ..)| is_ours(partition));
        let dropped = self.remove(|event| !is_ours(event.place().0));
        let (events, bytes) = (dropped.len(), dropped.iter().map(cost).sum());
        (events, bytes)
    }
}
