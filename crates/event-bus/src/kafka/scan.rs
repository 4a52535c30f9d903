//! What the statistics of librdkafka say: where partitions end, and whether the brokers answer.
//!
//! Markers of transactions take offsets, and records of an aborted transaction are never delivered.
//! So a group that has read everything is often further than the offset after the last record. The
//! library's statistics have the last end that it reached in each partition.

use std::collections::HashMap;

use serde::Deserialize;

#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    topics: HashMap<String, TopicStatistics>,
    #[serde(default)]
    brokers: HashMap<String, BrokerStatistics>,
}

#[derive(Deserialize)]
struct BrokerStatistics {
    /// Answers that came from it.
    #[serde(default)]
    rx: u64,
}

#[derive(Deserialize)]
struct TopicStatistics {
    #[serde(default)]
    partitions: HashMap<String, PartitionStatistics>,
}

#[derive(Deserialize)]
struct PartitionStatistics {
    partition: i64,
    eof_offset: i64,
}

/// The end of a partition that the library has reached.
pub(super) struct PartitionEnd {
    pub(super) topic: String,
    pub(super) number: u32,
    /// `None` where the library has not reached the end since it began to read.
    pub(super) offset: Option<u64>,
}

/// How many answers came from all brokers, since the client began.
pub(super) fn answers(statistics: &[u8]) -> u64 {
    let brokers = read(statistics).map(|read| read.brokers).unwrap_or_default();
    brokers.into_values().map(|broker| broker.rx).sum()
}

/// The ends of partitions that the library has reached.
pub(super) fn ends(statistics: &[u8]) -> Vec<PartitionEnd> {
    let of_topic = |(topic, partitions): (String, TopicStatistics)| {
        partitions.partitions.into_values().filter_map(move |partition| {
            // One entry is no partition: it holds what has none yet.
            let number = u32::try_from(partition.partition).ok()?;
            let offset = u64::try_from(partition.eof_offset).ok();
            Some(PartitionEnd { topic: topic.clone(), number, offset })
        })
    };
    let topics = read(statistics).map(|read| read.topics).unwrap_or_default();
    topics.into_iter().flat_map(of_topic).collect()
}

fn read(statistics: &[u8]) -> Option<Statistics> {
    serde_json::from_slice(statistics)
        .inspect_err(|error| tracing::warn!(%error, "cannot read the statistics of librdkafka"))
        .ok()
}
