//! The journey's side of a replay: takes past events from the [`Runner`], and gives them to the
//! lanes beside the live ones.
//!
//! The journey decides alone, at the moment that it gives an event to a lane, whether the event
//! still may come: it knows which live events went to the lanes before. So an event that is left
//! out is one whose key has a newer live event that is done, or waits before it.
//!
//! *Newer* is what has a higher offset in the partition: this is the order in which the listener
//! gets the events of a key, whichever `dts` wrote them. All live events have higher offsets than
//! all events of the replay, because a replay ends where the group was committed when it began.

mod link;
mod part;
mod read;
mod runner;
mod survey;

use std::sync::Arc;

use event_bus::Delivery;
use tokio::sync::{mpsc, watch};

pub(super) use self::{
    link::{JourneyLink, Order, link},
    runner::Runner,
};
use self::{
    link::{Owned, Past},
    part::{Part, Stand, row_of},
};
use super::{lanes::Lanes, parking::Parking, status::Status, tracker::Tracker};
use crate::{config::ListenerConfig, event::TakenEvent};

/// Of the bytes that may wait for the handler, past events take one part in so many at most.
const SHARE_OF_BUFFER: usize = 8;

/// What the journey knows of the replay that runs.
pub(super) struct Replays {
    orders: mpsc::Receiver<Order>,
    owned: watch::Sender<Vec<Owned>>,
    stand: watch::Sender<Stand>,
    status: Arc<Status>,
    part: Option<Part>,
    max_events: usize,
    max_bytes: usize,
    is_shown: bool,
    /// When the partitions changed last: the number of the next assignment, and how many there are.
    seen: (u64, usize),
}

impl Replays {
    pub(super) fn new(link: JourneyLink, config: &ListenerConfig, status: &Arc<Status>) -> Self {
        let JourneyLink { orders, owned, stand } = link;
        Self {
            orders,
            owned,
            stand,
            status: Arc::clone(status),
            part: None,
            max_events: config.batch_size.saturating_mul(config.workers),
            max_bytes: config.max_buffer_bytes / SHARE_OF_BUFFER,
            is_shown: false,
            seen: (0, 0),
        }
    }

    /// The run whose events count.
    pub(super) fn run(&self) -> Option<u64> {
        self.part.as_ref().map(|part| part.run)
    }

    /// Waits for the next order, while there is room for past events. Cancel-safe.
    pub(super) async fn next(&mut self) -> Order {
        let has_room = self.part.as_ref().is_none_or(|part| {
            part.unfinished() < self.max_events && part.bytes() < self.max_bytes
        });
        match has_room {
            true => match self.orders.recv().await {
                Some(order) => order,
                None => std::future::pending().await,
            },
            false => std::future::pending().await,
        }
    }

    /// Carries out an order.
    pub(super) fn act(
        &mut self,
        order: Order,
        (lanes, tracker, parking): (&mut Lanes, &Tracker, &Parking),
    ) {
        match order {
            Order::Begin { part, answer } => {
                let position = tracker.scanned(&part.partition, part.generation);
                self.part = position.is_some().then_some(part);
                // The runner may have given up.
                let _ = answer.send(position);
            }
            Order::Newer { run, rows } => {
                if let Some(part) = self.part.as_mut().filter(|part| part.run == run) {
                    part.note_newer(rows);
                }
            }
            Order::Past(past) => self.take_in(past, (lanes, parking)),
            Order::End { run } => {
                let ended = self.part.take_if(|part| part.run == run);
                if ended.is_some_and(|part| part.unfinished() > 0) {
                    lanes.drop_replayed();
                }
            }
        }
        self.show();
    }

    fn take_in(&mut self, past: Past, (lanes, parking): (&mut Lanes, &Parking)) {
        let Some(part) = self.part.as_mut().filter(|part| part.run == past.run) else { return };
        let mut left_out = 0;
        for (row, event) in past.events {
            // While events of a key wait aside, a past one would come between them.
            match part.begins(row, &event, parking.holds(&event)) {
                true => lanes.push(event),
                false => left_out += 1,
            }
        }
        part.scanned_to(past.scanned);
        self.status.count_replayed(0, left_out);
    }

    /// A live event goes to its lane.
    pub(super) fn saw(&mut self, delivery: &Delivery) {
        if let Some(part) = &mut self.part
            && part.partition == delivery.partition
        {
            part.note_newer([row_of(delivery)]);
        }
    }

    /// These events are done.
    pub(super) fn finished(&mut self, events: &[TakenEvent]) {
        let Some(part) = &mut self.part else { return };
        let done = events.iter().filter(|event| part.finish(event)).count();
        if done > 0 {
            self.status.count_replayed(done as u64, 0);
            self.show();
        }
    }

    /// After each step of the journey: tells the runner what is ours, and drops a part that is not.
    pub(super) fn follow(&mut self, tracker: &Tracker) {
        let seen = (tracker.next_generation(), tracker.partitions().count());
        if seen != self.seen {
            self.seen = seen;
            let owned =
                tracker.owned().map(|(partition, generation)| Owned { partition, generation });
            self.owned.send_replace(owned.collect());
            let is_ours =
                |part: &Part| tracker.generation(&part.partition) == Some(part.generation);
            if self.part.as_ref().is_some_and(|part| !is_ours(part)) {
                self.part = None;
                self.show();
            }
        }
        let shown = self.part.as_ref().map(Part::shown);
        if shown.is_some() || self.is_shown {
            self.is_shown = shown.is_some();
            self.status.show_replay(shown);
        }
    }

    fn show(&self) {
        let stand = self.part.as_ref().map(Part::stand).unwrap_or_default();
        self.stand.send_if_modified(|shown| {
            let is_new = *shown != stand;
            *shown = stand;
            is_new
        });
    }
}
