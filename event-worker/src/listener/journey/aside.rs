//! Events that failed alone: they leave the lanes for the parking place, are called for from there,
//! and come back from the bus with their partitions.

use std::collections::BTreeSet;

use event_bus::{Kept, LookingUp, Partition};
use tokio::time::{Instant, sleep_until};

use super::Journey;
use crate::{
    error::Error,
    event::TakenEvent,
    listener::{
        lane::SetAside,
        lanes::{AsideCall, Finished},
    },
};

/// What was parked of new partitions is looked up. Until that is known, nothing is polled.
pub(super) struct Loading {
    partitions: Vec<Partition>,
    lookup: LookingUp,
}

impl Loading {
    /// Waits for the answer. Cancel-safe.
    pub(super) async fn end(&mut self) -> event_bus::Result<Vec<Kept>> {
        (&mut self.lookup).await
    }
}

impl Journey {
    /// Looks up what was parked of partitions that are new.
    pub(super) fn load(&mut self, mut partitions: Vec<Partition>) {
        let before = self.loading.take();
        partitions.extend(before.into_iter().flat_map(|loading| loading.partitions));
        let (lookup, at) = (self.consumer.kept(&partitions), self.ask_bus_at);
        let lookup = Box::pin(async move {
            sleep_until(at).await;
            lookup.await
        });
        self.loading = Some(Loading { partitions, lookup });
    }

    pub(super) fn loaded(&mut self, loaded: event_bus::Result<Vec<Kept>>) -> Result<(), Error> {
        let Some(Loading { partitions, .. }) = self.loading.take() else { return Ok(()) };
        match loaded {
            Ok(kept) => {
                self.bus_answers();
                let tracker = &self.tracker;
                let loaded = self.parking.load(&kept, |partition| tracker.generation(partition));
                let listener = self.id.clone();
                loaded.map_err(|problem| Error::ParkedUnreadable { listener, problem })
            }
            // A poll says this, too.
            Err(event_bus::Error::PartitionLost(_)) => Ok(()),
            Err(error) => {
                self.bus_failed(error)?;
                self.load(partitions);
                Ok(())
            }
        }
    }

    pub(super) fn finished(&mut self, finished: Finished) {
        let Finished { events, aside, aside_call } = finished;
        self.count_done(&events);
        self.replays.finished(&events);
        if let Some(AsideCall { queue, returned, failure }) = aside_call {
            let is_ours = |event: &TakenEvent| self.tracker.holds(event);
            self.parking.ended(queue, (&events, returned), failure.as_ref(), is_ours);
        }
        aside.into_iter().for_each(|aside| self.set_aside(aside));
        if events.iter().any(TakenEvent::is_of_full_sync) {
            self.hurry();
        }
    }

    /// Takes what failed out of the way, with all that waits for it in the lanes.
    fn set_aside(&mut self, SetAside { mut events, failure }: SetAside) {
        events.retain(|event| self.tracker.holds(event));
        let mut keys: BTreeSet<u64> = events.iter().map(TakenEvent::key).collect();
        events.extend(self.lanes.pull(&mut keys));
        let kept = self.parking.set_aside(events, &failure);
        self.count_aside(&kept);
    }

    /// An event came for a key that waits aside: it waits there, too.
    pub(super) fn wait_aside(&mut self, event: TakenEvent) {
        // Of a row whose key changed, the other key begins to wait: with its earlier events.
        if self.parking.joins(&event) {
            let mut keys = BTreeSet::from([event.key()]);
            let earlier = self.lanes.pull(&mut keys);
            self.keep_aside(event);
            earlier.into_iter().for_each(|event| self.keep_aside(event));
        } else {
            self.keep_aside(event);
        }
    }

    fn keep_aside(&mut self, event: TakenEvent) {
        let kept = self.parking.add(event);
        self.count_aside(kept.as_slice());
    }

    /// Calls for what is due, where a lane is free.
    pub(super) fn call_aside(&mut self) {
        let now = Instant::now();
        self.aside_looked_at = now;
        for (queue, first) in self.parking.due(now) {
            let (keys, partitions) = self.parking.about(queue);
            let goes = |partition: &Partition| {
                self.leaving.as_ref().is_some_and(|leaving| leaving.holds(partition))
            };
            if partitions.into_iter().any(goes) || !self.lanes.is_free_for(first, &keys) {
                continue;
            }
            let events = self.parking.start(queue).into_iter();
            let events = events.map(|event| {
                let standing = self.tracker.standing(event.place().0);
                event.with_standing(standing)
            });
            self.lanes.call_aside(queue, events.collect());
        }
    }
}
