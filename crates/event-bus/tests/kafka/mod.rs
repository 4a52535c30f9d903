//! What holds on Kafka alone, on the real broker that `scripts/servers.sh` starts.

mod away;
mod contract;
mod control;
mod partitions;
mod producer;
mod proxy;
mod reader;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use event_bus::{Bus, BusConfig, BusKind, Guarantee, KafkaConfig};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};

/// The broker that tests share (`TEST_KAFKA` names another).
pub(crate) fn address() -> String {
    std::env::var("TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:23392".to_owned())
}

/// A prefix that no test has used before, in this run or an earlier one.
pub(crate) fn new_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("t{}-{}", now.as_micros(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A config for the shared broker.
pub(crate) fn config(prefix: &str, partitions: u32) -> BusConfig {
    config_at(&address(), prefix, partitions)
}

fn config_at(address: &str, prefix: &str, partitions: u32) -> BusConfig {
    let kafka = KafkaConfig {
        address: address.to_owned(),
        partitions,
        replication: None,
        retention: None,
        guarantee: Guarantee::ExactlyOnce,
        properties: Default::default(),
    };
    BusConfig::new(BusKind::Kafka(kafka), prefix)
}

pub(crate) fn bus(prefix: &str, partitions: u32) -> Arc<dyn Bus> {
    event_bus::open(&config(prefix, partitions)).unwrap()
}

/// What an administrator does to a cluster.
pub(crate) struct Admin(AdminClient<DefaultClientContext>);

impl Admin {
    pub(crate) fn new() -> Self {
        let client = ClientConfig::new().set("bootstrap.servers", address()).create();
        Self(client.unwrap())
    }

    pub(crate) async fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        new.config.extend_from_slice(settings);
        self.0.create_topics([&new], &options()).await.unwrap().remove(0).unwrap();
    }

    /// Whether there was room for the name.
    pub(crate) async fn try_create(&self, topic: &str, partitions: i32) -> bool {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        self.0.create_topics([&new], &options()).await.unwrap().remove(0).is_ok()
    }

    /// Deletes it, and returns when the broker takes no more records for it: the answer comes when
    /// the controller has written it down, before the broker has read that.
    pub(crate) async fn delete(&self, topic: &str) {
        self.0.delete_topics(&[topic], &options()).await.unwrap().remove(0).unwrap();
        while self.knows(topic) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn knows(&self, topic: &str) -> bool {
        let all = self.0.inner().fetch_metadata(None, Duration::from_secs(60)).unwrap();
        all.topics().iter().any(|known| known.name() == topic)
    }

    pub(crate) async fn grow(&self, topic: &str, partitions: usize) {
        let grown = rdkafka::admin::NewPartitions::new(topic, partitions);
        self.0.create_partitions([&grown], &options()).await.unwrap().remove(0).unwrap();
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)))
}
