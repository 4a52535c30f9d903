//! The journey of a listener on a bus in memory.

use std::{collections::BTreeMap, time::Duration};

use event_bus::{Batch as Records, Bus as _};
use event_worker::{Error, Failure, Outcome};

use crate::bus::{Act, PATIENCE, TOPIC, TestBus, event, scripted};

const QUICK: &str = "retry = { min = '1ms', max = '5ms' }\n";

fn ids(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| format!("e{number}")).collect()
}

#[tokio::test]
async fn every_event_is_handled_in_order_and_then_committed() {
    let mut bus = TestBus::new(1).await;
    let (handler, mut calls) = scripted([]);
    bus.append(&["a", "b", "a"]).await;
    let listener = bus.start("batchSize = 2\n", &handler);
    assert_eq!(calls.next().await.0, ids(0..2));
    assert_eq!(calls.next().await.0, ids(2..3));
    bus.wait_until_committed().await;
    bus.append(&["c"]).await;
    assert_eq!(calls.next().await, (ids(3..4), 1));
    listener.stop().await;
    assert_eq!(bus.behind().await, 0);
}

#[tokio::test]
async fn a_failed_batch_comes_again_until_it_succeeds_and_holds_back_the_commit() {
    let mut bus = TestBus::new(1).await;
    let failed = || Act::Answer(Outcome::failed("no"));
    let (handler, mut calls) = scripted([failed(), failed(), failed()]);
    bus.append(&["a"]).await;
    let listener = bus.start(QUICK, &handler);
    for attempt in 1..=4 {
        assert_eq!(calls.next().await, (ids(0..1), attempt));
    }
    bus.wait_until_committed().await;
    listener.stop().await;
}

#[tokio::test]
async fn only_those_that_failed_come_again_and_before_any_later_event_of_their_lane() {
    let mut bus = TestBus::new(1).await;
    let (handler, mut calls) = scripted([Act::Answer(partly(&["e1", "e3"]))]);
    bus.append(&["a", "b", "c", "d", "e", "f"]).await;
    let listener = bus.start(&format!("batchSize = 4\n{QUICK}"), &handler);
    assert_eq!(calls.next().await, (ids(0..4), 1));
    assert_eq!(calls.next().await, (vec!["e1".into(), "e3".into()], 2));
    assert_eq!(calls.next().await, (ids(4..6), 1));
    bus.wait_until_committed().await;
    listener.stop().await;
}

/// `{"failed":[…]}`, as from a handler.
fn partly(ids: &[&str]) -> Outcome {
    Outcome::partly(ids.iter().map(|id| (*id).to_owned()).collect(), None)
}

#[tokio::test]
async fn the_last_that_is_handled_of_a_key_is_its_newest_event_also_if_an_older_one_failed() {
    let mut bus = TestBus::new(1).await;
    let (handler, mut calls) = scripted([Act::Answer(partly(&["e0"]))]);
    bus.append(&["a", "b", "a"]).await;
    let listener = bus.start(QUICK, &handler);
    assert_eq!(calls.next().await, (ids(0..3), 1));
    assert_eq!(calls.next().await, (vec!["e0".into(), "e2".into()], 2));
    bus.wait_until_committed().await;
    listener.stop().await;
}

#[tokio::test]
async fn a_batch_that_fails_as_a_whole_is_halved_down_to_the_event_that_fails_and_grows_again() {
    let mut bus = TestBus::new(1).await;
    let failed = || Act::Answer(Outcome::failed("no"));
    let (handler, mut calls) = scripted([failed(), failed(), failed(), failed()]);
    let keys: Vec<String> = (0..8).map(|key| format!("k{key}")).collect();
    bus.append(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let listener = bus.start(&format!("batchSize = 8\n{QUICK}"), &handler);
    for (attempt, end) in [(1, 8), (2, 4), (3, 2), (4, 1)] {
        assert_eq!(calls.next().await, (ids(0..end), attempt), "it failed");
    }
    let then = [(5, 0..1), (4, 1..3), (3, 3..7), (2, 7..8)];
    for (attempt, range) in then {
        assert_eq!(calls.next().await, (ids(range), attempt), "it succeeded");
    }
    bus.wait_until_committed().await;
    bus.append(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(calls.next().await, (ids(8..16), 1));
    listener.stop().await;
}

#[tokio::test]
async fn while_what_the_handler_works_on_is_away_the_same_batch_comes_again_whole() {
    let mut bus = TestBus::new(1).await;
    let away = || Act::Answer(Outcome::Failed(Failure::away("no mail")));
    let (handler, mut calls) = scripted([away(), away(), away()]);
    bus.append(&["a", "b", "c", "d"]).await;
    // Nothing is set aside either.
    let listener = bus.start(&format!("batchSize = 4\npark = {{ after = 1 }}\n{QUICK}"), &handler);
    for attempt in 1..=4 {
        assert_eq!(calls.next().await, (ids(0..4), attempt));
    }
    bus.wait_until_committed().await;
    listener.stop().await;
}

#[tokio::test]
async fn what_is_too_large_is_tried_in_parts_without_a_wait() {
    let mut bus = TestBus::new(1).await;
    let too_large = Failure { is_too_large: true, ..Failure::new("too large") };
    let (handler, mut calls) = scripted([Act::Answer(Outcome::Failed(too_large))]);
    bus.append(&["a", "b"]).await;
    let listener = bus.start("retry = { min = '1h', max = '1h' }\n", &handler);
    for (attempt, range) in [(1, 0..2), (2, 0..1), (2, 1..2)] {
        assert_eq!(calls.next().await, (ids(range), attempt));
    }
    listener.stop().await;
}

#[tokio::test]
async fn a_handler_that_panics_ends_the_listener_with_an_error_once_the_others_have_ended() {
    let mut bus = TestBus::new(1).await;
    let (handler, mut calls) = scripted([Act::Panic]);
    let keys: Vec<String> = (0..20).map(|key| format!("k{key}")).collect();
    bus.append(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let listener = bus.start("workers = 4\nbatchSize = 1\n", &handler);
    calls.next().await;
    assert!(matches!(listener.end().await, Err(Error::HandlerPanicked)));
}

#[tokio::test]
async fn big_numbers_come_as_texts_to_a_listener_that_asks_for_it() {
    let mut bus = TestBus::new(1).await;
    let (handler, mut calls) = scripted([]);
    let mut records = Records::default();
    let big =
        event(0, "a", "insert").replace(r#""PK":{"id":"a"}"#, r#""PK":{"id":9007199254740993}"#);
    records.push_copy(TOPIC, b"a", big.as_bytes());
    bus.append_records(&records).await;
    let listener = bus.start("bigint = 'string'\n", &handler);
    assert!(calls.next_json().await.contains(r#""PK":{"id":"9007199254740993"}"#));
    listener.stop().await;
}

#[tokio::test]
async fn a_lane_that_hangs_does_not_hold_up_the_keys_of_the_others() {
    let mut bus = TestBus::new(1).await;
    let (handler, mut calls) = scripted([Act::Hang]);
    bus.append(&["stuck"]).await;
    let listener = bus.start("workers = 8\n", &handler);
    assert_eq!(calls.next().await.0, ids(0..1));
    let keys: Vec<String> = (0..64).map(|key| format!("k{key}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    bus.append(&keys).await;
    // Those of the stuck lane wait; nearly all others must come.
    assert!(calls.ids(40).await.len() >= 40);
    assert_eq!(bus.behind().await, 65, "nothing is committed past the one that hangs");
    listener.task.abort();
}

#[tokio::test]
async fn what_was_not_committed_comes_again_after_a_crash_and_what_was_does_not() {
    let mut bus = TestBus::new(1).await;
    let (handler, mut calls) = scripted([Act::Answer(Outcome::Done), Act::Hang]);
    bus.append(&["a"]).await;
    let listener = bus.start("", &handler);
    calls.next().await;
    bus.wait_until_committed().await;
    bus.append(&["b", "c"]).await;
    assert_eq!(calls.next().await.0, ids(1..3));
    listener.task.abort();
    assert!(listener.task.await.unwrap_err().is_cancelled());
    let (handler, mut calls) = scripted([]);
    let listener = bus.start("", &handler);
    assert_eq!(calls.ids(2).await, ids(1..3));
    listener.stop().await;
}

#[tokio::test]
async fn events_that_nobody_wants_are_done_without_a_call() {
    let mut bus = TestBus::new(1).await;
    let (handler, mut calls) = scripted([]);
    let mut records = Records::default();
    records.push_copy(TOPIC, b"a", event(0, "a", "insert").as_bytes());
    records.push_copy(TOPIC, b"a", event(1, "a", "delete").as_bytes());
    records.push_copy("dbevents.shop.other", b"a", event(2, "a", "delete").as_bytes());
    bus.append_records(&records).await;
    let listener = bus.start("actions = ['delete']\nsubscribe = { shop = ['ord*'] }\n", &handler);
    assert_eq!(calls.next().await.0, ["e1"]);
    let topics = event_bus::TopicName::new("dbevents").filter(&[("shop".into(), "orders".into())]);
    let finished = async {
        loop {
            let progress = bus.bus.progress(crate::bus::GROUP, &topics).await.unwrap();
            if progress.iter().all(|at| at.committed == Some(at.end)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, finished).await.unwrap();
    listener.stop().await;
    assert!(calls.is_quiet());
}

#[tokio::test]
async fn a_record_that_is_not_an_event_stops_the_listener_with_its_place() {
    let mut bus = TestBus::new(1).await;
    let (handler, mut calls) = scripted([]);
    let mut records = Records::default();
    records.push_copy(TOPIC, b"a", event(0, "a", "insert").as_bytes());
    records.push_copy(TOPIC, b"a", b"{\"rubbish\":");
    bus.append_records(&records).await;
    let listener = bus.start("", &handler);
    let error = listener.end().await.unwrap_err().to_string();
    assert!(error.contains("offset 1") && error.contains(TOPIC), "{error}");
    assert!(calls.try_next().is_none_or(|(ids, _)| ids == ["e0"]));
}

#[tokio::test]
async fn a_full_listener_takes_in_no_more_until_its_handler_goes_on() {
    let mut bus = TestBus::new(1).await;
    let hangs_once = Act::Answer(Outcome::failed("wait"));
    let (handler, mut calls) = scripted([hangs_once]);
    let padding = "x".repeat(1000);
    for _ in 0..20 {
        let keys: Vec<&str> = (0..100).map(|_| padding.as_str()).collect();
        bus.append(&keys).await;
    }
    let settings = "maxBufferBytes = '64KiB'\nbatchSize = 10\nretry = { min = '300ms' }\n";
    let listener = bus.start(settings, &handler);
    let handled = calls.ids(10 + 2000).await;
    assert_eq!(handled[10..], ids(0..2000));
    bus.wait_until_committed().await;
    listener.stop().await;
}

#[tokio::test]
async fn two_members_share_the_partitions_and_one_takes_over_from_the_other() {
    let mut bus = TestBus::new(8).await;
    let (first, mut first_calls) = scripted([]);
    let (second, mut second_calls) = scripted([]);
    let keys: Vec<String> = (0..40).map(|key| format!("k{key}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    bus.append(&keys).await;
    let one = bus.start("workers = 4\n", &first);
    first_calls.ids(40).await;
    let two = bus.start("workers = 4\n", &second);
    bus.wait_until_committed().await;
    // The second has some partitions once it is called.
    let called = async {
        loop {
            bus.append(&keys).await;
            if !second_calls.is_quiet() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, called).await.unwrap();
    one.stop().await;
    bus.append(&keys).await;
    bus.wait_until_committed().await;
    two.stop().await;
}

#[tokio::test]
async fn calls_for_lost_partitions_are_dropped_and_their_events_come_again() {
    let mut bus = TestBus::new(1).await;
    let (handler, mut calls) = scripted([Act::Hang]);
    bus.append(&["a", "b"]).await;
    let listener = bus.start("", &handler);
    assert_eq!(calls.next().await.0, ids(0..2));
    bus.bus.expel(&format!("event-worker test, pid {}", std::process::id()));
    assert_eq!(calls.next().await, (ids(0..2), 1));
    bus.wait_until_committed().await;
    listener.stop().await;
}

/// With failures, partial answers and members that come and go: nothing is lost, and a key's events
/// are first seen in their order.
#[tokio::test]
async fn nothing_is_lost_and_keys_keep_their_order_whatever_the_handler_answers() {
    let seed: u64 = std::env::var("TEST_SEED")
        .map_or_else(|_| rand::random(), |seed| seed.parse().expect("TEST_SEED is a number"));
    println!("TEST_SEED={seed}");
    let mut random: rand::rngs::StdRng = rand::SeedableRng::seed_from_u64(seed);
    let mut roll = |below: u64| rand::RngExt::random_range(&mut random, 0..below);
    let mut bus = TestBus::new(3).await;
    let script = (0..300).map(|_| match roll(10) {
        0..3 => Act::Answer(Outcome::failed("by chance")),
        _ => Act::Answer(Outcome::Done),
    });
    let (handler, mut calls) = scripted(script.collect::<Vec<_>>());
    let mut key_of = BTreeMap::new();
    for id in 0..2000_u64 {
        let key = format!("k{}", roll(30));
        bus.append(&[&key]).await;
        key_of.insert(id, key);
    }
    let settings = format!("workers = 8\nbatchSize = 7\n{QUICK}");
    let first = bus.start(&settings, &handler);
    let mut seen = calls.ids(500).await;
    first.stop().await;
    let second = bus.start(&settings, &handler);
    bus.wait_until_committed().await;
    second.stop().await;
    while let Some(more) = calls.try_next() {
        seen.extend(more.0);
    }
    let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut met = std::collections::BTreeSet::new();
    for id in seen.iter().map(|id| id[1..].parse::<u64>().unwrap()) {
        if met.insert(id) {
            let before = newest.insert(&key_of[&id], id);
            assert!(before.is_none_or(|before| before < id), "{id} after {before:?}");
        }
    }
    assert_eq!(met.len(), 2000);
}
