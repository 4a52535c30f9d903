//! What is seen and done outside of groups: reading without one, listing and forgetting them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use event_bus::{Bus, Consumer, Error, KnownGroup, Polled, ResetTo, Start};

use super::{
    Backend, Sentence,
    reader::{Reader, append, batch, group, tables},
};

pub(super) const SENTENCES: &[Sentence] = &[
    ("a tail reads from its place on and leaves no group", |b| Box::pin(tailed(b))),
    ("a tail of some topics reads those, also later ones", |b| Box::pin(chosen(b))),
    ("a tail comes to the end of every partition", |b| Box::pin(ended(b))),
    ("a partition is read again from an offset to its end", |b| Box::pin(reread(b))),
    ("a group without members is forgotten and begins as a new one", |b| Box::pin(forgotten(b))),
    ("a group with a member is listed with it and not forgotten", |b| Box::pin(active(b))),
];

/// The values of the next records.
async fn read(tail: &mut dyn Consumer, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        match tail.poll().await {
            Ok(Polled::Records { deliveries, .. }) => values
                .extend(deliveries.iter().map(|it| String::from_utf8(it.value.to_vec()).unwrap())),
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
    values
}

fn values(range: std::ops::Range<u32>) -> impl Iterator<Item = (&'static str, String)> {
    range.map(|number| ("k", number.to_string()))
}

async fn known(bus: &dyn Bus, name: &str) -> Option<KnownGroup> {
    let groups = bus.groups().await.unwrap();
    groups.into_iter().find(|known| known.name == group(name))
}

async fn names(bus: &dyn Bus) -> BTreeSet<String> {
    bus.groups().await.unwrap().into_iter().map(|known| known.name).collect()
}

async fn tailed(backend: &dyn Backend) {
    let bus = &*backend.bus();
    append(bus, &batch("a", values(0..3))).await;
    let before = names(bus).await;
    let mut all = bus.tail(&tables("*"), ResetTo::Earliest).await.unwrap();
    let mut fresh = bus.tail(&tables("*"), ResetTo::Latest).await.unwrap();
    assert_eq!(read(&mut *all, 3).await, ["0", "1", "2"]);
    append(bus, &batch("a", values(3..5))).await;
    assert_eq!(read(&mut *all, 2).await, ["3", "4"]);
    assert_eq!(read(&mut *fresh, 2).await, ["3", "4"]);
    assert_eq!(names(bus).await, before);
}

async fn chosen(backend: &dyn Backend) {
    let bus = &*backend.bus();
    append(bus, &batch("a", values(0..1))).await;
    append(bus, &batch("b", values(1..2))).await;
    let mut tail = bus.tail(&tables("b*"), ResetTo::Latest).await.unwrap();
    append(bus, &batch("a", values(2..3))).await;
    append(bus, &batch("b2", values(3..4))).await;
    assert_eq!(read(&mut *tail, 1).await, ["3"]);
}

async fn ended(backend: &dyn Backend) {
    let bus = &*backend.bus();
    append(bus, &batch("a", values(0..3))).await;
    append(bus, &batch("b", values(3..4))).await;
    let topics = tables("*");
    let ends = bus.progress(&group("of nobody"), &topics).await.unwrap().into_iter();
    let mut left: BTreeMap<_, u64> = ends.map(|at| (at.partition, at.end)).collect();
    left.retain(|_, end| *end > 0);
    let mut tail = bus.tail(&topics, ResetTo::Earliest).await.unwrap();
    while !left.is_empty() {
        match tail.poll().await {
            Ok(Polled::Records { deliveries, mut scanned }) => {
                scanned.extend(deliveries.into_iter().map(|it| (it.partition, it.offset + 1)));
                left.retain(|partition, end| {
                    !scanned.iter().any(|(at, next)| at == partition && next >= end)
                });
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
}

async fn reread(backend: &dyn Backend) {
    let bus = &*backend.bus();
    append(bus, &batch("a", values(0..5))).await;
    let before = names(bus).await;
    let topics = tables("a");
    let all = bus.progress(&group("of nobody"), &topics).await.unwrap();
    // All values have one key, so all are in one partition.
    let full = all.into_iter().max_by_key(|at| at.end).unwrap();
    let mut first = bus.reread(&full.partition, &topics, 0).await.unwrap();
    let (mut offsets, mut next) = (Vec::new(), 0);
    while next < full.end {
        match first.poll().await {
            Ok(Polled::Records { deliveries, scanned }) => {
                offsets.extend(deliveries.iter().map(|it| it.offset));
                let at = scanned.iter().map(|(_, next)| *next);
                next = at.chain(offsets.iter().map(|it| it + 1)).max().unwrap_or(next);
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
    assert_eq!(offsets.len(), 5);
    let mut part = bus.reread(&full.partition, &topics, offsets[3]).await.unwrap();
    assert_eq!(read(&mut *part, 2).await, ["3", "4"]);
    assert_eq!(names(bus).await, before);
}

async fn forgotten(backend: &dyn Backend) {
    let bus = &*backend.bus();
    append(bus, &batch("a", values(0..2))).await;
    let mut reader = Reader::join(bus, "one").await;
    reader.read(2).await;
    reader.commit().await.unwrap();
    reader.consumer.close().await;
    assert!(known(bus, "g").await.is_some());
    loop {
        match bus.forget_group(&group("g")).await {
            Ok(()) => break,
            // The bus may yet have to notice that the member is gone.
            Err(Error::GroupActive { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(known(bus, "g").await, None);
    let again = bus.forget_group(&group("g")).await.unwrap_err();
    assert!(matches!(again, Error::Rejected(_)), "{again:?}");
    let mut reader = Reader::join_from(bus, "two", Start::Earliest).await;
    reader.read(2).await;
    reader.consumer.close().await;
}

async fn active(backend: &dyn Backend) {
    let bus = &*backend.bus();
    append(bus, &batch("a", values(0..1))).await;
    let mut reader = Reader::join(bus, "one").await;
    reader.read(1).await;
    reader.commit().await.unwrap();
    let members = known(bus, "g").await.unwrap().members;
    assert!(matches!(&members[..], [one] if one.contains("one")), "{members:?}");
    let error = bus.forget_group(&group("g")).await.unwrap_err();
    assert!(matches!(error, Error::GroupActive { .. }), "{error:?}");
    reader.consumer.close().await;
}
