//! Events that fail alone, with all later events of their keys: they wait aside while all other
//! keys go on, and are kept on the bus.
//!
//! Such an event is first tried again by itself, as `retry` says. When that was done for long
//! enough (`park.after`), the event is parked: from then on it waits for a human. Either way its
//! later events wait behind it, in order.

mod changes;
pub(crate) mod command;
pub(crate) mod entry;
mod queue;
mod report;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use event_bus::{Kept, KeptChange, Partition};
use service::{Backoff, BackoffConfig, clock::now_ms};
use tokio::time::Instant;

pub(super) use self::report::KeptAside;
pub(crate) use self::report::ParkingReport;
use self::{
    changes::Changes,
    command::{ParkedCommand, ParkedWish},
    entry::{ParkedEntry, Trouble},
    queue::{KeyQueue, QueueState},
    told::Told,
};
use crate::{
    config::{ListenerConfig, ParkAfter, ParkConfig},
    event::TakenEvent,
    handler::Failure,
};

/// The events of a listener that wait aside.
pub(super) struct Parking {
    config: Option<ParkConfig>,
    retry: BackoffConfig,
    batch_size: usize,
    show_output: bool,
    queues: BTreeMap<u64, KeyQueue>,
    /// The queue of each key.
    by_key: HashMap<u64, u64>,
    /// The queues that wait for a call, with the time of that.
    due: BTreeSet<(Instant, u64)>,
    changes: Changes,
    events: usize,
    bytes: usize,
    next: u64,
    /// Why the bus has kept nothing more the last time.
    refused: Option<String>,
    has_news: bool,
    told: Told,
    /// The last event that was put here, if it is the first half of a changed key: its queue.
    half: Option<(TakenEvent, u64)>,
}

impl Parking {
    pub(super) fn new(config: &ListenerConfig) -> Self {
        Self {
            config: config.park,
            retry: config.retry,
            batch_size: config.batch_size,
            show_output: config.show_output,
            queues: BTreeMap::new(),
            by_key: HashMap::new(),
            due: BTreeSet::new(),
            changes: Changes::default(),
            events: 0,
            bytes: 0,
            next: 0,
            refused: None,
            has_news: false,
            told: Told::default(),
            half: None,
        }
    }

    /// Whether an event that comes now must wait here.
    pub(super) fn holds(&self, event: &TakenEvent) -> bool {
        self.by_key.contains_key(&event.key()) || self.joins(event)
    }

    /// Whether the event is the second half of a changed key whose first half waits here.
    pub(super) fn joins(&self, event: &TakenEvent) -> bool {
        self.half.as_ref().is_some_and(|(half, _)| half.is_split_from(event))
    }

    /// Whether there is no room for another key.
    pub(super) fn is_full(&self) -> bool {
        let is_over = self.config.is_some_and(|config| {
            self.by_key.len() >= config.max_keys || self.bytes >= config.max_bytes
        });
        is_over || self.refused.is_some()
    }

    /// The bus cannot keep what is to be saved.
    pub(super) fn refused(&mut self, reason: &str) {
        self.has_news |= self.refused.as_deref() != Some(reason);
        self.refused = Some(reason.to_owned());
    }

    /// The bus has saved what there was.
    pub(super) fn is_saved(&mut self) {
        self.has_news |= self.refused.take().is_some();
    }

    /// Whether events may be set aside: `park` is on, and there is room.
    pub(super) fn is_open(&self) -> bool {
        self.config.is_some() && !self.is_full()
    }

    /// Puts an event behind the earlier ones of its key. Gives its place if the event is kept on
    /// the bus: with the next commit, if there is room.
    pub(super) fn add(&mut self, event: TakenEvent) -> Option<KeptAside> {
        let of_key = self.by_key.get(&event.key()).copied();
        let of_half = self.half.take().filter(|(half, _)| half.is_split_from(&event));
        let queue = of_key.or(of_half.map(|(_, queue)| queue));
        let queue = queue.unwrap_or_else(|| self.new_queue(name_of(&event)));
        self.half = event.is_first_half().then(|| (event.clone(), queue));
        self.insert(queue, event)
    }

    /// Sets aside events that failed, and the later ones of their keys. Gives the places of those
    /// that are kept on the bus, as [`Parking::add`].
    pub(super) fn set_aside(
        &mut self,
        events: Vec<TakenEvent>,
        failure: &Failure,
    ) -> Vec<KeptAside> {
        let Some(first) = events.first() else { return Vec::new() };
        let known = events.iter().find_map(|event| self.by_key.get(&event.key()).copied());
        let queue = known.unwrap_or_else(|| self.new_queue(name_of(first)));
        let first = first.ev_id().to_owned();
        let inserted = events.into_iter().filter_map(|event| self.insert(queue, event));
        let kept: Vec<KeptAside> = inserted.collect();
        let is_first = |kept: &KeyQueue| kept.events.front().is_some_and(|e| e.ev_id() == first);
        if self.queues.get(&queue).is_some_and(is_first) {
            self.fails(queue, failure);
        }
        kept
    }

    /// The queues whose next call is due, with the key of the first event.
    pub(super) fn due(&self, now: Instant) -> Vec<(u64, u64)> {
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        let first = |queue: &u64| self.queues.get(queue)?.events.front().map(TakenEvent::key);
        due.filter_map(|(_, queue)| Some((*queue, first(queue)?))).collect()
    }

    /// When the first call is due after a moment.
    pub(super) fn next_due(&self, after: Instant) -> Option<Instant> {
        self.due.range((after, u64::MAX)..).next().map(|(at, _)| *at)
    }

    /// Lets all that is tried again be tried now.
    pub(super) fn hurry(&mut self) {
        let now = Instant::now();
        let waiting: Vec<u64> = self.due.iter().map(|(_, queue)| *queue).collect();
        waiting.into_iter().for_each(|queue| self.wait(queue, now));
    }

    /// The keys of a queue, and the partitions of its events.
    pub(super) fn about(&self, queue: u64) -> (BTreeSet<u64>, Vec<&Partition>) {
        let Some(queue) = self.queues.get(&queue) else { return Default::default() };
        let partitions = queue.events.iter().map(|event| event.place().0).collect();
        (queue.keys.clone(), partitions)
    }

    /// Takes the events of a queue's next call.
    pub(super) fn start(&mut self, queue: u64) -> Vec<TakenEvent> {
        self.not_due(queue);
        let batch_size = self.batch_size;
        self.queues.get_mut(&queue).map(|queue| queue.take(batch_size)).unwrap_or_default()
    }

    /// A call of a queue has ended: these are done, those are not. `is_ours` says of what is not
    /// done whether it still is ours.
    pub(super) fn ended(
        &mut self,
        queue: u64,
        (finished, returned): (&[TakenEvent], Vec<TakenEvent>),
        failure: Option<&Failure>,
        is_ours: impl Fn(&TakenEvent) -> bool,
    ) {
        for event in finished.iter().filter(|event| event.is_kept && is_ours(event)) {
            self.changes.set(event.place().0, entry::key_of(event), None);
        }
        let (ours, lost): (Vec<_>, Vec<_>) = returned.into_iter().partition(is_ours);
        let gone = finished.iter().chain(&lost);
        self.forget(finished.len() + lost.len(), gone.map(entry::cost).sum());
        let Some(kept) = self.queues.get_mut(&queue) else { return };
        let has_moved = !finished.is_empty() || !lost.is_empty();
        let has_halves = ours.first().is_some_and(TakenEvent::is_first_half);
        let is_alone = kept.take_back(ours) <= 1 + usize::from(has_halves);
        if has_moved {
            (kept.trouble, kept.is_halved) = (None, false);
            kept.backoff.reset();
        }
        let (is_parked, is_empty) = (kept.is_parked(), kept.events.is_empty());
        match failure {
            _ if is_empty => self.close(queue),
            // A call that was given up says nothing.
            None if is_parked => self.park(queue),
            None => self.wait(queue, Instant::now()),
            Some(failure) if failure.is_unclear && !is_parked => {
                let again = Instant::now() + kept.backoff.next_wait();
                self.wait(queue, again);
            }
            // Another event may be the bad one.
            Some(_) if !is_alone && !has_moved => {
                kept.is_halved = true;
                self.wait(queue, Instant::now());
            }
            Some(failure) => self.fails(queue, failure),
        }
    }

    /// Does what a human wants, if the queue is here. `false`: it is in a call, ask again later.
    pub(super) fn obey(&mut self, command: &ParkedCommand) -> bool {
        let named = |(_, queue): &(&u64, &KeyQueue)| queue.name == command.queue;
        let Some((&number, queue)) = self.queues.iter().find(named) else { return true };
        if queue.state == QueueState::Running {
            return false;
        }
        match &command.wish {
            ParkedWish::Retry => self.wait(number, Instant::now()),
            ParkedWish::Replay => {
                if let Some(queue) = self.queues.get_mut(&number) {
                    queue.backoff.reset();
                    (queue.trouble, queue.is_halved) = (None, false);
                }
                self.save_trouble(number);
                self.wait(number, Instant::now());
            }
            ParkedWish::Drop(keys) => self.drop_events(number, keys),
        }
        self.has_news = true;
        true
    }

    fn drop_events(&mut self, number: u64, keys: &[String]) {
        let Some(queue) = self.queues.get_mut(&number) else { return };
        let dropped = queue.remove(|event| keys.contains(&entry::key_of(event)));
        for event in &dropped {
            self.changes.set(event.place().0, entry::key_of(event), None);
        }
        self.forget(dropped.len(), dropped.iter().map(entry::cost).sum());
        match self.queues.get(&number) {
            Some(queue) if queue.is_empty() => self.close(number),
            _ => self.wait(number, Instant::now()),
        }
    }

    /// Takes over what was kept for partitions that are ours now.
    ///
    /// # Errors
    ///
    /// What is wrong with an entry.
    pub(super) fn load(
        &mut self,
        kept: &[Kept],
        generation: impl Fn(&Partition) -> Option<u64>,
    ) -> Result<(), String> {
        let mut names: HashMap<String, u64> =
            self.queues.iter().map(|(number, queue)| (queue.name.clone(), *number)).collect();
        let mut loaded = BTreeSet::new();
        let ours = kept.iter().filter_map(|one| Some((one, generation(&one.partition)?)));
        let entries = ours.map(|(one, generation)| entry::decode(one, generation));
        let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by(entry::order);
        for ParkedEntry { event, about } in entries {
            let queue = match names.get(&about.queue) {
                Some(queue) => *queue,
                None => self.new_queue(about.queue.clone()),
            };
            names.insert(about.queue, queue);
            loaded.insert(queue);
            self.restore(queue, event, about.trouble);
        }
        loaded.into_iter().for_each(|queue| self.resume(queue));
        Ok(())
    }

    /// Drops what belongs to partitions that are not ours any more.
    pub(super) fn retain(&mut self, is_ours: impl Fn(&Partition) -> bool) {
        self.changes.retain(&is_ours);
        let (mut events, mut bytes) = (0, 0);
        for queue in self.queues.values_mut() {
            let dropped = queue.retain(&is_ours);
            (events, bytes) = (events + dropped.0, bytes + dropped.1);
        }
        self.forget(events, bytes);
        self.half = None;
        let empty = self.queues.iter().filter(|(_, queue)| queue.is_empty());
        let empty: Vec<u64> = empty.map(|(number, _)| *number).collect();
        empty.into_iter().for_each(|queue| self.close(queue));
    }

    /// Forgets what was to be saved of other partitions.
    pub(super) fn forget_all_but(&mut self, is_ours: impl Fn(&Partition) -> bool) {
        self.changes.retain(is_ours);
    }

    /// What is to be saved, each entry once.
    pub(super) fn take_changes(&mut self) -> Vec<KeptChange> {
        self.changes.take()
    }

    /// The changes were not saved.
    pub(super) fn not_saved(&mut self, changes: Vec<KeptChange>) {
        self.changes.give_back(changes);
    }

    /// The partitions of what is to be saved.
    pub(super) fn changed_partitions(&self) -> impl Iterator<Item = &Partition> {
        self.changes.partitions()
    }

    /// Whether events may have to wait here.
    pub(super) fn is_in_use(&self) -> bool {
        self.config.is_some() || !self.queues.is_empty()
    }

    /// What waits here now, if that has changed since it was told.
    pub(super) fn news(&mut self) -> Option<ParkingReport> {
        std::mem::take(&mut self.has_news).then(|| self.report())
    }

    fn report(&self) -> ParkingReport {
        let parked = self.queues.values().filter(|queue| queue.state == QueueState::Parked);
        let since = self.queues.values().filter_map(|queue| queue.trouble.as_ref());
        ParkingReport {
            keys: self.by_key.len() as u64,
            parked: parked.map(|queue| queue.keys.len() as u64).sum(),
            events: self.events as u64,
            bytes: self.bytes as u64,
            oldest_ms: since.map(|trouble| trouble.since_ms).min(),
            is_full: self.is_full(),
            refused: self.refused.clone(),
        }
    }

    fn new_queue(&mut self, name: String) -> u64 {
        let number = self.next;
        self.next += 1;
        let at = Instant::now();
        self.queues.insert(number, KeyQueue::new(name, at, Backoff::new(self.retry)));
        self.due.insert((at, number));
        number
    }

    /// Puts an event into its queue. Gives its place if it is kept on the bus.
    fn insert(&mut self, number: u64, mut event: TakenEvent) -> Option<KeptAside> {
        let queue = self.queues.get(&number)?;
        let (partition, offset) = event.place();
        let (partition, table) = (partition.clone(), Arc::clone(event.table()));
        let place = KeptAside { partition, offset, table };
        if let Some(is_kept) = queue.knows(&event) {
            return is_kept.then_some(place);
        }
        if self.config.is_none_or(|config| self.bytes + entry::cost(&event) <= config.max_bytes) {
            let value = entry::encode(&event, &queue.name, None);
            event.is_kept = value.is_some();
            self.changes.set(event.place().0, entry::key_of(&event), value);
        }
        let is_kept = event.is_kept;
        self.restore(number, event, None);
        is_kept.then_some(place)
    }

    fn restore(&mut self, number: u64, event: TakenEvent, trouble: Option<Trouble>) {
        let Some(queue) = self.queues.get_mut(&number) else { return };
        self.events += 1;
        self.bytes += entry::cost(&event);
        self.has_news = true;
        self.by_key.entry(event.key()).or_insert(number);
        queue.trouble = trouble.or(queue.trouble.take());
        queue.insert(event);
    }

    /// A queue that was read: its first event is tried again, unless it is parked.
    fn resume(&mut self, number: u64) {
        let Some(queue) = self.queues.get_mut(&number) else { return };
        let is_parked = queue.trouble.as_ref().is_some_and(|trouble| trouble.parked_ms.is_some());
        match (is_parked, queue.state) {
            (_, QueueState::Running) => {}
            (true, _) => self.park(number),
            (false, _) => self.wait(number, Instant::now()),
        }
    }

    /// The first event of a queue has failed alone.
    fn fails(&mut self, number: u64, failure: &Failure) {
        let Some(queue) = self.queues.get_mut(&number) else { return };
        let now = now_ms();
        let trouble = queue.trouble.get_or_insert_default();
        trouble.attempts = trouble.attempts.saturating_add(1);
        trouble.since_ms = if trouble.since_ms == 0 { now } else { trouble.since_ms };
        trouble.error.clone_from(&failure.reason);
        trouble.said = failure.said.clone().filter(|_| self.show_output);
        // What a human has tried once, and has failed again, stays parked.
        let was_parked = trouble.parked_ms.is_some();
        let is_over = match self.config.map(|config| config.after) {
            _ if was_parked => true,
            None => false,
            Some(ParkAfter::Attempts(attempts)) => trouble.attempts >= attempts,
            Some(ParkAfter::Time(time)) => {
                u128::from(now.saturating_sub(trouble.since_ms)) >= time.as_millis()
            }
        };
        // What is in memory alone is tried until it is done: no command would find it.
        let is_over = is_over && queue.events.front().is_some_and(|first| first.is_kept);
        trouble.parked_ms = trouble.parked_ms.or(is_over.then_some(now));
        if let Some(first) = queue.events.front() {
            self.told.failed(first, trouble);
        }
        let wait = queue.backoff.next_wait().max(failure.retry_after.unwrap_or_default());
        self.has_news = true;
        self.save_trouble(number);
        if is_over { self.park(number) } else { self.wait(number, Instant::now() + wait) }
    }

    fn save_trouble(&mut self, number: u64) {
        let Some(queue) = self.queues.get(&number) else { return };
        let Some(first) = queue.events.front().filter(|first| first.is_kept) else { return };
        let value = entry::encode(first, &queue.name, queue.trouble.as_ref());
        self.changes.set(first.place().0, entry::key_of(first), value);
    }

    fn not_due(&mut self, number: u64) {
        if let Some(QueueState::Waiting(at)) = self.queues.get(&number).map(|queue| queue.state) {
            self.due.remove(&(at, number));
        }
    }

    fn wait(&mut self, number: u64, at: Instant) {
        self.not_due(number);
        if let Some(queue) = self.queues.get_mut(&number) {
            queue.state = QueueState::Waiting(at);
            self.due.insert((at, number));
        }
    }

    fn park(&mut self, number: u64) {
        self.not_due(number);
        if let Some(queue) = self.queues.get_mut(&number) {
            queue.state = QueueState::Parked;
        }
    }

    fn close(&mut self, number: u64) {
        self.not_due(number);
        self.half.take_if(|(_, queue)| *queue == number);
        if let Some(queue) = self.queues.remove(&number) {
            for key in queue.keys {
                if self.by_key.get(&key) == Some(&number) {
                    self.by_key.remove(&key);
                }
            }
        }
    }

    fn forget(&mut self, events: usize, bytes: usize) {
        self.events -= events.min(self.events);
        self.bytes -= bytes.min(self.bytes);
        self.has_news = true;
    }
}

/// The name of a queue that begins with this event.
fn name_of(event: &TakenEvent) -> String {
    let (partition, offset) = event.place();
    format!("{}/{}/{offset}", partition.topic, partition.number)
}

#[cfg(test)]
mod tests;
