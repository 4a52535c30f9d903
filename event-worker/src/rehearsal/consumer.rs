//! The live stream of a listener for somebody who is not in its group: what comes looks like that
//! of a member, and nothing is committed.

use std::{collections::HashSet, future::ready};

use async_trait::async_trait;
use event_bus::{
    Assignment, Committing, Consumer, Delivery, KeptChange, Partition, Polled, Result,
};

/// Reads outside of any group, and takes every partition that it meets for its own.
pub(super) struct Onlooker {
    tail: Box<dyn Consumer>,
    met: HashSet<Partition>,
    /// What comes after partitions that were met just now.
    next: Option<Polled>,
    /// The listener takes no more for now.
    is_held: bool,
}

impl Onlooker {
    pub(super) fn new(tail: Box<dyn Consumer>) -> Self {
        Self { tail, met: HashSet::new(), next: None, is_held: false }
    }

    /// The partitions that are met for the first time.
    fn meet(&mut self, deliveries: &[Delivery]) -> Vec<Assignment> {
        let mut fresh = Vec::new();
        for Delivery { partition, offset, .. } in deliveries {
            if self.met.insert(partition.clone()) {
                fresh.push(Assignment { partition: partition.clone(), position: *offset });
            }
        }
        fresh
    }
}

#[async_trait]
impl Consumer for Onlooker {
    async fn poll(&mut self) -> Result<Polled> {
        if self.is_held {
            std::future::pending::<()>().await;
        }
        if let Some(next) = self.next.take() {
            return Ok(next);
        }
        let polled = self.tail.poll().await?;
        let fresh = match &polled {
            Polled::Records { deliveries, .. } => self.meet(deliveries),
            _ => Vec::new(),
        };
        if fresh.is_empty() {
            return Ok(polled);
        }
        self.next = Some(polled);
        Ok(Polled::Assigned(fresh))
    }

    fn commit_with(&mut self, _: &[(Partition, u64)], _: Vec<KeptChange>) -> Committing {
        Box::pin(ready(Ok(())))
    }

    fn pause(&mut self, _: &[Partition]) {
        self.is_held = true;
    }

    fn resume(&mut self, _: &[Partition]) {
        self.is_held = false;
    }

    async fn close(self: Box<Self>) {
        self.tail.close().await;
    }
}

#[cfg(test)]
mod tests {
    use event_bus::{Batch, Bus as _, MemoryBus, ResetTo};

    use super::*;

    #[tokio::test]
    async fn partitions_are_met_before_their_records_and_nothing_comes_while_it_is_held() {
        let bus = MemoryBus::new(1);
        let (mut producer, _) = bus.producer("p").await.unwrap();
        let mut batch = Batch::default();
        batch.push_copy("t", b"k", b"1");
        producer.append(&batch, &[]).await.unwrap();
        let tail = bus.tail(&Default::default(), ResetTo::Earliest).await.unwrap();
        let mut onlooker = Onlooker::new(tail);
        let met = onlooker.poll().await.unwrap();
        assert!(matches!(&met, Polled::Assigned(fresh) if fresh[0].position == 0), "{met:?}");
        let records = onlooker.poll().await.unwrap();
        assert!(matches!(&records, Polled::Records { deliveries, .. } if deliveries.len() == 1));
        producer.append(&batch, &[]).await.unwrap();
        onlooker.pause(&[]);
        assert!(futures_util::FutureExt::now_or_never(onlooker.poll()).is_none());
        onlooker.resume(&[]);
        let records = onlooker.poll().await.unwrap();
        assert!(
            matches!(&records, Polled::Records { deliveries, .. } if deliveries[0].offset == 1)
        );
        let place = (Partition { topic: "t".into(), number: 0 }, 2);
        onlooker.commit(&[place]).await.unwrap();
        assert!(bus.groups().await.unwrap().is_empty());
    }
}
