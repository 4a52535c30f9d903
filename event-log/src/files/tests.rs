//! Logs on a real disk, read without their lock, damaged, cut and deleted.

mod archives;
mod damage;
mod reading;
mod running;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rand::{SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use super::*;
use crate::{
    Append, Appended, CheckpointChange, Error, Log, NewHeaders, NewRecord, ProducerSequence,
    Record, Start, StorageConfig, Stream,
    disk::{data_files, end_and_state, frame},
};

const DAY_MS: u64 = 86_400_000;
/// 2099-03-01, a moment before midnight: the log ends no day of a test by itself.
const BEFORE_MIDNIGHT: u64 = 4_076_092_799_000;

/// A log with small files.
struct TestLog {
    /// The time of the first day of `small`.
    today: u64,
    directory: TempDir,
    log: Log,
    stream: Stream,
}

impl TestLog {
    fn new(segment_bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = StorageConfig { segment_bytes, ..StorageConfig::new(directory.path()) };
        let log = Log::open(config).unwrap();
        let stream = log.stream("s").unwrap();
        Self { today: service::clock::now_ms(), directory, log, stream }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    async fn append(&self, payloads: &[String], now_ms: u64) -> Appended {
        self.append_as(None, payloads, &[], now_ms).await
    }

    async fn append_as(
        &self,
        producer: Option<ProducerSequence<'_>>,
        payloads: &[String],
        checkpoint: &[CheckpointChange],
        now_ms: u64,
    ) -> Appended {
        let headers = [("a".to_owned(), "b".to_owned())];
        let headers = NewHeaders::Text(&headers);
        let records = payloads.iter().map(|payload| {
            let payload = payload.as_bytes();
            NewRecord { kind: 1001, topic: "t", key: b"k", headers, payload }
        });
        let append = Append { producer, records, checkpoint };
        self.stream.append_at(append, now_ms).await.unwrap()
    }

    /// Two days, four files or more, batches of all sizes, and a producer with a checkpoint.
    async fn small() -> Self {
        let log = Self::new(500);
        let epoch = log.stream.open_producer("p").await.unwrap().epoch;
        // The producer was opened now, so the days of this log begin today.
        let today = log.today;
        for number in 0..14 {
            let payloads: Vec<String> =
                (0..number % 4).map(|it| format!("{number}.{it}")).collect();
            let change = ("place".to_owned(), Some(Bytes::from(number.to_string())));
            let sequence = ProducerSequence { name: "p", epoch, sequence: number + 1 };
            let day = if number < 8 { today } else { today + DAY_MS };
            log.append_as(Some(sequence), &payloads, &[change], day).await;
        }
        log
    }

    /// Closes the log; its directory stays.
    fn close(self) -> TempDir {
        let Self { directory, log, stream, .. } = self;
        drop((log, stream));
        directory
    }
}

/// Everything from a start to the end for now.
fn read_from(stream: &Path, start: Start) -> (Vec<Record>, Option<Error>) {
    match FileReader::open(stream, start) {
        Ok(mut reader) => read_on(&mut reader),
        Err(error) => (Vec::new(), Some(error)),
    }
}

fn read_on(reader: &mut FileReader) -> (Vec<Record>, Option<Error>) {
    let mut all = Vec::new();
    loop {
        match reader.read(700) {
            Ok(chunk) => {
                all.extend(chunk.records);
                if chunk.at_end {
                    return (all, None);
                }
            }
            Err(error) => return (all, Some(error)),
        }
    }
}

fn read_all(stream: &Path) -> Vec<Record> {
    let (records, error) = read_from(stream, Start::Earliest);
    assert!(error.is_none(), "{error:?}");
    records
}

fn payloads(records: &[Record]) -> Vec<String> {
    let text = |record: &Record| String::from_utf8(record.payload.to_vec()).unwrap();
    records.iter().map(text).collect()
}

fn check(stream: &Path) -> Result<Verified, Error> {
    verify(stream, &mut |_| ())
}

/// All files under a directory, by their relative names.
fn tree(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in data_files::names(directory).unwrap() {
        let path = directory.join(&name);
        if path.is_dir() {
            let below = tree(&path).into_iter();
            files.extend(below.map(|(file, content)| (format!("{name}/{file}"), content)));
        } else {
            files.insert(name, fs::read(path).unwrap());
        }
    }
    files
}

/// Writes such files.
fn plant(directory: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (name, content) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// The smaller number, or the larger one where `DBEVENT_TEST_SIZE=full`.
fn small_or_full(small: usize, full: usize) -> usize {
    let is_full = std::env::var("DBEVENT_TEST_SIZE").is_ok_and(|size| size == "full");
    if is_full { full } else { small }
}

/// A random generator that says how to repeat it.
fn random() -> StdRng {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

/// Where the last write group begins in a data file.
fn last_group(data: &[u8]) -> u64 {
    let (mut at, mut start) = (0, 0);
    while at < data.len() {
        let length = frame::length(&data[at..]).unwrap();
        let record = frame::decode(Bytes::copy_from_slice(&data[at..at + length])).unwrap();
        if record.kind == end_and_state::END {
            start = end_and_state::End::decode(record.payload).unwrap().group_start;
        }
        at += length;
    }
    start
}
