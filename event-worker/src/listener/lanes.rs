//! The lanes of a listener: events wait for theirs in order, and go out in batches.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use event_bus::Partition;
use tokio::{
    sync::{mpsc, watch},
    task::{self, JoinSet},
};
use tracing::Instrument;

use super::{
    lane::{Lane, LaneReport, Leash, SetAside, Work, uncut},
    status::Status,
};
use crate::{
    config::ListenerConfig,
    environment::Lease,
    event::TakenEvent,
    handler::{Failure, MakeHandler},
    table_name::TableName,
};

/// All lanes, and the events that wait for them.
pub(super) struct Lanes {
    lanes: Vec<LaneQueue>,
    limits: BatchLimits,
    reports: mpsc::Receiver<LaneReport>,
    rest: watch::Sender<()>,
    tasks: JoinSet<()>,
    status: Arc<Status>,
    may_set_aside: Arc<AtomicBool>,
    /// Bytes of all events, waiting or in a call.
    bytes: usize,
    events: usize,
    /// Events of which a lane gave no account, since somebody asked.
    lost: Vec<LostEvents>,
    #[cfg(test)]
    pub(super) loses: Loses,
}

/// Events that were given to a lane, and neither done nor given back.
pub(super) struct LostEvents {
    pub(super) table: Arc<TableName>,
    pub(super) events: i64,
    pub(super) lane: usize,
}

/// What a test makes the lanes lose: an event as it comes, or in the report of its lane.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Loses {
    pub(super) pushed: Option<String>,
    pub(super) reported: Option<String>,
}

#[derive(Clone, Copy)]
struct BatchLimits {
    events: usize,
    bytes: usize,
}

/// One lane, seen from outside.
struct LaneQueue {
    queue: VecDeque<TakenEvent>,
    work: mpsc::Sender<Work>,
    running: Option<RunningBatch>,
    task: task::Id,
    /// The last batch was one of events that were set aside.
    was_aside: bool,
}

struct RunningBatch {
    leash: Leash,
    partitions: Vec<(Partition, u64)>,
    keys: Vec<u64>,
    /// How many events of each table are in it, and not accounted for.
    left: Vec<(Arc<TableName>, i64)>,
}

impl RunningBatch {
    fn count(&mut self, events: &[TakenEvent], change: i64) {
        for event in events {
            let table = event.table();
            match self.left.iter_mut().find(|(name, _)| Arc::ptr_eq(name, table) || name == table) {
                Some((_, left)) => *left += change,
                None => self.left.push((Arc::clone(table), change)),
            }
        }
    }
}

/// What a lane has done, and what it did not get done.
#[derive(Debug, Default)]
pub(super) struct Finished {
    pub(super) events: Vec<TakenEvent>,
    /// What failed alone. It is not in the lanes any more.
    pub(super) aside: Vec<SetAside>,
    /// A call for events that were set aside has ended.
    pub(super) aside_call: Option<AsideCall>,
}

/// A call for events of a queue has ended.
#[derive(Debug)]
pub(super) struct AsideCall {
    pub(super) queue: u64,
    pub(super) returned: Vec<TakenEvent>,
    pub(super) failure: Option<Failure>,
}

/// A lane's task ended: its handler panicked.
#[derive(Debug)]
pub(super) struct Broken;

impl Lanes {
    /// Starts the lanes.
    pub(super) fn start(
        (id, config): (&str, &ListenerConfig),
        make_handler: &MakeHandler<'_>,
        (status, lease): (&Arc<Status>, &Lease),
    ) -> Self {
        let (sender, reports) = mpsc::channel(2 * config.workers);
        let (rest, _) = watch::channel(());
        let (mut tasks, listener) = (JoinSet::new(), Arc::<str>::from(id));
        let may_set_aside = Arc::new(AtomicBool::new(false));
        let lanes = (0..config.workers).map(|number| {
            let (work, from_listener) = mpsc::channel(1);
            let lane = Lane {
                number,
                listener: Arc::clone(&listener),
                handler: make_handler(number),
                retry: config.retry,
                batch_size: config.batch_size,
                show_output: config.show_output,
                status: Arc::clone(status),
                may_set_aside: Arc::clone(&may_set_aside),
                lease: lease.clone(),
                reports: sender.clone(),
                rest: rest.subscribe(),
            };
            let task = tasks.spawn(lane.run(from_listener).in_current_span()).id();
            LaneQueue { queue: VecDeque::new(), work, running: None, task, was_aside: false }
        });
        let lanes = lanes.collect();
        let limits = BatchLimits { events: config.batch_size, bytes: config.batch_bytes };
        let status = Arc::clone(status);
        Self {
            lanes,
            limits,
            reports,
            rest,
            tasks,
            status,
            may_set_aside,
            bytes: 0,
            events: 0,
            lost: Vec::new(),
            #[cfg(test)]
            loses: Loses::default(),
        }
    }

    /// Puts an event at the end of its lane. Topic and key say which lane that is.
    pub(super) fn push(&mut self, event: TakenEvent) {
        #[cfg(test)]
        if self.loses.pushed.as_deref() == Some(event.ev_id()) {
            return;
        }
        let lane = self.lane_of(event.key());
        self.bytes += event.bytes();
        self.events += 1;
        self.lanes[lane].queue.push_back(event);
    }

    /// Takes the waiting events of these keys out of the lanes. The keys of a row whose key changed
    /// go together: then the other key is added.
    pub(super) fn pull(&mut self, keys: &mut BTreeSet<u64>) -> Vec<TakenEvent> {
        let mut pulled: Vec<TakenEvent> = Vec::new();
        loop {
            let before = pulled.len();
            let halves: HashSet<String> =
                pulled.iter().filter_map(TakenEvent::second_half).collect();
            let lanes: HashSet<usize> = keys.iter().map(|key| self.lane_of(*key)).collect();
            for (number, lane) in self.lanes.iter_mut().enumerate() {
                if halves.is_empty() && !lanes.contains(&number) {
                    continue;
                }
                for event in std::mem::take(&mut lane.queue) {
                    let is_wanted = keys.contains(&event.key()) || halves.contains(event.ev_id());
                    // A past event is older than those that wait aside.
                    if is_wanted && event.replay().is_none() {
                        keys.insert(event.key());
                        pulled.push(event);
                    } else {
                        lane.queue.push_back(event);
                    }
                }
            }
            if pulled.len() == before {
                break;
            }
        }
        self.forget(&pulled);
        pulled
    }

    /// Whether events that fail alone may be set aside, from now on.
    pub(super) fn may_set_aside(&self, may: bool) {
        self.may_set_aside.store(may, Relaxed);
    }

    /// Whether a call for events of a queue with these keys can begin now; `first` is the key of
    /// the first event. Between two such calls a lane first does what waits in it.
    pub(super) fn is_free_for(&self, first: u64, keys: &BTreeSet<u64>) -> bool {
        let lane = &self.lanes[self.lane_of(first)];
        let is_its_turn = !lane.was_aside || lane.queue.is_empty();
        let mut running = self.lanes.iter().filter_map(|lane| lane.running.as_ref());
        lane.running.is_none()
            && is_its_turn
            && running.all(|running| !running.keys.iter().any(|key| keys.contains(key)))
    }

    /// Begins a call for events of a queue: one that [`Lanes::is_free_for`] has allowed.
    pub(super) fn call_aside(&mut self, queue: u64, events: Vec<TakenEvent>) {
        if let Some(first) = events.first() {
            let lane = self.lane_of(first.key());
            self.lanes[lane].begin(events, Some(queue));
        }
    }

    fn lane_of(&self, key: u64) -> usize {
        usize::try_from(key % self.lanes.len() as u64).unwrap_or_default()
    }

    /// Gives work to each lane that is free.
    pub(super) fn dispatch(&mut self) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.running.is_none()) {
            let events = take_batch(&mut lane.queue, self.limits);
            if events.is_empty() {
                continue;
            }
            lane.begin(events, None);
        }
    }

    /// Lets the handlers rest as soon as the running calls have ended.
    pub(super) fn rest(&self) {
        self.rest.send_replace(());
    }

    /// Waits for the next report of a lane, and gives the events that are done. Events that the
    /// lane gives back go to the front of its queue, if `is_ours` says that they are still ours.
    ///
    /// # Errors
    ///
    /// When the task of a lane ended: the events of that lane are not done. Cancel-safe.
    pub(super) async fn next_finished(
        &mut self,
        is_ours: impl Fn(&TakenEvent) -> bool,
    ) -> Result<Finished, Broken> {
        let report = tokio::select! {
            Some(report) = self.reports.recv() => report,
            Some(ended) = self.tasks.join_next_with_id() => {
                let task = ended.map_or_else(|error| error.id(), |(task, ())| task);
                self.bury(task);
                return Err(Broken);
            }
            else => return Err(Broken),
        };
        #[cfg(test)]
        let report = self.loses.lose(report);
        let LaneReport { lane, finished, aside, returned, queue } = report;
        self.account_for(lane, (&finished, &aside), returned.as_deref());
        if let Some((queue, failure)) = queue {
            self.lanes[lane].running = None;
            let aside_call = AsideCall { queue, returned: returned.unwrap_or_default(), failure };
            return Ok(Finished { events: finished, aside, aside_call: Some(aside_call) });
        }
        self.forget(&finished);
        aside.iter().for_each(|aside| self.forget(&aside.events));
        if let Some(returned) = returned {
            let lane = &mut self.lanes[lane];
            lane.running = None;
            let (ours, dropped): (Vec<_>, Vec<_>) = returned.into_iter().partition(is_ours);
            for event in ours.into_iter().rev() {
                lane.queue.push_front(event);
            }
            self.forget(&dropped);
            self.show_idle();
        }
        Ok(Finished { events: finished, aside, aside_call: None })
    }

    /// A lane reports. When its batch has ended, the lane must have accounted for each event.
    fn account_for(
        &mut self,
        lane: usize,
        (finished, aside): (&[TakenEvent], &[SetAside]),
        returned: Option<&[TakenEvent]>,
    ) {
        let Some(running) = &mut self.lanes[lane].running else { return };
        running.count(finished, -1);
        aside.iter().for_each(|aside| running.count(&aside.events, -1));
        if let Some(returned) = returned {
            running.count(returned, -1);
            let lost = running.left.drain(..).filter(|(_, events)| *events != 0);
            self.lost.extend(lost.map(|(table, events)| LostEvents { table, events, lane }));
        }
    }

    /// The events of which a lane gave no account, since the last call.
    pub(super) fn take_lost(&mut self) -> Vec<LostEvents> {
        std::mem::take(&mut self.lost)
    }

    /// Nothing runs any more in a lane whose task has ended.
    fn bury(&mut self, task: task::Id) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.task == task) {
            lane.running = None;
        }
    }

    /// Drops waiting events that are no longer ours.
    pub(super) fn retain(&mut self, is_ours: impl Fn(&Partition, u64) -> bool) {
        for lane in &mut self.lanes {
            lane.queue.retain(|event| {
                let keep = is_ours(event.place().0, event.generation);
                self.bytes -= if keep { 0 } else { event.bytes() };
                self.events -= usize::from(!keep);
                keep
            });
        }
        self.show_idle();
    }

    /// Drops past events that wait. Calls that hold some are not tried again: what they give back
    /// of the live stream goes on at once.
    pub(super) fn drop_replayed(&mut self) {
        for lane in &mut self.lanes {
            lane.queue.retain(|event| {
                let keep = event.replay().is_none();
                self.bytes -= if keep { 0 } else { event.bytes() };
                self.events -= usize::from(!keep);
                keep
            });
        }
        self.leashes(|_, _| true).iter().for_each(|leash| leash.no_retry.cancel());
        self.show_idle();
    }

    /// A lane without events does not fail any more: its failed events are gone.
    fn show_idle(&self) {
        let is_idle = |lane: &LaneQueue| lane.running.is_none() && lane.queue.is_empty();
        let numbered = self.lanes.iter().enumerate();
        numbered.filter(|(_, lane)| is_idle(lane)).for_each(|(lane, _)| {
            self.status.lane_recovered(lane);
        });
    }

    /// The leashes of all batches that hold events of these partitions.
    pub(super) fn leashes(&self, holds: impl Fn(&Partition, u64) -> bool) -> Vec<Leash> {
        let running = self.lanes.iter().filter_map(|lane| lane.running.as_ref());
        let held = running.filter(|running| running.partitions.iter().any(|(p, g)| holds(p, *g)));
        held.map(|running| running.leash.clone()).collect()
    }

    /// Bytes of all events that wait or are in a call.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many events wait or are in a call.
    pub(super) fn events(&self) -> usize {
        self.events
    }

    fn forget(&mut self, events: &[TakenEvent]) {
        self.bytes -= events.iter().map(TakenEvent::bytes).sum::<usize>();
        self.events -= events.len();
    }
}

impl LaneQueue {
    /// Gives a batch to the lane, which is free.
    fn begin(&mut self, events: Vec<TakenEvent>, queue: Option<u64>) {
        let leash = Leash::default();
        let mut partitions: Vec<_> =
            events.iter().map(|event| (event.place().0.clone(), event.generation)).collect();
        partitions.dedup();
        let keys = events.iter().map(TakenEvent::key).collect();
        let left = Vec::new();
        let mut running = RunningBatch { leash: leash.clone(), partitions, keys, left };
        running.count(&events, 1);
        self.running = Some(running);
        self.was_aside = queue.is_some();
        // `next_finished` notices a lane that is gone.
        let _ = self.work.try_send(Work { events, leash, queue });
    }
}

#[cfg(test)]
impl Loses {
    fn lose(&self, mut report: LaneReport) -> LaneReport {
        report.finished.retain(|event| self.reported.as_deref() != Some(event.ev_id()));
        report
    }
}

/// Takes the events of one call: as many as fit, and at least one. Never takes the first half of a
/// changed key without the second, when the second is next.
fn take_batch(queue: &mut VecDeque<TakenEvent>, limits: BatchLimits) -> Vec<TakenEvent> {
    let mut bytes = 0;
    let fitting = queue.iter().take(limits.events).take_while(|event| {
        bytes += event.json().len() + 1;
        bytes <= limits.bytes
    });
    let count = fitting.count().max(1).min(queue.len());
    let count = uncut(count, |at| match (queue.get(at.wrapping_sub(1)), queue.get(at)) {
        (Some(last), Some(next)) => last.is_split_from(next),
        _ => false,
    });
    queue.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::event;

    fn batches(ids: &[&str], limits: BatchLimits) -> Vec<String> {
        let mut queue: VecDeque<TakenEvent> =
            (0..).zip(ids).map(|(at, id)| event(at, id)).collect();
        let mut batches = Vec::new();
        while !queue.is_empty() {
            let batch = take_batch(&mut queue, limits);
            batches.push(batch.iter().map(TakenEvent::ev_id).collect::<Vec<_>>().join(" "));
        }
        batches
    }

    #[test]
    fn a_batch_holds_what_fits_and_at_least_one_event() {
        let ids = ["1", "2", "3", "4", "5"];
        let limits = BatchLimits { events: 2, bytes: 1 << 20 };
        assert_eq!(batches(&ids, limits), ["1 2", "3 4", "5"]);
        let one = event(0, "1").json().len() + 1;
        assert_eq!(batches(&ids[..3], BatchLimits { events: 9, bytes: 2 * one }), ["1 2", "3"]);
        assert_eq!(batches(&ids[..2], BatchLimits { events: 9, bytes: 1 }), ["1", "2"]);
    }

    #[test]
    fn a_batch_is_never_cut_between_the_halves_of_a_changed_key() {
        let limits = BatchLimits { events: 2, bytes: 1 << 20 };
        assert_eq!(batches(&["1", "g#5d", "g#5i", "2"], limits), ["1", "g#5d g#5i", "2"]);
        let single = BatchLimits { events: 1, bytes: 1 << 20 };
        assert_eq!(batches(&["g#5d", "g#5i", "2"], single), ["g#5d g#5i", "2"]);
    }
}
