//! The reading side: nothing is skipped in silence, whatever becomes of topics and offsets.

use std::time::{Duration, Instant};

use event_bus::{
    BusKind, Error, Partition, Polled, ResetTo, Start, Subscription, TopicFilter, TopicName,
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, Producer as _},
};

use super::{Admin, address, bus, config, new_prefix};
use crate::contract::reader::{PREFIX, Reader, group, tables, topic};

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs with a prefix that nobody has used.
pub(super) async fn alone<T>(test: impl Future<Output = T>) -> T {
    let test =
        async { tokio::time::timeout(PATIENCE * 2, test).await.expect("an end within a minute") };
    PREFIX.scope(new_prefix(), test).await
}

pub(super) fn prefix() -> String {
    crate::contract::reader::prefix()
}

pub(super) fn producer(settings: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address()).set("message.max.bytes", "20000000");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

pub(super) fn send(producer: &BaseProducer, topic: &str, values: &[&str]) {
    send_to(producer, topic, 0, values);
}

fn send_to(producer: &BaseProducer, topic: &str, partition: i32, values: &[&str]) {
    for value in values {
        let record = BaseRecord::to(topic).partition(partition).key("k").payload(*value);
        producer.send::<str, str>(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// Makes a topic with one partition and these values.
pub(super) async fn fill(topic: &str, values: &[&str]) {
    Admin::new().create(topic, 1, &[]).await;
    send(&producer(&[]), topic, values);
}

/// The error that ends a reader.
pub(super) async fn end(reader: &mut Reader) -> Error {
    loop {
        match reader.consumer.poll().await {
            Err(error) if !error.is_transient() => return error,
            Err(_) => {}
            Ok(polled) => assert!(
                !matches!(&polled, Polled::Records { deliveries, .. } if !deliveries.is_empty()),
                "{polled:?}"
            ),
        }
    }
}

/// A listener that has read all, and left.
async fn read_and_leave(count: usize) {
    let bus = bus(&prefix(), 1);
    let mut reader = Reader::join(&*bus, "one").await;
    reader.read(count).await;
    reader.commit().await.unwrap();
    reader.consumer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_while_its_listener_was_away_stops_it_until_a_reset() {
    alone(async {
        fill(&topic("a"), &["1", "2"]).await;
        read_and_leave(2).await;
        Admin::new().delete(&topic("a")).await;
        remade(&["new1", "new2", "new3", "new4"]).await;

        let bus = bus(&prefix(), 1);
        let mut reader = Reader::join(&*bus, "two").await;
        let error = end(&mut reader).await;
        assert!(matches!(&error, Error::TopicReplaced { .. }), "{error}");
        assert!(error.to_string().contains(&topic("a")), "{error}");
        assert!(error.to_string().contains("listener reset"), "{error}");
        reader.consumer.close().await;

        let group = group("g");
        let resets = bus.plan_reset(&group, &tables("*"), ResetTo::Earliest).await.unwrap();
        bus.reset(&group, &resets).await.unwrap();
        let mut reader = Reader::join(&*bus, "three").await;
        reader.read(4).await;
    })
    .await;
}

/// Makes the topic again, as soon as the broker has forgotten the one before.
async fn remade(values: &[&str]) {
    loop {
        if Admin::new().try_create(&topic("a"), 1).await {
            return send(&producer(&[]), &topic("a"), values);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_under_a_running_listener_stops_it() {
    alone(async {
        fill(&topic("a"), &["1", "2"]).await;
        let bus = bus(&prefix(), 1);
        let mut reader = Reader::join(&*bus, "one").await;
        reader.read(2).await;
        reader.commit().await.unwrap();
        Admin::new().delete(&topic("a")).await;
        remade(&["new1"]).await;
        let error = end(&mut reader).await;
        assert!(matches!(&error, Error::TopicReplaced { .. }), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_that_passes_a_listener_stops_it() {
    alone(async {
        fill(&topic("a"), &["1", "2"]).await;
        read_and_leave(2).await;
        send(&producer(&[]), &topic("a"), &["3", "4", "5"]);
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", address()).create().unwrap();
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(&topic("a"), 0, Offset::Offset(4)).unwrap();
        admin.delete_records(&before, &AdminOptions::new()).await.unwrap();

        let bus = bus(&prefix(), 1);
        let error = end(&mut Reader::join(&*bus, "two").await).await;
        assert!(matches!(&error, Error::OffsetGone { committed: 2, first: 4, .. }), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_the_broker_forgot_stop_a_listener_also_at_latest() {
    alone(async {
        fill(&topic("a"), &["1", "2"]).await;
        read_and_leave(2).await;
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", address()).create().unwrap();
        // As after offsets.retention.minutes without members.
        loop {
            let deleted = admin.delete_groups(&[&group("g")], &AdminOptions::new()).await.unwrap();
            if deleted[0].is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        send(&producer(&[]), &topic("a"), &["3"]);
        let bus = bus(&prefix(), 1);
        let mut reader = Reader::join_from(&*bus, "two", Start::Latest).await;
        let error = end(&mut reader).await;
        assert!(matches!(&error, Error::OffsetsExpired { .. }), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_read_from_their_first_record() {
    alone(async {
        fill(&topic("a"), &["1"]).await;
        let bus = bus(&prefix(), 1);
        let mut reader = Reader::join_from(&*bus, "one", Start::Latest).await;
        reader.assigned().await;
        Admin::new().grow(&topic("a"), 2).await;
        let name = topic("a");
        let record = BaseRecord::to(&name).partition(1).key("k").payload("added");
        let producer = producer(&[]);
        // The producer may not know the partition yet.
        let mut record = Some(record);
        while let Some(again) = record.take() {
            match producer.send::<str, str>(again) {
                Ok(()) => {}
                Err((_, again)) => {
                    let _ = producer.client().fetch_metadata(Some(&topic("a")), PATIENCE);
                    record = Some(again);
                }
            }
        }
        producer.flush(PATIENCE).unwrap();
        reader.read(1).await;
        assert_eq!(reader.values(), ["added"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_amid_a_rebalance_loses_no_partition_that_stays() {
    alone(async {
        fill(&topic("a"), &["1"]).await;
        let bus = bus(&prefix(), 1);
        let mut reader = Reader::join(&*bus, "one").await;
        reader.read(1).await;
        for partitions in 2..=4 {
            Admin::new().grow(&topic("a"), partitions).await;
            // The group takes a new generation for each, and commits meet all of its states.
            while reader.owned.len() < partitions {
                reader.commit().await.unwrap();
                reader.poll(Duration::from_millis(1)).await;
            }
        }
    })
    .await;
}

/// A filter for some tables.
fn these(names: &[&str]) -> TopicFilter {
    let globs = names.iter().map(|name| ("s".to_owned(), (*name).to_owned()));
    TopicName::new(&prefix()).filter(&globs.collect::<Vec<_>>())
}

/// A member of the group that reads all that there is of its tables, and leaves.
async fn visit(names: &[&str]) {
    let bus = bus(&prefix(), 1);
    let mut reader = Reader::subscribe(&*bus, "v", Start::Latest, these(names)).await;
    reader.assigned().await;
    reader.more().await;
    reader.commit().await.unwrap();
    reader.consumer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_leaves_and_comes_back_goes_on_where_it_was() {
    alone(async {
        for name in ["a", "b", "c"] {
            fill(&topic(name), &["before"]).await;
        }
        visit(&["a", "b"]).await;
        for name in ["a", "b", "c"] {
            send(&producer(&[]), &topic(name), &[&format!("{name} waits")]);
        }
        // An older config of another member, or a reload that is taken back.
        visit(&["a"]).await;

        let bus = bus(&prefix(), 1);
        let mut reader = Reader::subscribe(&*bus, "one", Start::Latest, tables("*")).await;
        while reader.owned.len() < 3 {
            reader.poll(PATIENCE).await;
        }
        send(&producer(&[]), &topic("c"), &["c comes"]);
        while reader.got.len() < 2 {
            reader.poll(PATIENCE).await;
        }
        let mut values = reader.values();
        values.sort();
        assert_eq!(values, ["b waits", "c comes"], "c is new to the group, b is not");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_while_only_a_member_with_an_older_config_is_there_is_read_whole() {
    alone(async {
        fill(&topic("a"), &["1"]).await;
        visit(&["a", "b"]).await;
        visit(&["a"]).await;
        fill(&topic("b"), &["2"]).await;
        let bus = bus(&prefix(), 1);
        let mut reader = Reader::subscribe(&*bus, "one", Start::Latest, these(&["a", "b"])).await;
        reader.read(1).await;
        assert_eq!(reader.values(), ["2"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_a_deleted_topic_is_part_of_saves_all_else() {
    alone(async {
        for name in ["a", "b"] {
            fill(&topic(name), &["1"]).await;
        }
        let bus = bus(&prefix(), 1);
        let mut reader = Reader::join(&*bus, "one").await;
        reader.read(2).await;
        Admin::new().delete(&topic("b")).await;
        let offsets: Vec<(Partition, u64)> = reader.owned.clone().into_iter().collect();
        let (of_b, of_a): (Vec<_>, Vec<_>) =
            offsets.iter().cloned().partition(|(at, _)| *at.topic == topic("b"));
        // The broker forgets it at some time.
        let saved = loop {
            let saved = reader.consumer.commit(&of_b).await;
            if saved.is_err() {
                break saved;
            }
        };
        let lists = |error: &Error| {
            matches!(error, Error::Unsaved { partitions, .. }
            if partitions.iter().eq(of_b.iter().map(|(partition, _)| partition)))
        };
        assert!(lists(&saved.unwrap_err()));
        let error = reader.consumer.commit(&offsets).await.unwrap_err();
        assert!(lists(&error), "{error}");
        let progress = bus.progress(&group("g"), &tables("a")).await.unwrap();
        assert_eq!(progress[0].committed, Some(of_a[0].1));
        send(&producer(&[]), &topic("a"), &["2"]);
        reader.read(3).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_15_mib_passes() {
    alone(async {
        Admin::new().create(&topic("a"), 1, &[("max.message.bytes", "20000000")]).await;
        let large = "x".repeat(15 << 20);
        send(&producer(&[("compression.type", "none")]), &topic("a"), &["1", &large, "3"]);
        let bus = bus(&prefix(), 1);
        let mut reader = Reader::join(&*bus, "one").await;
        reader.read(3).await;
        let bytes: Vec<usize> = reader.got.iter().map(|delivery| delivery.value.len()).collect();
        assert_eq!(bytes, [1, large.len(), 1]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_aborted_is_not_delivered_and_yet_passed() {
    alone(async {
        fill(&topic("a"), &["1"]).await;
        let name = prefix();
        let producer = producer(&[("transactional.id", &name)]);
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        send(&producer, &topic("a"), &["aborted1", "aborted2"]);
        producer.abort_transaction(PATIENCE).unwrap();
        let bus = bus(&prefix(), 1);
        let mut reader = Reader::join(&*bus, "one").await;
        reader.read(1).await;
        reader.catch_up(&*bus).await;
        reader.commit().await.unwrap();
        assert_eq!(reader.owned.values().copied().collect::<Vec<_>>(), [4]);
        assert_eq!(reader.values(), ["1"]);
        // Paused and resumed, it neither repeats nor skips.
        let owned: Vec<_> = reader.owned.keys().cloned().collect();
        reader.consumer.pause(&owned);
        producer.begin_transaction().unwrap();
        send(&producer, &topic("a"), &["2", "3"]);
        producer.commit_transaction(PATIENCE).unwrap();
        assert_eq!(reader.more().await, 0);
        reader.consumer.resume(&owned);
        reader.read(3).await;
        reader.catch_up(&*bus).await;
    })
    .await;
}

/// A member that has the same instance name each time.
async fn instance(client: &str) -> Reader {
    instance_of(client, tables("*")).await
}

async fn instance_of(client: &str, topics: TopicFilter) -> Reader {
    let subscription = Subscription {
        group: group("g"),
        topics,
        start: Start::Earliest,
        client: client.to_owned(),
        instance: Some("node-1".to_owned()),
        addressee: None,
        table: None,
    };
    let mut config = config(&prefix(), 1);
    let BusKind::Kafka(kafka) = &mut config.kind else { unreachable!() };
    // The least that brokers allow: one that is gone is missed so soon.
    let session = service::Secret::new("6000".to_owned());
    kafka.properties.set("session.timeout.ms", session);
    let bus = event_bus::open(&config).unwrap();
    let consumer = bus.consumer(subscription).await.unwrap();
    Reader { consumer, got: Vec::new(), owned: Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_while_a_member_with_an_instance_name_is_away_is_read() {
    alone(async {
        fill(&topic("a"), &["1"]).await;
        let mut first = instance("one").await;
        first.read(1).await;
        first.commit().await.unwrap();
        first.consumer.close().await;
        fill(&topic("b"), &["2"]).await;
        Admin::new().grow(&topic("a"), 2).await;
        send_to(&producer(&[]), &topic("a"), 1, &["3"]);

        // The group gives it what it had: neither the topic nor the partition.
        let mut second = instance("two").await;
        second.read(2).await;
        let mut values: Vec<&[u8]> = second.got.iter().map(|one| &*one.value).collect();
        values.sort_unstable();
        assert_eq!(values, [b"2", b"3"]);
        second.consumer.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_nobody_read_is_read_though_the_control_topic_was_deleted() {
    alone(async {
        let bus = bus(&prefix(), 1);
        fill(&topic("a"), &["1"]).await;
        let mut first = Reader::join_from(&*bus, "one", Start::Latest).await;
        first.assigned().await;
        send_to(&producer(&[]), &topic("a"), 0, &["2"]);
        first.read(1).await;
        first.commit().await.unwrap();
        first.consumer.close().await;
        Admin::new().delete(&format!("{}.control", prefix())).await;
        fill(&topic("b"), &["3"]).await;

        let mut second = Reader::join_from(&*bus, "two", Start::Latest).await;
        second.read(1).await;
        assert_eq!(second.got[0].value, "3");
        second.consumer.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_an_instance_name_reads_nothing_that_it_does_not_ask_for_any_more() {
    alone(async {
        for name in ["a", "b"] {
            fill(&topic(name), &[name]).await;
        }
        let mut first = instance_of("one", these(&["a", "b"])).await;
        first.read(2).await;
        // Neither is done.
        first.consumer.close().await;
        let mut second = instance_of("two", these(&["a"])).await;
        second.read(1).await;
        assert_eq!((second.values(), second.owned.len()), (vec!["a".to_owned()], 1));
        second.commit().await.unwrap();
        second.consumer.close().await;
        let mut third = instance_of("three", these(&["a", "b"])).await;
        third.read(1).await;
        assert_eq!(third.values(), ["b"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_an_instance_name_is_back_at_once() {
    alone(async {
        fill(&topic("a"), &["1"]).await;
        let mut first = instance("one").await;
        first.read(1).await;
        first.consumer.close().await;
        let mut second = instance("two").await;
        let started = Instant::now();
        second.read(1).await;
        // The session of the first has still to run for long.
        println!("back after {:?}", started.elapsed());
        assert!(started.elapsed() < Duration::from_secs(5));

        let mut third = instance("three").await;
        third.assigned().await;
        let error = end(&mut second).await;
        assert!(matches!(&error, Error::Fenced(what) if what.contains("node-1")), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_programs_keep_for_themselves_is_not_read() {
    alone(async {
        fill(&format!("{}.dts-checkpoint.main", prefix()), &["own"]).await;
        fill(&topic("a"), &["1"]).await;
        let bus = bus(&prefix(), 1);
        let every = TopicName::new(&prefix()).filter(&[("*".to_owned(), "*".to_owned())]);
        for topics in [every, Default::default()] {
            let progress = bus.progress(&group("g"), &topics).await.unwrap();
            let names: Vec<&str> = progress.iter().map(|p| &*p.partition.topic).collect();
            assert_eq!(names, [topic("a")]);
        }
    })
    .await;
}
