//! A relay of a program of its own, on the directory of a log: what was deleted, and what the log
//! took back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use event_log::{
    Append, Log, NewHeaders, NewRecord, PLAIN, Start, StorageConfig, Stream, files::list,
};
use relay::{Directory, Error, OnGone, RecordChoice, Relay, RelayConfig, RelaySource, each_batch};
use service::BackoffConfig;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(60);

/// A folder with a log, and with the places of relays beside it.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn log(&self) -> PathBuf {
        self.0.path().join("log")
    }

    /// The stream of the log, open until this is dropped.
    fn open(&self) -> (Log, Stream) {
        let config = StorageConfig { segment_bytes: 4096, ..StorageConfig::new(self.log()) };
        let log = Log::open(config).unwrap();
        let stream = log.stream("s").unwrap();
        (log, stream)
    }

    fn relay(&self) -> RelayConfig {
        let (log, state) = (self.log(), self.0.path().join("place/r.json"));
        RelayConfig {
            name: "r".to_owned(),
            stream: "s".to_owned(),
            source: RelaySource::Directory(Directory { log, state }),
            start: Start::Earliest,
            choice: RecordChoice::default(),
            batch_size: 2,
            batch_bytes: 1 << 20,
            retry: BackoffConfig { min: Duration::from_millis(1), ..BackoffConfig::default() },
            on_gone: OnGone::Stop,
            show_output: true,
        }
    }
}

/// Appends each text in a batch of its own.
async fn append(stream: &Stream, texts: &[&str]) {
    for text in texts {
        let headers = NewHeaders::Text(&[]);
        let record =
            NewRecord { kind: PLAIN, topic: "t", key: b"", headers, payload: text.as_bytes() };
        let append = Append { producer: None, records: [record].into_iter(), checkpoint: &[] };
        stream.append(append).await.unwrap();
    }
}

/// Relays until this text has come; gives all that came. A call fails when its text is `bad` for
/// the first time.
async fn relay(config: RelayConfig, last: &str) -> Result<Vec<String>, Error> {
    let stop = CancellationToken::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (to, ends, last) = (Arc::clone(&seen), stop.clone(), last.to_owned());
    let callback = each_batch(move |records| {
        let (to, ends, last) = (Arc::clone(&to), ends.clone(), last.clone());
        async move {
            let text =
                |record: &event_log::Record| String::from_utf8_lossy(&record.payload).into_owned();
            let texts: Vec<String> = records.iter().map(text).collect();
            let mut seen = to.lock().unwrap();
            let is_new = |text: &String| text == "bad" && !seen.contains(text);
            let fails = texts.iter().any(is_new);
            if texts.contains(&last) {
                ends.cancel();
            }
            seen.extend(texts);
            if fails { Err("it is bad".to_owned()) } else { Ok(()) }
        }
    });
    let ended = tokio::time::timeout(DEADLINE, Relay::new(config)?.run(callback, &stop)).await;
    ended.expect("it comes in time")?;
    let seen = seen.lock().unwrap().clone();
    Ok(seen)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closure_gets_each_record_and_what_failed_again_before_what_comes_later() {
    let site = Site::new();
    let (_log, stream) = site.open();
    append(&stream, &["1", "2", "3", "bad", "5"]).await;
    let seen = relay(site.relay(), "5").await.unwrap();
    assert_eq!(seen, ["1", "2", "3", "bad", "3", "bad", "5"]);
    append(&stream, &["6"]).await;
    assert_eq!(relay(site.relay(), "6").await.unwrap(), ["6"], "its place is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_took_back_and_wrote_anew_is_given_and_no_record_is_left_out() {
    let site = Site::new();
    let before = site.0.path().join("before");
    {
        let (_log, stream) = site.open();
        append(&stream, &["1", "2", "3"]).await;
    }
    copy(&site.log(), &before);
    {
        let (_log, stream) = site.open();
        append(&stream, &["lost a", "lost b"]).await;
    }
    assert_eq!(relay(site.relay(), "lost b").await.unwrap().len(), 5);

    // As if the server had not been able to sync the last two, and had gone on.
    fs::remove_dir_all(site.log()).unwrap();
    copy(&before, &site.log());
    let (_log, stream) = site.open();
    append(&stream, &["4", "5", "6"]).await;
    // What was in one call with a record that was taken back may come again.
    let seen = relay(site.relay(), "6").await.unwrap();
    assert!(seen.ends_with(&["4".into(), "5".into(), "6".into()]), "{seen:?}");

    // Shorter than what was relayed, and nothing new yet.
    drop((_log, stream));
    fs::remove_dir_all(site.log()).unwrap();
    copy(&before, &site.log());
    let (_log, stream) = site.open();
    let (config, later) = (site.relay(), async {
        append(&stream, &["7"]).await;
    });
    let (seen, ()) = tokio::join!(relay(config, "7"), later);
    let seen = seen.unwrap();
    assert!(seen.len() < 3 && seen.last().unwrap() == "7", "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_under_the_same_name_is_refused() {
    let site = Site::new();
    {
        let (_log, stream) = site.open();
        append(&stream, &["1", "2"]).await;
    }
    relay(site.relay(), "2").await.unwrap();
    fs::remove_dir_all(site.log()).unwrap();
    let (_log, stream) = site.open();
    append(&stream, &["other", "log", "with", "more"]).await;
    let said = relay(site.relay(), "more").await.unwrap_err().to_string();
    assert!(said.contains("has other records than those that were relayed"), "{said}");
    assert!(said.contains("another file with --state"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_gone_end_the_relay_or_are_told_as_the_config_says() {
    let site = Site::new();
    let (log, stream) = site.open();
    append(&stream, &["1"]).await;
    relay(site.relay(), "1").await.unwrap();
    let long = "x".repeat(3000);
    let texts: Vec<String> = (0..6).map(|n| format!("{n}{long}")).collect();
    append(&stream, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    append(&stream, &["last"]).await;
    drop((log, stream));
    // What retention does: the oldest files go.
    let day = list(&site.log()).unwrap()[0].days[0].day.clone();
    for number in 0..2 {
        fs::remove_file(site.log().join(format!("s/{day}/data{number:06}"))).unwrap();
    }
    let gone = relay(site.relay(), "last").await.unwrap_err();
    let Error::Gone { offset, first } = gone else { panic!("{gone}") };
    assert!(offset < first && gone_says(&Error::Gone { offset, first }));
    let config = RelayConfig { on_gone: OnGone::Earliest, ..site.relay() };
    let seen = relay(config, "last").await.unwrap();
    assert!(seen.len() < 7 && seen.last().unwrap() == "last", "{}", seen.len());
}

fn gone_says(gone: &Error) -> bool {
    gone.to_string().contains("--on-gone earliest")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_with_the_latest_misses_nothing_after_a_crash() {
    let site = Site::new();
    let (_log, stream) = site.open();
    append(&stream, &["old"]).await;
    let config = RelayConfig { start: Start::Latest, ..site.relay() };
    // It ends before anything came, as if it were killed: its place is kept already.
    let stop = CancellationToken::new();
    let (run, ends) = (Relay::new(config.clone()).unwrap(), stop.clone());
    let place = site.0.path().join("place/r.json");
    let watch = async {
        while !place.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        ends.cancel();
    };
    let callback = each_batch(async |_| Ok(()));
    let (ended, ()) = tokio::join!(run.run(callback, &stop), watch);
    ended.unwrap();
    append(&stream, &["new"]).await;
    assert_eq!(relay(config, "new").await.unwrap(), ["new"]);
}
