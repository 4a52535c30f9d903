//! The sink `kafka`: processes that all believe that the same changes are theirs.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use handler::{Event, Failure, Outcome, Place};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use service::clock::now_ms;
use sinks::Sink;

use crate::changes::{change, give, seeded, sink};

const PARTITIONS: u32 = 3;
const EVENTS: u64 = 250;

fn broker() -> String {
    std::env::var("TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:23392".to_owned())
}

fn kafka_sink(name: &str, more: &str) -> Sink {
    let brokers = broker();
    let timeout = if more.contains("timeout") { "" } else { "timeout = '10s'" };
    sink(
        "kafka",
        &format!(
            "brokers = '{brokers}'\ntopic = '{name}'\nname = '{name}'\ncreate = true\n\
             partitions = 2\n{timeout}\n{more}"
        ),
    )
}

/// The numbers of all changes that are committed, in the order of each key.
fn written(topic: &str) -> BTreeMap<String, Vec<u64>> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker())
        .set("group.id", "oracle")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut from = TopicPartitionList::new();
    for partition in 0..2 {
        from.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&from).unwrap();
    let (mut open, mut found) = (2, BTreeMap::<_, Vec<u64>>::new());
    while open > 0 {
        match consumer.poll(PATIENCE).unwrap() {
            Ok(message) => {
                let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
                let event: serde_json::Value =
                    serde_json::from_slice(message.payload().unwrap()).unwrap();
                found.entry(key).or_default().push(event["Seq"].as_u64().unwrap());
            }
            Err(KafkaError::PartitionEOF(_)) => open -= 1,
            Err(error) => panic!("{error}"),
        }
    }
    found
}

/// The event at a place of a partition: one of seven rows, each in one partition.
fn event(partition: u32, offset: u64, (saved, assigned_ms): (u64, u64)) -> Event {
    let (seq, row) = (offset * u64::from(PARTITIONS) + u64::from(partition), offset % 7);
    let id = row * u64::from(PARTITIONS) + u64::from(partition);
    let topic = "source".into();
    let place = Place { topic, partition, offset, saved, is_aside: false, assigned_ms };
    Event { place, ..change(seq, "update", id, "", None) }
}

/// What is saved of each partition.
type Saved = Arc<Mutex<[u64; PARTITIONS as usize]>>;

/// Gives all changes of a partition to the sink, from what is saved on. After a failure it may go
/// on with what it has, as one who does not know that the partition is another's, or get the
/// partition anew. It ends early after so many failures.
async fn read(sink: Sink, partition: u32, saved: Saved, (mut random, patience): (StdRng, u32)) {
    let at = partition as usize;
    let assigned = || (saved.lock().unwrap()[at], now_ms());
    let mut known = assigned();
    let (mut next, mut failures) = (known.0, 0);
    while next < EVENTS {
        let end = EVENTS.min(next + random.random_range(1..60));
        let events: Vec<Event> = (next..end).map(|at| event(partition, at, known)).collect();
        match give(&sink, &events).await {
            Outcome::Done => {
                (next, known.0) = (end, end);
                let mut saved = saved.lock().unwrap();
                saved[at] = saved[at].max(end);
            }
            _ if failures == patience => return,
            _ => {
                failures += 1;
                let wait = Duration::from_millis(random.random_range(50..800));
                tokio::time::sleep(wait).await;
                if random.random_bool(0.5) {
                    known = assigned();
                    next = known.0;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_all_have_the_same_partitions_write_each_change_once() {
    let mut random = seeded();
    let name = format!("sink-compete-{:016x}", random.random::<u64>());
    let saved = Saved::default();
    let mut processes = tokio::task::JoinSet::new();
    for process in 0..3 {
        let sink = kafka_sink(&name, "");
        for partition in 0..PARTITIONS {
            // The first one goes on until all is written.
            let patience = if process == 0 { u32::MAX } else { 3 };
            let random = StdRng::seed_from_u64(random.random());
            let read = read(sink.clone(), partition, Arc::clone(&saved), (random, patience));
            processes.spawn(read);
        }
    }
    while let Some(ended) = processes.join_next().await {
        ended.unwrap();
    }
    let topic = name.clone();
    let found = tokio::task::spawn_blocking(move || written(&topic)).await.unwrap();
    for (key, numbers) in &found {
        assert!(numbers.is_sorted_by(|one, next| one < next), "{key}: {numbers:?}");
    }
    let all: HashSet<u64> = found.values().flatten().copied().collect();
    assert_eq!(all.len() as u64, EVENTS * u64::from(PARTITIONS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_comes_again_is_left_out_and_a_replay_is_not() {
    let name = format!("sink-again-{:016x}", seeded().random::<u64>());
    let events: Vec<Event> = (0..10).map(|at| event(0, at, (0, 0))).collect();
    let replayed = Event {
        json: events[9].json.replace(r#""Origin":"binlog""#, r#""Origin":"replay""#),
        ..events[9].clone()
    };
    for round in 0..3 {
        let sink = kafka_sink(&name, "");
        assert_eq!(give(&sink, &events).await, Outcome::Done);
        assert_eq!(give(&sink, &events[3..]).await, Outcome::Done);
        let figures = sink.figures();
        let new = if round == 0 { 10 } else { 0 };
        assert_eq!((figures.rows, figures.conflicts), (new, 17 - new));
    }
    let sink = kafka_sink(&name, "");
    assert_eq!(give(&sink, &[replayed]).await, Outcome::Done);
    let found = tokio::task::spawn_blocking(move || written(&name)).await.unwrap();
    assert_eq!(found.values().map(Vec::len).sum::<usize>(), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_transactions_a_change_is_written_each_time_that_it_comes() {
    let name = format!("sink-simple-{:016x}", seeded().random::<u64>());
    let sink = kafka_sink(&name, "delivery = 'at-least-once'");
    let events: Vec<Event> = (0..10).map(|at| event(0, at, (0, 0))).collect();
    for _ in 0..2 {
        assert_eq!(give(&sink, &events).await, Outcome::Done);
    }
    let found = tokio::task::spawn_blocking(move || written(&name)).await.unwrap();
    assert_eq!(found.values().map(Vec::len).sum::<usize>(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_fails_alone() {
    for delivery in ["exactly-once", "at-least-once"] {
        let name = format!("sink-large-{:016x}", seeded().random::<u64>());
        let sink = kafka_sink(&name, &format!("compression = 'none'\ndelivery = '{delivery}'"));
        let large = format!(r#""text":"{}""#, "x".repeat(2 << 20));
        let mut events: Vec<Event> = (0..20).map(|at| event(0, at, (0, 0))).collect();
        events[4].json = change(12, "update", 12, &large, None).json;
        let outcome = give(&sink, &events).await;
        let Outcome::Partly { failed, failure: Failure { said, .. } } = outcome else {
            panic!("{outcome:?}")
        };
        // The row's later changes wait behind it.
        let of_row = |at: &u64| at % 7 == 4;
        let late: Vec<String> =
            (0..20).filter(of_row).map(|at| format!("g:{}#0", at * 3)).collect();
        assert_eq!(failed, late);
        assert!(
            said.as_ref().is_some_and(|said| said.contains("takes no record of 2")),
            "{said:?}"
        );
        let found = tokio::task::spawn_blocking(move || written(&name)).await.unwrap();
        let all: HashSet<u64> = found.values().flatten().copied().collect();
        assert_eq!(all.len(), 17, "{delivery}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_deleted_is_named_and_made_again() {
    let name = format!("sink-deleted-{:016x}", seeded().random::<u64>());
    let sink = kafka_sink(&name, "timeout = '2s'");
    let events: Vec<Event> = (0..4).map(|at| event(0, at, (0, 0))).collect();
    assert_eq!(give(&sink, &events[..2]).await, Outcome::Done);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", broker()).create().unwrap();
    let deleted = admin.delete_topics(&[&name], &AdminOptions::new()).await.unwrap();
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    let (mut outcome, mut said) = (give(&sink, &events[2..]).await, Vec::new());
    for _ in 0..20 {
        let Outcome::Failed(Failure { reason, .. }) = &outcome else { break };
        said.push(reason.clone());
        outcome = give(&sink, &events[2..]).await;
    }
    assert_eq!(outcome, Outcome::Done, "{said:?}");
    let is_named =
        |reason: &String| reason.contains(&format!("the topic {name} is not there any more"));
    assert!(said.iter().any(is_named), "{said:?}");
}
