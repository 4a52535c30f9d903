//! Where a group begins, and which topics it gets.

use std::time::{Duration, SystemTime};

use event_bus::Start;

use super::{
    Backend, Sentence,
    reader::{Reader, append, batch, group, tables, topic},
};

pub(super) const SENTENCES: &[Sentence] = &[
    ("latest begins after what is there, once and for all", |b| Box::pin(latest(b))),
    ("a time begins with the first record since", |b| Box::pin(time(b))),
    ("only the topics of the filter come", |b| Box::pin(filtered(b))),
    ("a topic that appears later comes whole", |b| Box::pin(later_topics(b))),
    ("a group that begins before its first topic gets all of it", |b| Box::pin(before_topics(b))),
];

fn one(value: &str) -> [(&'static str, String); 1] {
    [("k", value.to_owned())]
}

async fn latest(backend: &dyn Backend) {
    let bus = backend.bus();
    append(&*bus, &batch("a", one("before"))).await;
    let mut reader = Reader::join_from(&*bus, "one", Start::Latest).await;
    reader.assigned().await;
    append(&*bus, &batch("a", one("after"))).await;
    reader.read(1).await;
    reader.consumer.close().await;

    let mut again = Reader::join_from(&*bus, "two", Start::Earliest).await;
    again.read(1).await;
    assert_eq!(again.values(), ["after"]);
}

async fn time(backend: &dyn Backend) {
    let bus = backend.bus();
    append(&*bus, &batch("a", one("before"))).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let since = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    append(&*bus, &batch("a", one("after"))).await;
    let mut reader = Reader::join_from(&*bus, "one", Start::Time(since)).await;
    reader.read(1).await;
    assert_eq!(reader.more().await, 0);
    assert_eq!(reader.values(), ["after"]);
}

async fn filtered(backend: &dyn Backend) {
    let bus = backend.bus();
    for table in ["wx_a", "other", "wx_b", "other"] {
        append(&*bus, &batch(table, one(table))).await;
    }
    let mut reader = Reader::subscribe(&*bus, "one", Start::Earliest, tables("wx_*")).await;
    reader.read(2).await;
    assert_eq!(reader.more().await, 0);
    reader.got.sort_by_key(|delivery| delivery.value.clone());
    assert_eq!(reader.values(), ["wx_a", "wx_b"]);
    assert_eq!(*reader.got[0].topic, topic("wx_a"));
    reader.catch_up_with(&*bus, tables("wx_*")).await;
    reader.commit().await.unwrap();
    let progress = bus.progress(&group("g"), &tables("wx_*")).await.unwrap();
    assert!(progress.iter().all(|p| p.committed == Some(p.end)), "{progress:?}");
}

async fn later_topics(backend: &dyn Backend) {
    let bus = backend.bus();
    append(&*bus, &batch("a", one("a"))).await;
    let mut reader = Reader::join_from(&*bus, "one", Start::Latest).await;
    reader.assigned().await;
    append(&*bus, &batch("b", one("b1"))).await;
    append(&*bus, &batch("b", one("b2"))).await;
    reader.read(2).await;
    assert_eq!(reader.values(), ["b1", "b2"]);
}

async fn before_topics(backend: &dyn Backend) {
    let bus = backend.bus();
    let mut reader = Reader::join_from(&*bus, "one", Start::Latest).await;
    // On a bus with a place for all topics it is ours at once, on others there is none yet.
    reader.more().await;
    append(&*bus, &batch("a", one("a1"))).await;
    append(&*bus, &batch("a", one("a2"))).await;
    reader.read(2).await;
    reader.commit().await.unwrap();
    assert_eq!(reader.values(), ["a1", "a2"]);
}
