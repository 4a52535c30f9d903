//! What the members of a group are promised.

use std::time::Duration;

use event_bus::{Error, Start};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    Backend, Sentence,
    reader::{Reader, append, batch, group, tables},
};

pub(super) const SENTENCES: &[Sentence] = &[
    ("what was committed does not come again, the rest does", |b| Box::pin(resumes(b))),
    ("two members share the records, and none comes to both", |b| Box::pin(two_members(b))),
    ("another member takes over from one that died", |b| Box::pin(take_over(b))),
    ("a commit for a lost partition is refused", |b| Box::pin(lost_commit_is_refused(b))),
    ("a commit goes on while its consumer is polled", |b| Box::pin(commits_amid_polls(b))),
    ("a paused partition brings nothing and loses nothing", |b| Box::pin(pause_and_resume(b))),
    ("a paused partition that is lost is told", |b| Box::pin(lost_while_paused(b))),
    ("a dropped poll loses nothing", |b| Box::pin(dropped_polls(b))),
    ("progress says how far a group is", |b| Box::pin(progress_is_told(b))),
    ("two groups get every record each", |b| Box::pin(groups_are_apart(b))),
];

fn numbered(count: usize) -> impl Iterator<Item = (&'static str, String)> {
    const KEYS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
    (0..count).map(|i| (KEYS[i % 7], format!("{i:05}")))
}

fn expected(count: usize) -> Vec<String> {
    numbered(count).map(|(_, value)| value).collect()
}

async fn resumes(backend: &dyn Backend) {
    let bus = backend.bus();
    append(&*bus, &batch("a", numbered(10))).await;
    let mut first = Reader::join(&*bus, "one").await;
    first.read(10).await;
    first.commit().await.unwrap();
    append(&*bus, &batch("a", numbered(5))).await;
    first.read(15).await;
    first.consumer.close().await;

    let mut second = Reader::join(&*bus, "two").await;
    second.read(5).await;
    second.commit().await.unwrap();
    assert_eq!(second.more().await, 0);
    second.consumer.close().await;
    assert_eq!(Reader::join(&*bus, "three").await.more().await, 0);
}

/// Both members handle and commit; whatever one gives up is finished before.
async fn two_members(backend: &dyn Backend) {
    let bus = backend.bus();
    append(&*bus, &batch("a", numbered(200))).await;
    let mut one = Reader::join(&*bus, "one").await;
    one.read(200).await;
    one.commit().await.unwrap();
    let mut two = Reader::join(&*bus, "two").await;
    let mut settled = false;
    while !settled {
        let moved = one.poll(Duration::from_millis(100)).await;
        settled = !two.poll(Duration::from_millis(100)).await && !moved;
    }
    assert!(two.owned.keys().all(|partition| !one.owned.contains_key(partition)));
    append(&*bus, &batch("a", numbered(200))).await;
    while one.got.len() + two.got.len() < 400 {
        tokio::select! {
            _ = one.poll(super::DEADLINE) => {}
            _ = two.poll(super::DEADLINE) => {}
        }
    }
    let mut all = [one.values().split_off(200), two.values()].concat();
    all.sort();
    assert_eq!(all, expected(200));
}

async fn take_over(backend: &dyn Backend) {
    let bus = backend.bus();
    append(&*bus, &batch("a", numbered(10))).await;
    let mut one = Reader::join(&*bus, "one").await;
    one.read(10).await;
    let mut two = Reader::join(&*bus, "two").await;
    while two.poll(Duration::from_millis(100)).await {}
    drop(one);
    two.read(10).await;
    let mut values = two.values();
    values.sort();
    assert_eq!(values, expected(10));
}

async fn lost_commit_is_refused(backend: &dyn Backend) {
    let bus = backend.bus();
    append(&*bus, &batch("a", numbered(10))).await;
    let mut one = Reader::join(&*bus, "one").await;
    one.read(10).await;
    let before: Vec<_> = one.owned.clone().into_iter().collect();
    backend.expel("one").await;
    let error = one.consumer.commit(&before).await.unwrap_err();
    assert!(matches!(error, Error::PartitionLost(_)), "{error}");
    while !one.owned.is_empty() {
        one.poll(super::DEADLINE).await;
    }
    one.read(20).await;
    one.commit().await.unwrap();
}

async fn commits_amid_polls(backend: &dyn Backend) {
    const ROUNDS: usize = 20;
    let bus = backend.bus();
    append(&*bus, &batch("a", numbered(10))).await;
    let mut one = Reader::join(&*bus, "one").await;
    one.read(10).await;
    // Opened once: to open it takes longer than a round.
    let (mut producer, _) = bus.producer("p").await.unwrap();
    for round in 1..=ROUNDS {
        producer.append(&batch("a", numbered(10)), &[]).await.unwrap();
        let commit = one.begin_commit();
        let (committed, ()) = tokio::join!(commit, one.read(10 * (round + 1)));
        committed.unwrap();
    }
    drop(one);
    let mut two = Reader::join(&*bus, "two").await;
    two.read(10).await;
    assert_eq!(two.more().await, 0, "only the last ten were not committed");
}

async fn pause_and_resume(backend: &dyn Backend) {
    let bus = backend.bus();
    append(&*bus, &batch("a", numbered(10))).await;
    let mut reader = Reader::join(&*bus, "one").await;
    reader.read(10).await;
    let owned: Vec<_> = reader.owned.keys().cloned().collect();
    reader.consumer.pause(&owned);
    reader.consumer.pause(&owned);
    append(&*bus, &batch("a", numbered(10))).await;
    assert_eq!(reader.more().await, 0);
    reader.commit().await.unwrap();
    reader.consumer.resume(&owned);
    reader.read(20).await;
    assert_eq!(reader.more().await, 0);
}

async fn lost_while_paused(backend: &dyn Backend) {
    let bus = backend.bus();
    append(&*bus, &batch("a", numbered(10))).await;
    let mut reader = Reader::join(&*bus, "one").await;
    reader.read(10).await;
    let owned: Vec<_> = reader.owned.clone().into_iter().collect();
    let partitions: Vec<_> = owned.iter().map(|(partition, _)| partition.clone()).collect();
    reader.consumer.pause(&partitions);
    append(&*bus, &batch("a", numbered(10))).await;
    assert_eq!(reader.more().await, 0);
    backend.expel("one").await;
    assert!(matches!(reader.consumer.commit(&owned).await, Err(Error::PartitionLost(_))));
    while !reader.owned.is_empty() {
        reader.poll(super::DEADLINE).await;
    }
    reader.read(30).await;
}

async fn dropped_polls(backend: &dyn Backend) {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let bus = backend.bus();
    let mut reader = Reader::join(&*bus, "one").await;
    let (mut producer, _) = bus.producer("p").await.unwrap();
    for _ in 0..50 {
        producer.append(&batch("a", numbered(20)), &[]).await.unwrap();
        reader.poll(Duration::from_micros(random.random_range(0..2000))).await;
    }
    reader.read(1000).await;
    assert_eq!(reader.more().await, 0);
}

async fn progress_is_told(backend: &dyn Backend) {
    let bus = backend.bus();
    append(&*bus, &batch("a", numbered(10))).await;
    let mut reader = Reader::join(&*bus, "one").await;
    reader.read(10).await;
    let behind = bus.progress(&group("g"), &tables("*")).await.unwrap();
    assert!(behind.iter().any(|p| p.committed.unwrap_or(0) < p.end), "{behind:?}");
    reader.catch_up(&*bus).await;
    reader.commit().await.unwrap();
    let done = bus.progress(&group("g"), &tables("*")).await.unwrap();
    assert!(!done.is_empty() && done.iter().all(|p| p.committed == Some(p.end)), "{done:?}");
    let unknown = bus.progress(&group("unknown"), &tables("*")).await.unwrap();
    assert!(unknown.iter().all(|p| p.committed.is_none()), "{unknown:?}");
}

async fn groups_are_apart(backend: &dyn Backend) {
    let bus = backend.bus();
    append(&*bus, &batch("a", numbered(10))).await;
    for group in [group("one"), group("two")] {
        let subscription = event_bus::Subscription {
            group: group.clone(),
            topics: tables("*"),
            start: Start::Earliest,
            client: group,
            instance: None,
            addressee: None,
            table: None,
        };
        let consumer = bus.consumer(subscription).await.unwrap();
        let mut reader = Reader { consumer, got: Vec::new(), owned: Default::default() };
        reader.read(10).await;
        reader.commit().await.unwrap();
    }
}
