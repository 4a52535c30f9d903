//! The writing side: leading, standing by, and topics that are not what they were.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use event_bus::{
    Batch, BusKind, CheckpointChange, Durability, Error, Guarantee, TopicChange, TopicName,
};
use rand::RngExt as _;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};

use super::{Admin, address, bus, config, config_at, new_prefix, proxy::Proxy};

pub(super) fn batch(topic: &str, records: impl IntoIterator<Item = (String, String)>) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in records {
        batch.push_copy(topic, key.as_bytes(), value.as_bytes());
    }
    batch
}

fn one(topic: &str, value: &str) -> Batch {
    batch(topic, [("k".to_owned(), value.to_owned())])
}

fn position(value: &'static str) -> CheckpointChange {
    ("position".to_owned(), Some(Bytes::from_static(value.as_bytes())))
}

/// All values that a reader at `read_committed` finds on a topic, by partition.
pub(super) fn committed(topic: &str, partitions: i32) -> BTreeMap<i32, Vec<String>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address())
        .set("group.id", "reader")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut from = TopicPartitionList::new();
    for partition in 0..partitions {
        from.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&from).unwrap();
    let mut found = BTreeMap::<i32, Vec<String>>::new();
    let mut ended = 0;
    while ended < partitions {
        match consumer.poll(Duration::from_secs(30)).expect("an answer within 30 s") {
            Ok(message) => {
                let value = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
                found.entry(message.partition()).or_default().push(value);
            }
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => panic!("{error}"),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_open_is_there_with_the_next_durable_append_or_not_at_all() {
    let prefix = new_prefix();
    let topic = TopicName::new(&prefix).of("s", "a");
    let bus = bus(&prefix, 1);
    let (mut producer, _) = bus.producer("p").await.unwrap();
    let opened = producer.append_more(&one(&topic, "1"), &[position("1")]).await.unwrap();
    assert_eq!(opened, Durability::Open);
    assert!(bus.checkpoint("p").await.unwrap().is_empty());
    producer.append(&one(&topic, "2"), &[position("2")]).await.unwrap();
    assert_eq!(bus.checkpoint("p").await.unwrap()["position"], "2");

    let opened = producer.append_more(&one(&topic, "3"), &[position("3")]).await.unwrap();
    assert_eq!(opened, Durability::Open);
    drop(producer);
    let (mut producer, checkpoint) = bus.producer("p").await.unwrap();
    assert_eq!(checkpoint["position"], "2");
    producer.append(&one(&topic, "4"), &[]).await.unwrap();
    assert_eq!(committed(&topic, 1)[&0], ["1", "2", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_was_taken_over_writes_nothing_and_says_that_it_was_fenced() {
    let prefix = new_prefix();
    let topic = TopicName::new(&prefix).of("s", "a");
    let (mut old, _) = bus(&prefix, 1).producer("p").await.unwrap();
    old.append_more(&one(&topic, "left open"), &[position("0")]).await.unwrap();
    // Another process of the name that does not wait: as after the old one was silent for long.
    let id = format!("{prefix}.dts.p");
    let usurper: rdkafka::producer::BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", address())
        .set("transactional.id", id)
        .create()
        .unwrap();
    rdkafka::producer::Producer::init_transactions(&usurper, Duration::from_secs(30)).unwrap();
    let error = old.append(&one(&topic, "too late"), &[position("1")]).await.unwrap_err();
    assert!(matches!(error, Error::Fenced(_)), "{error}");
    assert!(committed(&topic, 1).is_empty());
    assert!(bus(&prefix, 1).checkpoint("p").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_stay_in_their_partitions_when_a_topic_grows() {
    let prefix = new_prefix();
    let topic = TopicName::new(&prefix).of("s", "a");
    let keys = || (0..40).map(|n| (format!("k{n}"), format!("k{n}")));
    let (mut producer, _) = bus(&prefix, 2).producer("p").await.unwrap();
    producer.append(&batch(&topic, keys()), &[]).await.unwrap();
    drop(producer);
    Admin::new().grow(&topic, 5).await;
    let (mut producer, _) = bus(&prefix, 7).producer("p").await.unwrap();
    producer.append(&batch(&topic, keys()), &[]).await.unwrap();
    let found = committed(&topic, 5);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, 1]);
    for values in found.values() {
        let (first, second) = values.split_at(values.len() / 2);
        assert_eq!(first, second);
    }
    let changed = producer.changed_topics().await.unwrap();
    assert_eq!(changed[0].change, TopicChange::Grown { used: 2, partitions: 5 });
    producer.adopt_topics(&changed).await.unwrap();
    producer.append(&batch(&topic, keys()), &[]).await.unwrap();
    assert_eq!(committed(&topic, 5).len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_deleted_or_made_again_stops_the_producer() {
    let prefix = new_prefix();
    let topic = TopicName::new(&prefix).of("s", "a");
    let (mut producer, _) = bus(&prefix, 1).producer("p").await.unwrap();
    producer.append(&one(&topic, "1"), &[]).await.unwrap();
    drop(producer);
    let admin = Admin::new();
    admin.delete(&topic).await;
    let (mut producer, _) = bus(&prefix, 1).producer("p").await.unwrap();
    let error = producer.append(&one(&topic, "2"), &[]).await.unwrap_err().to_string();
    assert!(error.contains(&topic) && error.contains("was deleted:"), "{error}");
    drop(producer);
    admin.create(&topic, 1, &[]).await;
    let (mut producer, _) = bus(&prefix, 1).producer("p").await.unwrap();
    let error = producer.append(&one(&topic, "3"), &[]).await.unwrap_err();
    assert!(error.to_string().contains("deleted and made again"), "{error}");
    assert!(!error.is_transient() && error.to_string().contains("dts topics adopt"));
    assert!(committed(&topic, 1).is_empty());
    drop(producer);

    let (mut producer, _) = bus(&prefix, 1).producer("p").await.unwrap();
    let changed = producer.changed_topics().await.unwrap();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].change, TopicChange::Replaced { partitions: 1 });
    producer.adopt_topics(&changed).await.unwrap();
    producer.append(&one(&topic, "4"), &[]).await.unwrap();
    producer.close().await;
    let (mut producer, _) = bus(&prefix, 1).producer("p").await.unwrap();
    producer.append(&one(&topic, "5"), &[]).await.unwrap();
    assert_eq!(committed(&topic, 1)[&0], ["4", "5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_topic_that_could_lose_positions_is_refused() {
    for (partitions, setting) in [(1, ("cleanup.policy", "delete")), (2, ("retention.ms", "-1"))] {
        let prefix = new_prefix();
        let topic = format!("{prefix}.dts-checkpoint.p");
        Admin::new().create(&topic, partitions, &[setting]).await;
        let error = bus(&prefix, 1).producer("p").await.err().unwrap();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(error.to_string().contains(&topic), "{error}");
    }
}

/// Text that compression makes no smaller.
fn noise(bytes: usize) -> String {
    let mut noise = rand::rng();
    (0..bytes).map(|_| char::from(noise.random_range(b'!'..=b'~'))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_the_topic_does_not_take_is_split_and_no_record_is_blamed() {
    let prefix = new_prefix();
    let topic = TopicName::new(&prefix).of("s", "a");
    Admin::new().create(&topic, 1, &[("max.message.bytes", "100000")]).await;
    let bus = bus(&prefix, 1);
    let (mut producer, _) = bus.producer("p").await.unwrap();
    let rows = batch(&topic, (0..500).map(|n| (format!("k{n}"), noise(900))));
    let error = producer.append(&rows, &[]).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains(&topic), "{error}");
    drop(producer);
    // As after every error that passes: open again, and go on from the checkpoint.
    let (mut producer, _) = bus.producer("p").await.unwrap();
    producer.append(&rows, &[]).await.unwrap();
    assert_eq!(committed(&topic, 1)[&0].len(), 500);

    let error = producer.append(&one(&topic, &noise(150_000)), &[]).await.unwrap_err();
    assert!(matches!(error, Error::Rejected(_)), "{error}");
    assert!(error.to_string().contains("150001 bytes: raise its max.message.bytes"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_one_broker_does_not_know_for_a_moment_is_not_deleted() {
    let (prefix, proxy) = (new_prefix(), Proxy::start().await);
    let topic = TopicName::new(&prefix).of("s", "a");
    let bus = event_bus::open(&config_at(proxy.address(), &prefix, 1)).unwrap();
    let (mut producer, _) = bus.producer("p").await.unwrap();
    producer.append(&one(&topic, "1"), &[]).await.unwrap();
    proxy.hide(Some(&topic));
    // It is looked at every five seconds, and then until the doubt is over.
    while proxy.hidden() < 2 {
        producer.append(&one(&topic, "2"), &[]).await.unwrap();
    }
    proxy.hide(None);
    producer.append(&one(&topic, "3"), &[]).await.unwrap();
    producer.close().await;

    proxy.hide(Some(&topic));
    let (mut producer, _) = bus.producer("p").await.unwrap();
    let append = tokio::spawn(async move { producer.append(&one(&topic, "4"), &[]).await });
    while proxy.hidden() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    proxy.hide(None);
    append.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_has_no_stand_by() {
    let prefix = new_prefix();
    let mut config = config(&prefix, 1);
    let BusKind::Kafka(kafka) = &mut config.kind else { unreachable!() };
    kafka.guarantee = Guarantee::AtLeastOnce;
    let bus = event_bus::open(&config).unwrap();
    let topic = TopicName::new(&prefix).of("s", "a");
    let (mut producer, _) = bus.producer("p").await.unwrap();
    producer.append(&one(&topic, "1"), &[position("1")]).await.unwrap();
    let refused = bus.producer("p").await.err().unwrap();
    assert!(refused.to_string().contains("at-least-once"), "{refused}");
    producer.append(&one(&topic, "2"), &[position("2")]).await.unwrap();
    assert_eq!(bus.checkpoint("p").await.unwrap()["position"], "2");
    assert_eq!(committed(&topic, 1)[&0], ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_away_are_named() {
    let mut config = config("t", 1);
    let BusKind::Kafka(kafka) = &mut config.kind else { unreachable!() };
    kafka.address = "127.0.0.1:1".to_owned();
    let error = event_bus::open(&config).unwrap().producer("p").await.err().unwrap();
    assert!(error.is_transient() && error.to_string().contains("127.0.0.1:1"), "{error}");
}
