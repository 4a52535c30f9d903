//! What readers of committed records see.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    topic_partition_list::TopicPartitionListElem,
};

use crate::Voice;

/// So long the brokers may take for one answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// How soon it is looked again.
const MIN_STEP: Duration = Duration::from_millis(1);
const MAX_STEP: Duration = Duration::from_millis(50);

/// A topic and the number of a partition.
pub type Place = (String, i32);

/// The first and the last offset that were written to partitions.
pub type Written = BTreeMap<Place, (i64, i64)>;

/// A client that asks where partitions end.
pub struct Sight(BaseConsumer<Voice>);

/// Whose records count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// Those before the first transaction that is open.
    Committed,
    /// All that there are.
    All,
}

impl Sight {
    /// Made from the settings of a client.
    ///
    /// # Errors
    ///
    /// When they are not good for a client.
    pub fn open(mut config: ClientConfig, records: Records, voice: &Voice) -> KafkaResult<Self> {
        let isolation = match records {
            Records::Committed => "read_committed",
            Records::All => "read_uncommitted",
        };
        config
            // The library wants a name; no group is joined.
            .set("group.id", "dbevent-sight")
            .set("isolation.level", isolation)
            .set("allow.auto.create.topics", "false");
        Ok(Self(BaseConsumer::from_config_and_context(&config, voice.clone())?))
    }

    /// Where these partitions end; one that is not there is left out. Blocks.
    ///
    /// # Errors
    ///
    /// When one of them does not answer.
    pub fn ends<'p>(
        &self,
        places: impl IntoIterator<Item = &'p Place> + Clone,
    ) -> KafkaResult<BTreeMap<Place, i64>> {
        match self.ends_of_all(places.clone()) {
            // The library says so of all when one is not there,
            Err(error) if error.rdkafka_error_code().is_some_and(is_gone) => {}
            ended => return ended,
        }
        // and as long as it believes that one has no leader, which is for minutes.
        let topics: BTreeSet<&str> =
            places.clone().into_iter().map(|(topic, _)| &**topic).collect();
        for topic in topics {
            let metadata = self.0.fetch_metadata(Some(topic), ANSWER_PATIENCE)?;
            let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            if let Some(partition) = partitions.find(|partition| partition.leader() < 0) {
                tracing::debug!(topic, partition = partition.id(), "has no leader");
                return Err(KafkaError::MetadataFetch(Code::LeaderNotAvailable));
            }
        }
        let mut ends = BTreeMap::new();
        for place in places {
            match self.ends_of_all([place]) {
                Err(error) if error.rdkafka_error_code().is_some_and(is_gone) => {}
                ended => ends.extend(ended?),
            }
        }
        Ok(ends)
    }

    fn ends_of_all<'p>(
        &self,
        places: impl IntoIterator<Item = &'p Place>,
    ) -> KafkaResult<BTreeMap<Place, i64>> {
        let mut list = TopicPartitionList::new();
        for (topic, partition) in places {
            // Where a time is asked for, this stands for the latest.
            list.add_partition_offset(topic, *partition, Offset::End)?;
        }
        if list.count() == 0 {
            return Ok(BTreeMap::new());
        }
        // The client's messages come out of its queue of events.
        let _ = self.0.poll(Duration::ZERO);
        let found = self.0.offsets_for_times(list, ANSWER_PATIENCE)?;
        let end = |element: TopicPartitionListElem<'_>| {
            element.error()?;
            let end = element.offset().to_raw().unwrap_or_default();
            Ok(((element.topic().to_owned(), element.partition()), end))
        };
        found.elements().into_iter().map(end).collect()
    }

    /// Waits until readers see what was written. Gives what they do not see though all partitions
    /// have answered for so long as `soon`. Blocks.
    ///
    /// What stands behind another producer's open transaction counts as seen: it is seen when that
    /// one has ended.
    ///
    /// # Errors
    ///
    /// When partitions are not there, or do not answer, for so long as `patience`.
    pub fn wait(
        &self,
        mut written: Written,
        (soon, patience): (Duration, Duration),
    ) -> KafkaResult<Written> {
        let (begun, mut answering) = (Instant::now(), None::<Instant>);
        let mut step = MIN_STEP;
        loop {
            let is_late = begun.elapsed() >= patience;
            match self.ends(written.keys()) {
                Ok(ends) if ends.len() == written.len() => {
                    written.retain(|place, (first, last)| {
                        ends.get(place).is_some_and(|end| (*first..=*last).contains(end))
                    });
                    let since = *answering.get_or_insert_with(Instant::now);
                    if written.is_empty() || since.elapsed() >= soon {
                        return Ok(written);
                    }
                }
                Err(error) if is_late => return Err(error),
                Ok(_) if is_late => {
                    return Err(KafkaError::MetadataFetch(Code::UnknownPartition));
                }
                // A broker that has just begun may not know all topics.
                _ => answering = None,
            }
            #[expect(clippy::disallowed_methods, reason = "blocks; no event tells it")]
            std::thread::sleep(step);
            step = (step * 2).min(MAX_STEP);
        }
    }
}

fn is_gone(code: Code) -> bool {
    matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition)
}
