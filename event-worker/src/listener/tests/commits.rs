//! Commits that the bus takes only in part.

use std::future::ready;

use super::*;

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
        let mut first = Some(answer);
        let commit = move |consumer: &mut dyn Consumer, offsets: &[(Partition, u64)]| {
            let Some(((partition, _), answer)) = offsets.first().zip(first.take()) else {
                return consumer.commit(offsets);
            };
            Box::pin(ready(Err(answer(partition.clone())))) as Committing
        };
        let one = site.start_committing("one", commit).await;
        eventually("all is committed", async || site.behind().await == 0).await;
        site.append("k", 1).await;
        eventually("all is committed", async || site.behind().await == 0).await;
        one.stop().await;
        assert_eq!(site.handled("one"), ["k-0", "k-1"]);
    }
}
