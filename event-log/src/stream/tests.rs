//! Streams on a real disk, with times of the test's choosing.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use super::*;
use crate::{
    Event, Log, NewHeaders, OnFull, ProducerSequence, Start, StorageConfig, Subscribe,
    Subscription, disk::data_files, retention,
};

const DAY_MS: u64 = 86_400_000;
/// 2099-03-01, a moment before midnight: the log ends no day of a test by itself.
const BEFORE_MIDNIGHT: u64 = 4_076_092_799_000;

fn config(directory: &TempDir) -> StorageConfig {
    StorageConfig::new(directory.path())
}

fn open(config: &StorageConfig) -> (Log, Stream) {
    let log = Log::open(config.clone()).unwrap();
    let stream = log.stream("s").unwrap();
    (log, stream)
}

fn record(payload: &[u8]) -> NewRecord<'_> {
    let headers = NewHeaders::Text(&[]);
    NewRecord { kind: 1001, topic: "t", key: b"k", headers, payload }
}

async fn append_at(stream: &Stream, payloads: &[&str], now_ms: u64) -> Appended {
    let records = payloads.iter().map(|payload| record(payload.as_bytes()));
    let append = Append { producer: None, records, checkpoint: &[] };
    stream.append_at(append, now_ms).await.unwrap()
}

async fn append(stream: &Stream, payloads: &[&str]) -> Appended {
    append_at(stream, payloads, now_ms()).await
}

fn subscribe(group: &str, start: Start) -> Subscribe {
    Subscribe {
        group: group.to_owned(),
        start,
        topics: Vec::new(),
        kinds: Vec::new(),
        origins: Vec::new(),
        addressee: None,
        max_bytes: 0,
        client: "test".to_owned(),
    }
}

/// Everything from `start` to the end: payloads, and the offset after them.
async fn read(stream: &Stream, start: Start) -> Result<(Vec<String>, u64), Error> {
    read_as(stream, subscribe("", start)).await
}

async fn read_as(stream: &Stream, wanted: Subscribe) -> Result<(Vec<String>, u64), Error> {
    let mut subscription = stream.subscribe(wanted)?;
    let mut payloads = Vec::new();
    loop {
        if let Event::Records { records, next_offset, end_offset } = subscription.next().await? {
            let text = |record: crate::Record| String::from_utf8(record.payload.to_vec()).unwrap();
            payloads.extend(records.into_iter().map(text));
            if next_offset == end_offset {
                return Ok((payloads, next_offset));
            }
        }
    }
}

/// A member that is the active one, and its id.
async fn member(stream: &Stream, group: &str) -> (Subscription, u64) {
    let mut subscription = stream.subscribe(subscribe(group, Start::Earliest)).unwrap();
    match subscription.next().await.unwrap() {
        Event::Assigned { member, .. } => (subscription, member),
        Event::Records { .. } => panic!("records before the assignment"),
    }
}

fn data_files(directory: &Path) -> Vec<PathBuf> {
    let stream = directory.join("s");
    data_files::list(&stream).unwrap().into_iter().map(|id| id.data(&stream)).collect()
}

#[tokio::test]
async fn what_was_appended_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let (log, stream) = open(&config(&directory));
    let appended = append(&stream, &["a", "b"]).await;
    // Offset 0 is the state that begins the file.
    let expected = Appended { first_offset: 1, last_offset: 2, next_offset: 4, duplicate: false };
    assert_eq!(appended, expected);
    append(&stream, &[]).await;
    append(&stream, &["c"]).await;
    drop((log, stream));
    let (_log, stream) = open(&config(&directory));
    let (payloads, end) = read(&stream, Start::Earliest).await.unwrap();
    assert_eq!((payloads, end), (vec!["a".into(), "b".into(), "c".into()], 7));
    assert_eq!(read(&stream, Start::Offset(2)).await.unwrap().0, ["b", "c"]);
}

#[tokio::test]
async fn a_day_never_goes_back_with_the_clock() {
    let directory = tempfile::tempdir().unwrap();
    let (log, stream) = open(&config(&directory));
    append_at(&stream, &["before"], BEFORE_MIDNIGHT).await;
    append_at(&stream, &["after"], BEFORE_MIDNIGHT + 2000).await;
    append_at(&stream, &["clock went back"], BEFORE_MIDNIGHT - DAY_MS).await;
    let days = || {
        let mut names = data_files::names(&directory.path().join("s")).unwrap();
        names.retain(|name| name.starts_with("20"));
        names.sort();
        names
    };
    assert_eq!(days(), ["20990301", "20990302"]);
    let finish = |day: &str| directory.path().join("s").join(day).join("finish").exists();
    assert!(finish("20990301") && !finish("20990302"));
    drop((log, stream));

    let (_log, stream) = open(&config(&directory));
    append_at(&stream, &["still back"], BEFORE_MIDNIGHT - DAY_MS).await;
    assert_eq!(days(), ["20990301", "20990302"]);
    let (payloads, _) = read(&stream, Start::Earliest).await.unwrap();
    assert_eq!(payloads, ["before", "after", "clock went back", "still back"]);
    let (since, _) = read(&stream, Start::Time(BEFORE_MIDNIGHT + 1)).await.unwrap();
    assert_eq!(since, ["after", "clock went back", "still back"]);
}

#[tokio::test]
async fn a_file_is_found_by_offset_and_time_and_its_index_is_mended() {
    let directory = tempfile::tempdir().unwrap();
    let config = StorageConfig { segment_bytes: 200_000, ..config(&directory) };
    let (log, stream) = open(&config);
    let payload = "x".repeat(1000);
    let mut places = Vec::new();
    for number in 0..1000 {
        let now_ms = BEFORE_MIDNIGHT - 1_000_000 + number * 1000;
        let payload = format!("{number}{payload}");
        places.push((append_at(&stream, &[&payload], now_ms).await.first_offset, now_ms));
    }
    drop((log, stream));
    let files = data_files(directory.path());
    assert!(files.len() > 4, "{files:?}");
    let index = files[0].with_file_name("index");
    let right = fs::read(&index).unwrap();
    assert!(right.len() > 32 * 2 * files.len());

    let damaged = [right[..right.len() / 2].to_vec(), vec![7; right.len()], Vec::new()];
    for index_bytes in damaged {
        fs::write(&index, index_bytes).unwrap();
        let (_log, stream) = open(&config);
        assert!(fs::read(&index).unwrap() == right, "the index follows from the data");
        for (number, (offset, now_ms)) in places.iter().enumerate().step_by(97) {
            for start in [Start::Offset(*offset), Start::Time(*now_ms)] {
                let (payloads, _) = read(&stream, start).await.unwrap();
                assert_eq!(payloads.len(), 1000 - number, "{start:?}");
            }
        }
    }
}

/// A file of three batches, each a group of its own, and where each ends.
async fn three_batches(directory: &TempDir) -> (PathBuf, Vec<u8>, Vec<usize>) {
    let (log, stream) = open(&config(directory));
    let opened = stream.open_producer("p").await.unwrap();
    let path = data_files(directory.path()).remove(0);
    let mut ends = Vec::new();
    for sequence in 1..=3 {
        let producer = Some(ProducerSequence { name: "p", epoch: opened.epoch, sequence });
        let texts = [format!("{sequence}a"), format!("{sequence}b")];
        let records = texts.iter().map(|text| record(text.as_bytes()));
        let checkpoint = [("position".to_owned(), Some(sequence.to_string().into()))];
        let append = Append { producer, records, checkpoint: &checkpoint };
        stream.append(append).await.unwrap();
        ends.push(usize::try_from(fs::metadata(&path).unwrap().len()).unwrap());
    }
    drop((opened, log, stream));
    let bytes = fs::read(&path).unwrap();
    (path, bytes, ends)
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_costs_the_last_batch_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let (path, bytes, ends) = three_batches(&directory).await;
    for length in ends[1]..=ends[2] {
        fs::write(&path, &bytes[..length]).unwrap();
        let (_log, stream) = open(&config(&directory));
        let whole = if length == ends[2] { 3 } else { 2 };
        let (payloads, _) = read(&stream, Start::Earliest).await.unwrap();
        assert_eq!(payloads.len(), 2 * whole, "cut at {length}");
        let opened = stream.open_producer("p").await.unwrap();
        assert_eq!(opened.checkpoint["position"], whole.to_string());
    }
}

#[tokio::test]
async fn pages_of_the_last_group_that_were_not_written_cost_that_group_only() {
    let directory = tempfile::tempdir().unwrap();
    let (path, bytes, ends) = three_batches(&directory).await;
    for from in ends[1]..ends[2] {
        let mut torn = bytes.clone();
        torn[from..ends[2]].fill(0);
        fs::write(&path, torn).unwrap();
        let (_log, stream) = open(&config(&directory));
        let (payloads, _) = read(&stream, Start::Earliest).await.unwrap();
        assert!(payloads.len() == 4 || bytes[from..] == vec![0; bytes.len() - from], "{from}");
    }
}

#[tokio::test]
async fn a_flipped_byte_in_what_was_durable_is_refused_with_file_and_position() {
    let directory = tempfile::tempdir().unwrap();
    let (path, bytes, ends) = three_batches(&directory).await;
    for at in 0..ends[1] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        fs::write(&path, &flipped).unwrap();
        match Log::open(config(&directory)) {
            Err(Error::Damaged { file, position, .. }) => {
                assert_eq!(file, path);
                assert!(usize::try_from(position).unwrap() <= at, "{position} for {at}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), flipped, "nothing is cut");
    }
}

#[tokio::test]
async fn a_flipped_byte_in_a_closed_file_stops_its_reader_there() {
    let directory = tempfile::tempdir().unwrap();
    let config = StorageConfig { segment_bytes: 200, ..config(&directory) };
    let (log, stream) = open(&config);
    for text in ["one", "two", "three"] {
        append(&stream, &[text]).await;
    }
    drop((log, stream));
    let files = data_files(directory.path());
    let mut bytes = fs::read(&files[0]).unwrap();
    let at = bytes.len() - 70;
    bytes[at] ^= 1;
    fs::write(&files[0], bytes).unwrap();
    let (_log, stream) = open(&config);
    let error = read(&stream, Start::Earliest).await.unwrap_err();
    assert!(matches!(error, Error::Damaged { file, .. } if file == files[0]));
}

#[tokio::test]
async fn a_group_that_is_beyond_the_end_proves_a_loss() {
    let directory = tempfile::tempdir().unwrap();
    let (path, bytes, ends) = three_batches(&directory).await;
    let (log, stream) = open(&config(&directory));
    let (subscription, id) = member(&stream, "g").await;
    stream.commit("g", id, stream.state().next_offset).await.unwrap();
    drop((subscription, log, stream));
    fs::write(&path, &bytes[..ends[1]]).unwrap();
    let error = Log::open(config(&directory)).unwrap_err().to_string();
    assert!(error.contains("group g") && error.contains("missing"), "{error}");
}

#[tokio::test]
async fn checkpoints_and_sequences_outlive_the_files_they_were_written_in() {
    let directory = tempfile::tempdir().unwrap();
    let config = StorageConfig { segment_bytes: 300, ..config(&directory) };
    let (log, stream) = open(&config);
    let opened = stream.open_producer("p").await.unwrap();
    let checkpoint = [("position".to_owned(), Some("1".into()))];
    let producer = Some(ProducerSequence { name: "p", epoch: opened.epoch, sequence: 1 });
    let batch = || Append { producer, records: [record(b"once")], checkpoint: &checkpoint };
    stream.append(batch()).await.unwrap();
    for _ in 0..10 {
        append(&stream, &["filler"]).await;
    }
    retention::expire(&stream.shared, Duration::ZERO, now_ms() + DAY_MS);
    assert_eq!(data_files(directory.path()).len(), 1);
    drop((opened, log, stream));

    let (_log, stream) = open(&config);
    assert!(stream.append(batch()).await.unwrap().duplicate);
    let gap = ProducerSequence { name: "p", epoch: 1, sequence: 3 };
    let error = stream.append(Append { producer: Some(gap), ..batch() }).await.unwrap_err();
    assert!(matches!(error, Error::SequenceGap { expected: 2, .. }), "{error}");
    let opened = stream.open_producer("p").await.unwrap();
    assert_eq!((opened.epoch, &opened.checkpoint["position"][..]), (2, &b"1"[..]));
    let error = stream.append(batch()).await.unwrap_err();
    assert!(matches!(error, Error::Fenced(_)), "{error}");
}

#[tokio::test]
async fn age_deletes_whole_files_but_not_what_a_group_still_needs() {
    let directory = tempfile::tempdir().unwrap();
    let config = StorageConfig { segment_bytes: 200, ..config(&directory) };
    let (_log, stream) = open(&config);
    let (_subscription, id) = member(&stream, "g").await;
    for day in 0..4 {
        append_at(&stream, &["x"], BEFORE_MIDNIGHT + day * DAY_MS).await;
    }
    let files = || data_files(directory.path()).len();
    let expire = |days: u64| {
        let retention = Duration::from_millis(days * DAY_MS);
        retention::expire(&stream.shared, retention, BEFORE_MIDNIGHT + 4 * DAY_MS);
    };
    expire(0);
    assert_eq!(files(), 4, "the group has read nothing");
    stream.commit("g", id, stream.state().next_offset).await.unwrap();
    expire(3);
    assert_eq!(files(), 3, "only the first file is of a day that ended three days ago");
    expire(0);
    assert_eq!(files(), 1, "the last file stays");
    let error = read(&stream, Start::Offset(1)).await.unwrap_err();
    let first = stream.state().first_offset;
    assert!(matches!(error, Error::OffsetGone { offset: 1, first: f } if f == first), "{error}");
}

#[tokio::test]
async fn at_max_bytes_what_nobody_needs_goes_first_and_then_appends_stop() {
    let directory = tempfile::tempdir().unwrap();
    let config = StorageConfig { segment_bytes: 2000, max_bytes: 10_000, ..config(&directory) };
    let (_log, stream) = open(&config);
    let payload = "x".repeat(500);
    for _ in 0..50 {
        append(&stream, &[&payload]).await;
    }
    assert!(stream.state().bytes < 11_000 && stream.state().first_offset > 0);

    let (_subscription, id) = member(&stream, "slow").await;
    let batch =
        || Append { producer: None, records: [record(payload.as_bytes())], checkpoint: &[] };
    let mut refused = None;
    for _ in 0..50 {
        refused = stream.append(batch()).await.err().or(refused);
    }
    let message = refused.expect("the group holds back retention").to_string();
    assert!(message.contains("group slow of stream s"), "{message}");
    let opened = stream.open_producer("p").await.unwrap();
    let producer = Some(ProducerSequence { name: "p", epoch: opened.epoch, sequence: 1 });
    let checkpoint = [("key".to_owned(), Some(bytes::Bytes::from("value")))];
    let no_records = Append { producer, records: [], checkpoint: &checkpoint };
    stream.append(no_records).await.expect("a checkpoint alone is taken");
    stream.commit("slow", id, stream.state().next_offset).await.unwrap();
    stream.append(batch()).await.unwrap();
}

#[tokio::test]
async fn drop_oldest_tells_the_group_what_it_lost() {
    let directory = tempfile::tempdir().unwrap();
    let config = StorageConfig {
        segment_bytes: 2000,
        max_bytes: 10_000,
        on_full: OnFull::DropOldest,
        ..config(&directory)
    };
    let (_log, stream) = open(&config);
    let (subscription, _) = member(&stream, "slow").await;
    drop(subscription);
    for _ in 0..50 {
        append(&stream, &["x".repeat(500).as_str()]).await;
    }
    let (mut subscription, _) = member(&stream, "slow").await;
    let error = subscription.next().await.unwrap_err();
    assert!(matches!(error, Error::OffsetGone { offset: 0, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_appends_at_once_share_syncs_and_keep_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let (_log, stream) = open(&config(&directory));
    let appending: Vec<_> = (0..500)
        .map(|number| {
            let stream = stream.clone();
            tokio::spawn(async move {
                let text = number.to_string();
                (append(&stream, &[&text]).await.first_offset, text)
            })
        })
        .collect();
    let mut expected = Vec::new();
    for append in appending {
        expected.push(append.await.unwrap());
    }
    expected.sort();
    let expected: Vec<String> = expected.into_iter().map(|(_, text)| text).collect();
    assert_eq!(read(&stream, Start::Earliest).await.unwrap().0, expected);
}

#[tokio::test]
async fn a_rejected_batch_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let (log, stream) = open(&config(&directory));
    append(&stream, &["a"]).await;
    let own = NewRecord { kind: 5, ..record(b"x") };
    let batch = Append { producer: None, records: [record(b"lost"), own], checkpoint: &[] };
    let error = stream.append(batch).await.unwrap_err();
    assert!(matches!(error, Error::Rejected(_)), "{error}");
    append(&stream, &["b"]).await;
    drop((log, stream));
    let (_log, stream) = open(&config(&directory));
    assert_eq!(read(&stream, Start::Earliest).await.unwrap().0, ["a", "b"]);
}

#[test]
fn a_stream_cannot_be_named_so_that_it_leaves_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(config(&directory)).unwrap();
    for name in ["", ".", "..", "a/b", "/etc", ".hidden", &"x".repeat(65)] {
        assert!(matches!(log.stream(name), Err(Error::Rejected(_))), "{name}");
    }
}

#[tokio::test]
async fn what_is_addressed_to_others_is_left_out() {
    let directory = TempDir::new().unwrap();
    let (_log, stream) = open(&config(&directory));
    let headers = [None, Some("me"), Some("you")].map(|to| {
        let to = to.map(|to| ("listener".to_owned(), to.to_owned()));
        to.into_iter().collect::<Vec<_>>()
    });
    let records = headers.iter().zip([b"all", b"me ", b"you"]).map(|(headers, payload)| {
        NewRecord { headers: NewHeaders::Text(headers), ..record(payload) }
    });
    stream.append(Append { producer: None, records, checkpoint: &[] }).await.unwrap();
    let addressee = Some(("listener".to_owned(), "me".into()));
    let wanted = Subscribe { addressee, ..subscribe("", Start::Earliest) };
    let (payloads, next) = read_as(&stream, wanted).await.unwrap();
    assert_eq!(payloads, ["all", "me "]);
    assert_eq!(next, stream.state().next_offset, "what is left out is passed");
    assert_eq!(read(&stream, Start::Earliest).await.unwrap().0.len(), 3);
}
