//! What subscribers that share their reads get, beside one that reads alone.

use prost::Message as _;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use super::{Delivering, Event, Reading, SharedReading};
use crate::{
    Append, Log, NewHeaders, NewRecord, Record, Start, StorageConfig, Stream, Subscribe,
    records::Records,
};

const READERS: usize = 5;

fn wanted(topics: &[&str]) -> Subscribe {
    Subscribe {
        group: String::new(),
        start: Start::Earliest,
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        kinds: Vec::new(),
        origins: Vec::new(),
        addressee: None,
        max_bytes: 2_000,
        client: "test".to_owned(),
    }
}

async fn append(stream: &Stream, count: usize, random: &mut StdRng) {
    let payloads: Vec<Vec<u8>> =
        (0..count).map(|_| vec![b'x'; random.random_range(0..300)]).collect();
    let record = |payload| {
        let topic = ["even", "odd"][random.random_range(0..2)];
        NewRecord { kind: 1001, topic, key: b"k", headers: NewHeaders::Text(&[]), payload }
    };
    let records: Vec<_> = payloads.iter().map(Vec::as_slice).map(record).collect();
    stream.append(Append { producer: None, records, checkpoint: &[] }).await.unwrap();
}

/// What comes next, as a client reads it.
async fn next(subscription: &mut Delivering<SharedReading>) -> (Vec<Record>, u64) {
    loop {
        let Event::Records { records: encoded, next_offset, end_offset } =
            subscription.next().await.unwrap()
        else {
            continue;
        };
        let sent = Records { encoded, next_offset, end_offset, ..Records::default() };
        let bytes = sent.encode_to_vec();
        assert_eq!(bytes.len(), sent.encoded_len());
        let got = Records::decode(&*bytes).unwrap();
        assert_eq!((got.next_offset, got.end_offset), (next_offset, end_offset));
        return (got.records, next_offset);
    }
}

/// All from the beginning to `end`, alone.
async fn read_alone(stream: &Stream, topics: &[&str], end: u64) -> Vec<Record> {
    let mut subscription = stream.subscribe(wanted(topics)).unwrap();
    let mut all = Vec::new();
    loop {
        if let Event::Records { records, next_offset, .. } = subscription.next().await.unwrap() {
            all.extend(records);
            if next_offset >= end {
                return all;
            }
        }
    }
}

fn open(directory: &TempDir) -> (Log, Stream) {
    // Many small files.
    let config = StorageConfig { segment_bytes: 4_000, ..StorageConfig::new(directory.path()) };
    let log = Log::open(config).unwrap();
    let stream = log.stream("s").unwrap();
    (log, stream)
}

#[tokio::test]
async fn each_subscriber_gets_what_one_alone_gets_however_far_behind() {
    let seed = rand::random();
    println!("TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let (_log, stream) = open(&directory);
    let filters: [&[&str]; 3] = [&[], &["odd"], &["even"]];
    let topics = |reader: usize| filters[reader % 4 % 3];
    let subscribed = |reader| stream.deliver(wanted(topics(reader))).unwrap();
    let mut readers: Vec<_> =
        (0..READERS).map(|reader| (subscribed(reader), Vec::new(), 0)).collect();
    for _ in 0..200 {
        append(&stream, random.random_range(1..10), &mut random).await;
        for _ in 0..random.random_range(0..8) {
            let (subscription, got, at) = &mut readers[random.random_range(0..READERS)];
            if *at < stream.state().next_offset {
                let (records, next_offset) = next(subscription).await;
                got.extend(records);
                *at = next_offset;
            }
        }
    }
    let end = stream.state().next_offset;
    for (number, (mut subscription, mut got, mut at)) in readers.into_iter().enumerate() {
        while at < end {
            let (records, next_offset) = next(&mut subscription).await;
            got.extend(records);
            at = next_offset;
        }
        assert_eq!(got, read_alone(&stream, topics(number), end).await, "reader {number}");
    }
}

#[tokio::test]
async fn what_comes_is_read_once_and_kept_only_while_somebody_is_behind() {
    let mut random = StdRng::seed_from_u64(1);
    let directory = tempfile::tempdir().unwrap();
    let (_log, stream) = open(&directory);
    append(&stream, 100, &mut random).await;
    let chunks = &stream.shared.chunks;
    let mut first = SharedReading::begin(&stream, crate::RecordFilter::default(), 0, 2_000);
    let (alone, _) = first.read().await.unwrap();
    assert_eq!(chunks.kept(), 0, "there is nobody else");
    let mut second = SharedReading::begin(&stream, crate::RecordFilter::default(), 0, 2_000);
    assert_eq!(second.read().await.unwrap().0, alone);
    let (one, other) = tokio::join!(first.read(), second.read());
    let (one, other) = (one.unwrap().0, other.unwrap().0);
    assert_eq!(one.as_ptr(), other.as_ptr(), "both have the same bytes");
    while first.offset() < Some(stream.state().next_offset) {
        first.read().await.unwrap();
    }
    first.rest();
    assert!(chunks.kept() > 0, "the second is behind");
    drop(second);
    assert_eq!(chunks.kept(), 0);
}
