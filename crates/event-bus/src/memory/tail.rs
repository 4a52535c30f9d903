//! A reader of the memory bus that is in no group.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;

use super::SharedBus;
use crate::{
    Committing, Consumer, KeptChange, Partition, Polled, ResetTo, Result, TopicFilter, outside,
};

pub(super) struct MemoryTail {
    shared: Arc<SharedBus>,
    topics: TopicFilter,
    /// Where it begins in the partitions that it finds next.
    from: ResetTo,
    /// The next offset of each.
    places: HashMap<Partition, u64>,
}

impl MemoryTail {
    pub(super) fn new(shared: &Arc<SharedBus>, topics: TopicFilter, from: ResetTo) -> Self {
        let mut tail = Self { shared: Arc::clone(shared), topics, from, places: HashMap::new() };
        tail.look();
        // What comes later is read from its beginning.
        tail.from = ResetTo::Earliest;
        tail
    }

    /// Reads one partition.
    pub(super) fn of_one(shared: &Arc<SharedBus>, partition: Partition, from: u64) -> Self {
        let places = HashMap::from([(partition, from)]);
        // No name fits this: no partition comes besides.
        let topics = TopicFilter::of(vec!["$.".to_owned()]);
        Self { shared: Arc::clone(shared), topics, from: ResetTo::Earliest, places }
    }

    fn look(&mut self) {
        let state = self.shared.lock();
        for partition in state.matching(&self.topics) {
            let place = state.place(&partition, self.from);
            self.places.entry(partition).or_insert(place);
        }
    }

    fn step(&mut self) -> Option<Polled> {
        self.look();
        let state = self.shared.lock();
        let mut deliveries = Vec::new();
        for (partition, place) in &mut self.places {
            let records = state.records.get(partition).map_or(&[][..], Vec::as_slice);
            let from = usize::try_from(*place).unwrap_or(usize::MAX).min(records.len());
            deliveries.extend(records[from..].iter().map(|stored| stored.delivery.clone()));
            *place = records.len() as u64;
        }
        let scanned = Vec::new();
        (!deliveries.is_empty()).then_some(Polled::Records { deliveries, scanned })
    }
}

#[async_trait]
impl Consumer for MemoryTail {
    async fn poll(&mut self) -> Result<Polled> {
        let shared = Arc::clone(&self.shared);
        loop {
            let changed = shared.changed.notified();
            if let Some(polled) = self.step() {
                return Ok(polled);
            }
            changed.await;
        }
    }

    fn commit_with(&mut self, offsets: &[(Partition, u64)], _: Vec<KeptChange>) -> Committing {
        outside::commit(offsets)
    }

    fn pause(&mut self, _: &[Partition]) {}

    fn resume(&mut self, _: &[Partition]) {}

    async fn close(self: Box<Self>) {}
}
