//! What a producer is promised.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use event_bus::{Batch, Book, Checkpoint, Mark, lines_in};

use super::{
    Backend, Sentence,
    reader::{Reader, append, batch, topic},
};

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

pub(super) const SENTENCES: &[Sentence] = &[
    ("a record arrives as it was appended", |b| Box::pin(arrives_as_appended(b))),
    ("records of one key keep their order", |b| Box::pin(keys_keep_their_order(b))),
    ("a checkpoint is what the appends made it", |b| Box::pin(checkpoint_is_kept(b))),
    ("a producer waits for the one before it", |b| Box::pin(a_second_producer_waits(b))),
    ("a book goes on from producer to producer", |b| Box::pin(book_goes_on(b))),
    ("producers of two names are apart", |b| Box::pin(names_are_apart(b))),
];

async fn arrives_as_appended(backend: &dyn Backend) {
    let mut sent = Batch::default();
    let headers = [("listener".to_owned(), "a".to_owned()), ("table".to_owned(), String::new())];
    let values: [&[u8]; 3] = [b"", b"{\"id\":1}", &[0, 255, 128]];
    for value in values {
        let start = sent.buffer().len();
        sent.buffer().extend_from_slice(value);
        let all = start..sent.buffer().len();
        sent.push(topic("a").into(), Some(headers.to_vec().into()), all.clone(), all);
    }
    sent.push_copy(&topic("a"), b"", b"no headers");
    append(&*backend.bus(), &sent).await;

    let mut reader = Reader::join(&*backend.bus(), "one").await;
    reader.read(4).await;
    for (value, sent) in values.iter().zip(sent.records()) {
        let delivery = reader.got.iter().find(|delivery| delivery.value == *value).unwrap();
        assert_eq!((&delivery.key[..], &*delivery.topic), (*value, sent.topic));
        assert_eq!(delivery.headers[..], headers);
    }
    let plain = reader.got.iter().find(|delivery| delivery.value == "no headers").unwrap();
    assert!(plain.key.is_empty() && plain.headers.is_empty());
}

async fn keys_keep_their_order(backend: &dyn Backend) {
    let bus = backend.bus();
    let mut reader = Reader::join(&*bus, "one").await;
    let (mut producer, _) = bus.producer("p").await.unwrap();
    for round in 0..20 {
        let records = (0..50).map(|i| (KEYS[i % 5], format!("{:04}", round * 50 + i)));
        producer.append(&batch("a", records), &[]).await.unwrap();
    }
    reader.read(1000).await;
    for key in KEYS {
        let of_key = reader.got.iter().filter(|delivery| delivery.key == key);
        let values: Vec<_> = of_key.map(|delivery| delivery.value.clone()).collect();
        assert_eq!(values.len(), 200);
        assert!(values.is_sorted(), "{key}: {values:?}");
    }
}

async fn checkpoint_is_kept(backend: &dyn Backend) {
    let bus = backend.bus();
    let (mut producer, checkpoint) = bus.producer("p").await.unwrap();
    assert!(checkpoint.is_empty());
    let set = |key: &str, value: &'static str| (key.to_owned(), Some(Bytes::from(value)));
    producer.append(&batch("a", [("k", "v".into())]), &[set("position", "1")]).await.unwrap();
    let changes = [set("position", "2"), set("schema/a", ""), set("task/1", "x")];
    producer.append(&Batch::default(), &changes).await.unwrap();
    producer.append(&Batch::default(), &[("task/1".to_owned(), None)]).await.unwrap();
    drop(producer);

    let kept = [("position".to_owned(), "2".into()), ("schema/a".to_owned(), "".into())];
    let kept = Checkpoint::from(kept);
    assert_eq!(bus.checkpoint("p").await.unwrap(), kept);
    assert!(bus.checkpoint("never-opened").await.unwrap().is_empty());
    let (_, checkpoint) = bus.producer("p").await.unwrap();
    assert_eq!(checkpoint, kept);
}

async fn a_second_producer_waits(backend: &dyn Backend) {
    let (mut first, _) = backend.bus().producer("p").await.unwrap();
    let set = |value: &'static str| [("position".to_owned(), Some(Bytes::from(value)))];
    first.append(&Batch::default(), &set("1")).await.unwrap();
    let other = backend.bus();
    let second = tokio::spawn(async move { other.producer("p").await });
    first.append(&Batch::default(), &set("2")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!second.is_finished());
    first.append(&Batch::default(), &set("3")).await.unwrap();
    drop(first);
    let (mut second, checkpoint) = second.await.unwrap().unwrap();
    assert_eq!(checkpoint["position"], "3");
    second.append(&Batch::default(), &set("4")).await.unwrap();
}

/// Of each partition: every mark says how many records were read before it.
async fn book_goes_on(backend: &dyn Backend) {
    const APPENDS: usize = 3;
    let bus = backend.bus();
    let mut reader = Reader::join(&*bus, "one").await;
    for life in 0..2 {
        let (mut producer, checkpoint) = bus.producer("p").await.unwrap();
        producer.keep_book(Book::open(&checkpoint).unwrap());
        for append in 0..APPENDS {
            let records = (0..40).map(|key| (KEYS[key % KEYS.len()], format!("{life} {append}")));
            producer.append(&batch("a", records), &[]).await.unwrap();
        }
        assert_eq!(producer.take_booked(), [(topic("a"), 40 * APPENDS as u64)]);
        drop(producer);
    }
    reader.read(2 * APPENDS * 40).await;
    let (mut counts, mut marks) = (BTreeMap::new(), 0);
    for delivery in &reader.got {
        let count: &mut u64 = counts.entry(delivery.partition.number).or_default();
        if let Some(mark) = Mark::among(&delivery.headers) {
            marks += 1;
            assert_eq!(mark.number, *count, "{delivery:?}");
        }
        *count += 1;
    }
    assert_eq!(marks, 2 * APPENDS * counts.len(), "one in each append and partition");
    let lines = lines_in(&bus.checkpoint("p").await.unwrap()).unwrap();
    let counted: Vec<u64> = lines[&topic("a")].plain.iter().copied().filter(|n| *n > 0).collect();
    assert_eq!(counted, counts.into_values().collect::<Vec<_>>());
}

async fn names_are_apart(backend: &dyn Backend) {
    let bus = backend.bus();
    let (mut one, _) = bus.producer("one").await.unwrap();
    let (mut two, _) = bus.producer("two").await.unwrap();
    let set = |value: &'static str| [("position".to_owned(), Some(Bytes::from(value)))];
    one.append(&batch("a", [("k", "1".into())]), &set("1")).await.unwrap();
    two.append(&batch("a", [("k", "2".into())]), &set("2")).await.unwrap();
    drop(one);
    assert_eq!(bus.producer("one").await.unwrap().1["position"], "1");
}
