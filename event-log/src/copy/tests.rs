//! A server, its copies and copies of these, in one process, with times of the test's choosing.

mod power_cut;
mod promotion;

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::mirror::{Mirror, MirrorOptions, OnGone};
use crate::{
    Append, Client, ClientConfig, Compress, CopyOf, Error, Event, Log, NewHeaders, NewRecord,
    ProducerSequence, Server, ServerConfig, Start, StorageConfig, Stream, Subscribe, queue,
    retention,
    tail::{Tail, WriteGroup},
};

const DAY_MS: u64 = 86_400_000;
/// 2099-03-01, a moment before midnight: the log ends no day of a test by itself.
const BEFORE_MIDNIGHT: u64 = 4_076_092_799_000;
const DEADLINE: Duration = Duration::from_secs(60);

/// A log that is served; it ends with this.
struct Served {
    log: Log,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(log: Log) -> Served {
    let address = "127.0.0.1:0".to_owned();
    let config = ServerConfig { address, token: None, tls: None, clients: Vec::new() };
    let server = Server::bind(log.clone(), config).await.unwrap();
    let (address, stop) = (server.address(), CancellationToken::new());
    tokio::spawn(server.serve(stop.clone()));
    Served { log, address, stop }
}

fn storage(directory: &TempDir) -> StorageConfig {
    StorageConfig { segment_bytes: 20_000, ..StorageConfig::new(directory.path()) }
}

async fn source(directory: &TempDir) -> (Served, Stream) {
    let served = serve(Log::open(storage(directory)).unwrap()).await;
    let stream = served.log.stream("s").unwrap();
    (served, stream)
}

fn options(name: &str) -> MirrorOptions {
    MirrorOptions { name: name.to_owned(), start_days: None, on_gone: OnGone::Stop }
}

/// A copy that follows until it is ended.
struct Copy {
    stop: CancellationToken,
    ended: JoinHandle<Result<(), Error>>,
    log: Log,
    stream: Stream,
}

fn follow(source: SocketAddr, config: StorageConfig, options: MirrorOptions) -> Copy {
    let log = Log::open(config).unwrap();
    let client = Client::new(&ClientConfig {
        address: source.to_string(),
        token: None,
        ca_file: None,
        identity: None,
        compress: Compress::Off,
    });
    let of = CopyOf { address: source.to_string(), stream: "s".to_owned() };
    let mirror = Mirror::open(&log, client.unwrap(), of, options).unwrap();
    let (stop, stream) = (CancellationToken::new(), log.known("s").unwrap());
    let stopped = stop.clone();
    let ended = tokio::spawn(async move { mirror.run(&stopped).await });
    Copy { stop, ended, log, stream }
}

impl Copy {
    async fn until(&self, end: u64) {
        let mut ends = self.stream.shared.watch_end();
        let reached = ends.wait_for(|reached| *reached >= end);
        let reached = tokio::time::timeout(DEADLINE, reached).await;
        assert!(reached.is_ok(), "{:?} of {end}", self.stream.copy_state());
    }

    async fn end(self) -> Result<(), Error> {
        self.stop.cancel();
        self.ended.await.unwrap()
    }

    /// Waits until it ends by itself, and says why.
    async fn problem(self) -> Error {
        tokio::time::timeout(DEADLINE, self.ended).await.unwrap().unwrap().unwrap_err()
    }
}

/// Appends batches: of a producer with a checkpoint, and of nobody.
async fn fill(stream: &Stream, random: &mut StdRng, (batches, now_ms): (u32, u64)) {
    let open = |tail: &mut Tail, group: &mut WriteGroup| tail.open_producer(group, "p");
    let (durable, (epoch, _)) = stream.shared.queue.put(now_ms, open).unwrap();
    queue::wait(durable).await.unwrap();
    let mut sequence = 0;
    for number in 0..batches {
        let payload = vec![u8::try_from(number % 251).unwrap(); random.random_range(0..2000)];
        let record = NewRecord {
            kind: 1001,
            topic: "t",
            key: b"k",
            headers: NewHeaders::Text(&[]),
            payload: &payload,
        };
        let records = vec![record; random.random_range(0..5)];
        let is_named = random.random_bool(0.5);
        sequence += u64::from(is_named);
        let name = ProducerSequence { name: "p", epoch, sequence };
        let change = [(format!("place-{}", number % 7), Some(payload.clone().into()))];
        let append = Append {
            producer: is_named.then_some(name),
            records,
            checkpoint: if is_named { &change } else { &[] },
        };
        stream.append_at(append, now_ms).await.unwrap();
    }
}

/// Every file of every day, with its content.
fn days(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for day in fs::read_dir(directory.join("s")).unwrap().map(Result::unwrap) {
        if day.path().is_dir() {
            for file in fs::read_dir(day.path()).unwrap().map(Result::unwrap) {
                let name = format!("{:?}/{:?}", day.file_name(), file.file_name());
                files.insert(name, fs::read(file.path()).unwrap());
            }
        }
    }
    files
}

fn assert_same(one: &TempDir, other: &TempDir) {
    let (one, other) = (days(one.path()), days(other.path()));
    assert!(one.keys().eq(other.keys()), "{:?} {:?}", one.keys(), other.keys());
    let different = one.iter().find(|(name, content)| other[*name] != **content);
    assert!(different.is_none(), "{:?}", different.map(|(name, _)| name));
}

/// Whether the copy has every data file that is there.
fn assert_has(copy: &TempDir, original: &TempDir) {
    let (copied, kept) = (days(copy.path()), days(original.path()));
    // An index names files that were deleted, too.
    let mut kept = kept.iter().filter(|(name, _)| !name.contains("index"));
    let different = kept.find(|(name, content)| copied[*name] != **content);
    assert!(different.is_none(), "{:?}", different.map(|(name, _)| name));
}

fn new() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn seeded() -> StdRng {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_copies_are_the_same_over_midnights() {
    let mut random = seeded();
    let (at, first_at, second_at) = (new(), new(), new());
    let (source, stream) = source(&at).await;
    fill(&stream, &mut random, (40, BEFORE_MIDNIGHT)).await;
    let first = follow(source.address, storage(&first_at), options("first"));
    let relayed = serve(first.log.clone()).await;
    let second = follow(relayed.address, storage(&second_at), options("second"));
    for day in 1..3 {
        fill(&stream, &mut random, (40, BEFORE_MIDNIGHT + day * DAY_MS)).await;
    }
    second.until(stream.state().next_offset).await;
    assert!(days(at.path()).len() > 9, "three days, each with an index");
    assert_same(&at, &first_at);
    assert_same(&at, &second_at);
    first.end().await.unwrap();
    second.end().await.unwrap();
}

/// Ends the day, as soon as the writer has told that all is written.
async fn end_day(stream: &Stream, now_ms: u64) {
    let ended = async {
        while !stream.shared.queue.with_tail(|tail| tail.is_day_over) {
            stream.shared.end_day(now_ms).unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, ended).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_over_is_complete_without_a_next_one_and_takes_nothing_more() {
    let mut random = seeded();
    let (at, copy_at) = (new(), new());
    let (source, stream) = source(&at).await;
    let copy = follow(source.address, storage(&copy_at), options("copy"));
    fill(&stream, &mut random, (3, BEFORE_MIDNIGHT)).await;
    stream.shared.end_day(BEFORE_MIDNIGHT).unwrap();
    let finish = |at: &TempDir| at.path().join("s/20990301/finish").exists();
    assert!(!finish(&at), "it is not over");
    end_day(&stream, BEFORE_MIDNIGHT + 2000).await;
    assert!(finish(&at));
    let marked = async {
        while !finish(&copy_at) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, marked).await.unwrap();
    assert_same(&at, &copy_at);
    // The clock goes back; also after a restart.
    fill(&stream, &mut random, (1, BEFORE_MIDNIGHT)).await;
    end_day(&stream, BEFORE_MIDNIGHT + DAY_MS + 2000).await;
    copy.until(stream.state().next_offset).await;
    copy.end().await.unwrap();
    drop((source, stream));
    let log = relog(&at).await;
    let stream = log.stream("s").unwrap();
    fill(&stream, &mut random, (1, BEFORE_MIDNIGHT)).await;
    let files = days(at.path()).into_keys().filter(|name| name.contains("data"));
    let files: Vec<_> = files.map(|name| name.replace('"', "")).collect();
    assert_eq!(files, ["20990301/data000000", "20990302/data000000", "20990303/data000000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_crash_left_of_its_last_file_a_copy_becomes_the_same_again() {
    let mut random = seeded();
    let (at, copy_at) = (new(), new());
    let (source, stream) = source(&at).await;
    for round in 0..20 {
        fill(&stream, &mut random, (10, BEFORE_MIDNIGHT + round * DAY_MS / 5)).await;
        let copy = follow(source.address, storage(&copy_at), options("copy"));
        copy.until(stream.state().next_offset).await;
        copy.end().await.unwrap();
        // Any byte may be another one, and any part of the end may be missing.
        let newest = days(copy_at.path()).into_keys().filter(|name| name.contains("data")).max();
        let path = copy_at.path().join("s").join(newest.unwrap().replace('"', ""));
        let mut bytes = fs::read(&path).unwrap();
        if random.random_bool(0.5) {
            let at = random.random_range(0..bytes.len());
            bytes[at] ^= 1 << random.random_range(0..8);
        }
        let left = random.random_range(0..=bytes.len());
        bytes.truncate(left);
        fs::write(&path, bytes).unwrap();
    }
    let copy = follow(source.address, storage(&copy_at), options("copy"));
    copy.until(stream.state().next_offset).await;
    assert_same(&at, &copy_at);
    copy.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_takes_no_appends_and_has_groups_of_its_own() {
    let mut random = seeded();
    let (at, copy_at) = (new(), new());
    let (source, stream) = source(&at).await;
    fill(&stream, &mut random, (5, BEFORE_MIDNIGHT)).await;
    let copy = follow(source.address, storage(&copy_at), options(""));
    copy.until(stream.state().next_offset).await;
    let empty: [NewRecord<'_>; 0] = [];
    let append = Append { producer: None, records: empty, checkpoint: &[] };
    let refused = copy.stream.append(append).await.unwrap_err().to_string();
    assert!(refused.contains("is a copy of stream s of 127.0.0.1:"), "{refused}");
    assert!(copy.stream.open_producer("p").await.is_err());
    // The tables of its own consumers are its own, also when it is the original.
    let put = async |stream: &Stream, value: &'static str| {
        let opened = stream.open_producer("bus/table").await.unwrap();
        let name = ProducerSequence { name: "bus/table", epoch: opened.epoch, sequence: 1 };
        let change = [("k".to_owned(), Some(Bytes::from(value)))];
        let empty: [NewRecord<'_>; 0] = [];
        let append = Append { producer: Some(name), records: empty, checkpoint: &change };
        stream.append(append).await.unwrap();
    };
    let kept = |stream: &Stream| stream.checkpoint("bus/table").remove("k");
    put(&stream, "original").await;
    put(&copy.stream, "copy").await;
    copy.until(stream.state().next_offset).await;
    assert_eq!(kept(&stream), Some(Bytes::from("original")));
    assert_eq!(kept(&copy.stream), Some(Bytes::from("copy")));
    assert_eq!(copy.stream.checkpoint("p"), stream.checkpoint("p"));
    let mut reader = copy.stream.subscribe(wanted("g")).unwrap();
    let Event::Assigned { member, .. } = reader.next().await.unwrap() else { panic!("no place") };
    copy.stream.commit("g", member, 3).await.unwrap();
    assert!(stream.state().groups.is_empty());
    assert_same(&at, &copy_at);
    copy.stream.promote().await.unwrap();
    drop(reader);
    copy.end().await.unwrap();
    let again = relog(&copy_at).await.stream("s").unwrap();
    assert_eq!(kept(&again), Some(Bytes::from("copy")));
}

fn wanted(group: &str) -> Subscribe {
    Subscribe {
        group: group.to_owned(),
        start: Start::Earliest,
        topics: Vec::new(),
        kinds: Vec::new(),
        origins: Vec::new(),
        addressee: None,
        max_bytes: 0,
        client: "test".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_original_has_deleted_ends_a_copy_or_leaves_a_gap_that_readers_are_told_of() {
    let mut random = seeded();
    let (at, copy_at) = (new(), new());
    let (source, stream) = source(&at).await;
    fill(&stream, &mut random, (40, BEFORE_MIDNIGHT)).await;
    let copy = follow(source.address, storage(&copy_at), options(""));
    let had = stream.state().next_offset;
    copy.until(had).await;
    copy.end().await.unwrap();
    for day in 1..4 {
        fill(&stream, &mut random, (40, BEFORE_MIDNIGHT + day * DAY_MS)).await;
    }
    let now_ms = BEFORE_MIDNIGHT + 4 * DAY_MS;
    retention::expire(&stream.shared, Duration::from_millis(2 * DAY_MS), now_ms);
    let first = stream.state().first_offset;
    assert!(first > had);

    let copy = follow(source.address, storage(&copy_at), options(""));
    let problem = copy.problem().await;
    let is_gone =
        matches!(problem, Error::OffsetGone { offset, first: f } if offset == had && f == first);
    assert!(is_gone, "{problem}");
    let earliest = MirrorOptions { on_gone: OnGone::Earliest, ..options("") };
    let copy = follow(source.address, storage(&copy_at), earliest);
    let end = stream.state().next_offset;
    copy.until(end).await;

    let read = async |start: u64| {
        let subscribe = Subscribe { start: Start::Offset(start), ..wanted("") };
        let mut reader = copy.stream.subscribe(subscribe).unwrap();
        loop {
            match reader.next().await {
                Ok(Event::Records { next_offset, .. }) if next_offset == end => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    };
    let told = read(0).await.unwrap_err();
    assert!(matches!(told, Error::OffsetGone { first: f, .. } if f == first), "{told}");
    read(first).await.unwrap();
    assert_has(&copy_at, &at);
    copy.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_copy_goes_on_in_a_new_epoch_and_the_old_server_is_refused() {
    let mut random = seeded();
    let (at, copy_at, third_at) = (new(), new(), new());
    let (source, stream) = source(&at).await;
    fill(&stream, &mut random, (10, BEFORE_MIDNIGHT)).await;
    let copy = follow(source.address, storage(&copy_at), options("copy"));
    copy.until(stream.state().next_offset).await;
    assert_eq!((stream.epoch(), copy.stream.epoch()), (1, 1));
    assert_eq!(copy.stream.promote().await.unwrap(), 2);
    assert_eq!(copy.stream.promote().await.unwrap(), 2, "it was promoted before");
    assert!(stream.promote().await.is_err(), "it never was a copy");
    let promoted = serve(copy.log.clone()).await;
    fill(&copy.stream, &mut random, (10, BEFORE_MIDNIGHT + DAY_MS)).await;

    let third = follow(promoted.address, storage(&third_at), options("third"));
    third.until(copy.stream.state().next_offset).await;
    assert_eq!(third.stream.epoch(), 2);
    assert_same(&copy_at, &third_at);
    third.end().await.unwrap();
    // The old server writes on. What followed the new one does not take that.
    fill(&stream, &mut random, (10, BEFORE_MIDNIGHT + DAY_MS)).await;
    let problem = follow(source.address, storage(&third_at), options("third")).problem().await;
    assert!(matches!(&problem, Error::Diverged(text) if text.contains("epoch 2")), "{problem}");
    // And the old server, made a copy, does not go on over what it alone has.
    drop((source, stream));
    let late = relog(&at).await;
    let of = CopyOf { address: promoted.address.to_string(), stream: "s".to_owned() };
    let refused = late.copy("s", &of).unwrap_err().to_string();
    assert!(refused.contains("is no copy"), "{refused}");
    drop(late);
    super::mark::write(&at.path().join("s"), &of).unwrap();
    let problem = follow(promoted.address, storage(&at), options("late")).problem().await;
    assert!(matches!(problem, Error::Diverged(_)), "{problem}");
    copy.stop.cancel();
}

/// Opens a log again, when those who had it open have let it go.
async fn relog(at: &TempDir) -> Log {
    let opened = async {
        loop {
            match Log::open(storage(at)) {
                Ok(log) => return log,
                Err(Error::Held(_)) => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
            }
        }
    };
    tokio::time::timeout(DEADLINE, opened).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_original_keeps_what_a_named_copy_lacks_and_damage_is_not_copied() {
    let mut random = seeded();
    let (at, copy_at) = (new(), new());
    let (source, stream) = source(&at).await;
    fill(&stream, &mut random, (10, BEFORE_MIDNIGHT)).await;
    let copy = follow(source.address, storage(&copy_at), options("copy"));
    let had = stream.state().next_offset;
    copy.until(had).await;
    let committed = async {
        while stream.shared.groups.committed("copy") != Some(had) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, committed).await.unwrap();
    copy.end().await.unwrap();
    fill(&stream, &mut random, (60, BEFORE_MIDNIGHT + DAY_MS)).await;
    fill(&stream, &mut random, (10, BEFORE_MIDNIGHT + 9 * DAY_MS)).await;
    retention::expire(&stream.shared, Duration::ZERO, BEFORE_MIDNIGHT + 99 * DAY_MS);
    assert!(stream.state().first_offset <= had, "the copy lacks it");

    let damaged = at.path().join("s/20990302/data000001");
    let right = fs::read(&damaged).unwrap();
    let mut wrong = right.clone();
    let middle = wrong.len() / 2;
    wrong[middle] ^= 1;
    fs::write(&damaged, wrong).unwrap();
    let copy = follow(source.address, storage(&copy_at), options("copy"));
    let told = async {
        while !copy.stream.copy_state().unwrap().problem.is_some_and(|p| p.contains("data000001")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::time::timeout(DEADLINE, told).await;
    assert!(told.is_ok(), "{:?} {:?}", copy.stream.copy_state(), copy.ended.is_finished());
    fs::write(&damaged, right).unwrap();
    copy.until(stream.state().next_offset).await;
    assert_has(&copy_at, &at);
    copy.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_begins_with_the_day_that_is_asked_for() {
    let mut random = seeded();
    let (at, copy_at) = (new(), new());
    let (source, stream) = source(&at).await;
    let now_ms = service::clock::now_ms();
    for days_back in (0..4).rev() {
        fill(&stream, &mut random, (5, now_ms - days_back * DAY_MS)).await;
    }
    let begun = MirrorOptions { start_days: Some(1), ..options("copy") };
    let copy = follow(source.address, storage(&copy_at), begun);
    copy.until(stream.state().next_offset).await;
    let named = days(copy_at.path()).into_keys();
    let mut copied: Vec<_> = named.map(|name| name.split('/').next().unwrap().to_owned()).collect();
    copied.dedup();
    assert_eq!(copied.len(), 2, "yesterday and today: {copied:?}");
    copy.end().await.unwrap();
}
