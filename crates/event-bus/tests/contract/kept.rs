//! What a group's table promises: entries that move with their partitions.

use std::time::Duration;

use event_bus::{Bus, Error};

use super::{
    Backend, Sentence,
    reader::{Reader, TABLE, append, batch, group, tables},
};

pub(super) const SENTENCES: &[Sentence] = &[
    ("what a member keeps is there for the next one", |b| Box::pin(moves_on(b))),
    ("a change for a lost partition is refused and not kept", |b| Box::pin(lost(b))),
    ("who was away changes nothing that the next member has read", |b| Box::pin(fenced(b))),
    ("members change the entries of their own partitions at once", |b| Box::pin(side_by_side(b))),
    ("what cannot be kept moves no offset", |b| Box::pin(too_large(b))),
];

fn records(count: usize) -> impl Iterator<Item = (&'static str, String)> {
    const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
    (0..count).map(|i| (KEYS[i % 5], format!("{i:03}")))
}

async fn values(bus: &dyn Bus) -> Vec<(String, String)> {
    let kept = bus.kept(TABLE).await.unwrap().into_iter();
    let text = |kept: event_bus::Kept| String::from_utf8(kept.value.to_vec()).unwrap();
    let mut values: Vec<_> = kept.map(|kept| (kept.key.clone(), text(kept))).collect();
    values.sort();
    values.dedup();
    values
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn moves_on(backend: &dyn Backend) {
    let bus = backend.bus();
    append(&*bus, &batch("a", records(10))).await;
    let mut one = Reader::join(&*bus, "one").await;
    one.read(10).await;
    assert_eq!(one.kept().await, []);
    one.commit_with("1", Some("first")).await.unwrap();
    one.commit_with("2", Some("second")).await.unwrap();
    one.commit_with("1", Some("again")).await.unwrap();
    one.commit().await.unwrap();
    let kept = one.kept().await;
    assert_eq!(kept.len(), 2 * one.owned.len());
    one.consumer.close().await;

    let mut two = Reader::join(&*bus, "two").await;
    two.assigned().await;
    two.catch_up(&*bus).await;
    assert_eq!(two.got.len(), 0, "the offsets were saved with the entries");
    let taken = two.kept().await;
    assert_eq!(taken.len(), kept.len());
    assert_eq!(values(&*bus).await, pairs(&[("1", "again"), ("2", "second")]));
    two.commit_with("2", None).await.unwrap();
    assert_eq!(values(&*bus).await, pairs(&[("1", "again")]));
    two.commit_with("1", None).await.unwrap();
    assert_eq!(values(&*bus).await, []);
    two.commit_with("3", Some("third")).await.unwrap();
    two.consumer.close().await;
    bus.clear_kept(TABLE).await.unwrap();
    assert_eq!(values(&*bus).await, []);
    bus.clear_kept(TABLE).await.unwrap();
}

async fn lost(backend: &dyn Backend) {
    let bus = backend.bus();
    append(&*bus, &batch("a", records(10))).await;
    let mut one = Reader::join(&*bus, "one").await;
    one.read(10).await;
    one.kept().await;
    backend.expel("one").await;
    let error = one.commit_with("1", Some("late")).await.unwrap_err();
    assert!(matches!(error, Error::PartitionLost(_)), "{error}");
    assert_eq!(values(&*bus).await, []);
}

async fn fenced(backend: &dyn Backend) {
    let bus = backend.bus();
    append(&*bus, &batch("a", records(10))).await;
    let mut one = Reader::join(&*bus, "one").await;
    one.read(10).await;
    one.kept().await;
    one.commit_with("1", Some("early")).await.unwrap();
    let mut two = Reader::join(&*bus, "two").await;
    // It does not poll, as if it were asleep. Its library may be awake and join again.
    while two.owned.is_empty() {
        backend.expel("one").await;
        while two.poll(Duration::from_secs(2)).await && two.owned.is_empty() {}
    }
    two.kept().await;
    let late = one.commit_with("1", Some("late")).await;
    assert!(late.is_err(), "{late:?}");
    assert_eq!(values(&*bus).await, pairs(&[("1", "early")]));
    two.commit_with("2", Some("next")).await.unwrap();
    assert_eq!(values(&*bus).await, pairs(&[("1", "early"), ("2", "next")]));
}

async fn side_by_side(backend: &dyn Backend) {
    const ROUNDS: usize = 10;
    let bus = backend.bus();
    append(&*bus, &batch("a", records(100))).await;
    let mut one = Reader::join(&*bus, "one").await;
    one.read(100).await;
    one.commit().await.unwrap();
    let mut two = Reader::join(&*bus, "two").await;
    let mut settled = false;
    while !settled {
        let moved = one.poll(Duration::from_millis(100)).await;
        settled = !two.poll(Duration::from_millis(100)).await && !moved;
    }
    let partitions = one.owned.len() + two.owned.len();
    for round in 0..ROUNDS {
        let key = round.to_string();
        let (first, second) =
            tokio::join!(one.commit_with(&key, Some("x")), two.commit_with(&key, Some("x")));
        first.unwrap();
        second.unwrap();
    }
    assert_eq!(bus.kept(TABLE).await.unwrap().len(), partitions * ROUNDS);
}

async fn too_large(backend: &dyn Backend) {
    let bus = backend.bus();
    append(&*bus, &batch("a", records(10))).await;
    let mut one = Reader::join(&*bus, "one").await;
    one.read(10).await;
    one.commit().await.unwrap();
    let before = bus.progress(&group("g"), &tables("*")).await.unwrap();
    append(&*bus, &batch("a", records(10))).await;
    one.read(20).await;
    let large = "x".repeat(80 << 20);
    let Err(error) = one.commit_with("1", Some(&large)).await else { return };
    assert!(matches!(error, Error::Rejected(_)), "{error}");
    let after = bus.progress(&group("g"), &tables("*")).await.unwrap();
    let places = |all: Vec<event_bus::Progress>| {
        all.into_iter().map(|p| (p.partition, p.committed)).collect::<Vec<_>>()
    };
    assert_eq!(places(after), places(before));
    one.commit_with("1", Some("small")).await.unwrap();
    assert_eq!(values(&*bus).await, pairs(&[("1", "small")]));
}
