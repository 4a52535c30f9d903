//! Commits that the bus does not take whole.

use std::{collections::VecDeque, future::ready};

use super::*;

/// A bus that answers the first commits as it is told.
struct Answers {
    consumer: Box<dyn Consumer>,
    answers: VecDeque<fn(Partition) -> event_bus::Error>,
}

#[async_trait]
impl Consumer for Answers {
    async fn poll(&mut self) -> event_bus::Result<Polled> {
        self.consumer.poll().await
    }

    fn commit(&mut self, offsets: &[(Partition, u64)]) -> Committing {
        let Some(((first, _), answer)) = offsets.first().zip(self.answers.pop_front()) else {
            return self.consumer.commit(offsets);
        };
        Box::pin(ready(Err(answer(first.clone()))))
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

/// The bus says it of one partition, and takes nothing away.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_commit_takes_no_partition_from_a_listener_that_has_it() {
    let answers: [fn(Partition) -> event_bus::Error; 2] =
        [event_bus::Error::PartitionLost, |partition| event_bus::Error::Unsaved {
            partitions: vec![partition],
            reason: "the topic is not known".to_owned(),
        }];
    for answer in answers {
        let mut site = Site::with(1).await;
        site.append("k", 0).await;
        let config = site.config("one", ":");
        let listener = config.listener("test").unwrap().clone();
        let subscription = listener.subscription("test", &config.bus);
        let consumer = site.bus.consumer(subscription).await.unwrap();
        let consumer = Box::new(Answers { consumer, answers: VecDeque::from([answer]) });
        let one = Member::start(|control| async move {
            let make_handler = handler::maker(("test", &listener), &BTreeSet::new());
            let make_handler = make_handler.unwrap().unwrap();
            let status = Arc::default();
            Journey::new(("test", &listener), consumer, &*make_handler, &status).run(control).await
        });
        eventually("all is committed", async || site.behind().await == 0).await;
        site.append("k", 1).await;
        eventually("all is committed", async || site.behind().await == 0).await;
        one.stop().await;
        assert_eq!(site.handled("one"), ["k-0", "k-1"]);
    }
}
