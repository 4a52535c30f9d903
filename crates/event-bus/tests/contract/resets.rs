//! Setting a group to another place.

use std::time::{Duration, SystemTime};

use event_bus::{Bus, Error, Reset, ResetTo, Start};

use super::{
    Backend, Sentence,
    reader::{Reader, append, batch, group, tables},
};

pub(super) const SENTENCES: &[Sentence] = &[
    ("a group that is reset goes on where it was set", |b| Box::pin(set(b))),
    ("a reset to a time goes to the first record since", |b| Box::pin(time(b))),
    ("a plan changes nothing and stays within what is there", |b| Box::pin(planned(b))),
    ("a group with a member is not reset", |b| Box::pin(active(b))),
    ("a group that never ran begins where it is set", |b| Box::pin(unknown(b))),
];

async fn plan(bus: &dyn Bus, to: ResetTo) -> Vec<Reset> {
    bus.plan_reset(&group("g"), &tables("*"), to).await.unwrap()
}

/// Sets the group, as soon as the bus has seen that its last member is gone.
async fn reset(bus: &dyn Bus, to: ResetTo) {
    let resets = plan(bus, to).await;
    loop {
        match bus.reset(&group("g"), &resets).await {
            Ok(()) => return,
            Err(Error::GroupActive { group }) if *group == *super::reader::group("g") => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads so many records as a new member, commits, and leaves.
async fn handle(bus: &dyn Bus, count: usize) -> Vec<String> {
    let mut reader = Reader::join(bus, "one").await;
    reader.assigned().await;
    reader.read(count).await;
    assert_eq!(reader.more().await, 0);
    reader.commit().await.unwrap();
    let values = reader.values();
    reader.consumer.close().await;
    values
}

fn values(range: std::ops::Range<u32>) -> impl Iterator<Item = (&'static str, String)> {
    range.map(|number| ("k", number.to_string()))
}

async fn set(backend: &dyn Backend) {
    let bus = &*backend.bus();
    append(bus, &batch("a", values(0..3))).await;
    handle(bus, 3).await;
    reset(bus, ResetTo::Earliest).await;
    assert_eq!(handle(bus, 3).await, ["0", "1", "2"]);
    append(bus, &batch("a", values(3..5))).await;
    reset(bus, ResetTo::Latest).await;
    append(bus, &batch("a", values(5..6))).await;
    assert_eq!(handle(bus, 1).await, ["5"]);
    reset(bus, ResetTo::Earliest).await;
    let mut reader = Reader::join(bus, "one").await;
    reader.read(6).await;
    let offset = reader.got[4].offset;
    reader.consumer.close().await;
    reset(bus, ResetTo::Offset(offset)).await;
    assert_eq!(handle(bus, 2).await, ["4", "5"]);
}

async fn time(backend: &dyn Backend) {
    let bus = &*backend.bus();
    append(bus, &batch("a", values(0..2))).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let since = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    append(bus, &batch("a", values(2..4))).await;
    handle(bus, 4).await;
    reset(bus, ResetTo::Time(since)).await;
    assert_eq!(handle(bus, 2).await, ["2", "3"]);
    reset(bus, ResetTo::Time(since + Duration::from_secs(3600))).await;
    append(bus, &batch("a", values(4..5))).await;
    assert_eq!(handle(bus, 1).await, ["4"]);
}

async fn planned(backend: &dyn Backend) {
    let bus = &*backend.bus();
    append(bus, &batch("a", values(0..3))).await;
    handle(bus, 3).await;
    let before = bus.progress(&group("g"), &tables("*")).await.unwrap();
    let latest = plan(bus, ResetTo::Latest).await;
    assert_eq!(latest.len(), before.len());
    for (reset, at) in latest.iter().zip(&before) {
        assert_eq!((&reset.partition, reset.from), (&at.partition, at.committed));
        assert_eq!(reset.to, at.end);
    }
    let earliest = plan(bus, ResetTo::Earliest).await;
    assert_eq!(plan(bus, ResetTo::Offset(u64::MAX >> 1)).await, latest);
    assert_eq!(plan(bus, ResetTo::Offset(0)).await, earliest);
    assert!(earliest.iter().all(|reset| reset.to == 0), "{earliest:?}");
    let after = bus.progress(&group("g"), &tables("*")).await.unwrap();
    assert!(before.iter().map(|at| at.committed).eq(after.iter().map(|at| at.committed)));
}

async fn active(backend: &dyn Backend) {
    let bus = &*backend.bus();
    append(bus, &batch("a", values(0..3))).await;
    let mut reader = Reader::join(bus, "one").await;
    reader.read(3).await;
    reader.commit().await.unwrap();
    let resets = plan(bus, ResetTo::Earliest).await;
    let error = bus.reset(&group("g"), &resets).await.unwrap_err();
    assert!(
        matches!(&error, Error::GroupActive { group } if *group == *super::reader::group("g")),
        "{error}"
    );
    assert!(!error.is_transient());
    append(bus, &batch("a", values(3..4))).await;
    reader.read(4).await;
    reader.commit().await.unwrap();
    let progress = bus.progress(&group("g"), &tables("*")).await.unwrap();
    let has_lost = progress.iter().zip(&resets).any(|(at, reset)| at.committed < reset.from);
    assert!(!has_lost, "{progress:?}");
}

async fn unknown(backend: &dyn Backend) {
    let bus = &*backend.bus();
    append(bus, &batch("a", values(0..3))).await;
    let resets = plan(bus, ResetTo::Latest).await;
    assert!(!resets.is_empty() && resets.iter().all(|reset| reset.from.is_none()), "{resets:?}");
    bus.reset(&group("g"), &resets).await.unwrap();
    append(bus, &batch("a", values(3..4))).await;
    let mut reader = Reader::join_from(bus, "one", Start::Earliest).await;
    reader.read(1).await;
    assert_eq!(reader.values(), ["3"]);
}
