//! A consumer of a real bus that commits as a test says.

use async_trait::async_trait;
use event_bus::{Committing, Consumer, KeptChange, Partition, Polled};

/// How it commits.
pub(super) trait Commit:
    FnMut(&mut dyn Consumer, &[(Partition, u64)]) -> Committing + Send + 'static
{
}

impl<C> Commit for C where
    C: FnMut(&mut dyn Consumer, &[(Partition, u64)]) -> Committing + Send + 'static
{
}

pub(super) struct Committer<C> {
    pub(super) consumer: Box<dyn Consumer>,
    pub(super) commit: C,
}

#[async_trait]
impl<C: Commit> Consumer for Committer<C> {
    async fn poll(&mut self) -> event_bus::Result<Polled> {
        self.consumer.poll().await
    }

    fn commit_with(&mut self, offsets: &[(Partition, u64)], _: Vec<KeptChange>) -> Committing {
        (self.commit)(&mut *self.consumer, offsets)
    }

    fn pause(&mut self, partitions: &[Partition]) {
        self.consumer.pause(partitions);
    }

    fn resume(&mut self, partitions: &[Partition]) {
        self.consumer.resume(partitions);
    }

    async fn close(self: Box<Self>) {
        self.consumer.close().await;
    }
}
