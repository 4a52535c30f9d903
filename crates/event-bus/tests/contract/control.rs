//! What is promised of the control table.

use std::collections::BTreeMap;

use bytes::Bytes;
use event_bus::{Control, ControlChange};

use super::{
    Backend, Sentence,
    reader::{Reader, append, batch, tables},
};

pub(super) const SENTENCES: &[Sentence] = &[
    ("an empty control table is told at once", |b| Box::pin(empty_is_told(b))),
    ("what was put and not removed is told first", |b| Box::pin(all_is_told_first(b))),
    ("changes come to all who listen", |b| Box::pin(changes_come_to_all(b))),
    ("a dropped call for changes loses none", |b| Box::pin(a_dropped_call_loses_none(b))),
    ("what several put at once is all there", |b| Box::pin(several_put_at_once(b))),
    ("the control table is no topic and no producer", |b| Box::pin(it_is_no_topic(b))),
    ("producers are named", |b| Box::pin(producers_are_named(b))),
];

fn put(key: &str, value: &str) -> ControlChange {
    (key.to_owned(), Some(Bytes::copy_from_slice(value.as_bytes())))
}

fn removed(key: &str) -> ControlChange {
    (key.to_owned(), None)
}

type Table = BTreeMap<String, Bytes>;

/// Folds what comes into the table until it is as it should be.
async fn follow(control: &mut dyn Control, table: &mut Table, until: &[(&str, &str)]) {
    let wanted: Table = until
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Bytes::copy_from_slice(value.as_bytes())))
        .collect();
    while *table != wanted {
        for (key, value) in control.changes().await.unwrap() {
            match value {
                Some(value) => table.insert(key, value),
                None => table.remove(&key),
            };
        }
    }
}

async fn empty_is_told(backend: &dyn Backend) {
    let mut control = backend.bus().control().await.unwrap();
    assert_eq!(control.changes().await.unwrap(), []);
}

async fn all_is_told_first(backend: &dyn Backend) {
    let bus = backend.bus();
    bus.put_control(&[put("a/1", "one"), put("b", ""), put("c", "x")]).await.unwrap();
    bus.put_control(&[removed("c"), put("a/1", "two"), removed("never")]).await.unwrap();
    bus.put_control(&[]).await.unwrap();
    let mut first = backend.bus().control().await.unwrap().changes().await.unwrap();
    first.sort();
    assert_eq!(first, [put("a/1", "two"), put("b", "")]);
}

async fn changes_come_to_all(backend: &dyn Backend) {
    let bus = backend.bus();
    let (mut one, mut two) = (bus.control().await.unwrap(), bus.control().await.unwrap());
    let (mut at_one, mut at_two) = (Table::new(), Table::new());
    assert_eq!(one.changes().await.unwrap(), []);
    for round in ["1", "2", "3"] {
        bus.put_control(&[put("k", round), put("last", round)]).await.unwrap();
        follow(&mut *one, &mut at_one, &[("k", round), ("last", round)]).await;
    }
    bus.put_control(&[removed("k")]).await.unwrap();
    follow(&mut *one, &mut at_one, &[("last", "3")]).await;
    follow(&mut *two, &mut at_two, &[("last", "3")]).await;
}

async fn a_dropped_call_loses_none(backend: &dyn Backend) {
    let bus = backend.bus();
    let mut control = bus.control().await.unwrap();
    let mut table = Table::new();
    assert_eq!(control.changes().await.unwrap(), []);
    for round in 0..20 {
        // Mostly dropped while it waits.
        let wait = std::time::Duration::from_millis(round);
        let dropped = tokio::time::timeout(wait, control.changes()).await;
        for (key, value) in dropped.into_iter().flat_map(Result::unwrap) {
            table.insert(key, value.unwrap());
        }
        bus.put_control(&[put(&format!("k{round}"), "v")]).await.unwrap();
    }
    let names: Vec<String> = (0..20).map(|round| format!("k{round}")).collect();
    let wanted: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    follow(&mut *control, &mut table, &wanted).await;
}

async fn several_put_at_once(backend: &dyn Backend) {
    let names: Vec<String> = (0..8).map(|writer| format!("w{writer}")).collect();
    let writers = names.iter().map(async |name| {
        let bus = backend.bus();
        for round in ["1", "2", "3"] {
            bus.put_control(&[put(name, round)]).await.unwrap();
        }
    });
    futures_util::future::join_all(writers).await;
    let mut control = backend.bus().control().await.unwrap();
    let wanted: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "3")).collect();
    follow(&mut *control, &mut Table::new(), &wanted).await;
}

async fn it_is_no_topic(backend: &dyn Backend) {
    let bus = backend.bus();
    bus.put_control(&[put("k", "1")]).await.unwrap();
    append(&*bus, &batch("a", [("k", "1".to_owned())])).await;
    bus.put_control(&[put("k", "2")]).await.unwrap();
    let every = Default::default();
    let mut reader = Reader::subscribe(&*bus, "one", event_bus::Start::Earliest, every).await;
    reader.read(1).await;
    assert_eq!((reader.more().await, reader.values()), (0, vec!["1".to_owned()]));
    reader.catch_up_with(&*bus, tables("*")).await;
    assert_eq!(bus.producers().await.unwrap(), ["p"]);
}

async fn producers_are_named(backend: &dyn Backend) {
    let bus = backend.bus();
    assert!(bus.producers().await.unwrap().is_empty());
    let _one = bus.producer("one").await.unwrap();
    drop(bus.producer("two").await.unwrap());
    let mut names = backend.bus().producers().await.unwrap();
    names.sort();
    assert_eq!(names, ["one", "two"]);
}
