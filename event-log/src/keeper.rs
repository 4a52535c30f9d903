//! The thread of a log that saves how far groups are, and deletes what is too old.

use std::{
    collections::BTreeSet,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use service::clock::now_ms;
use tracing::warn;

use crate::{
    Error, StorageConfig,
    retention::{self, FullWarning, Streams},
    shared::SharedStream,
};

/// The offsets of groups are saved at most so often.
const SAVE_INTERVAL: Duration = Duration::from_millis(20);
/// How often retention looks for what is too old.
const RETENTION_INTERVAL: Duration = Duration::from_secs(10);
/// Clocks that differ by less are not worth a word.
const MAX_AHEAD: Duration = Duration::from_mins(1);

/// What all streams of a log share. Its thread saves the offsets of groups, and deletes what is too
/// old.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) config: StorageConfig,
    pub(crate) origin: u32,
    streams: Mutex<Streams>,
    requests: Mutex<KeeperRequests>,
    changed: Condvar,
    warning: FullWarning,
}

#[derive(Debug, Default)]
struct KeeperRequests {
    to_save: bool,
    to_stop: bool,
}

impl Keeper {
    pub(crate) fn new(config: StorageConfig, origin: u32) -> Self {
        Self {
            config,
            origin,
            streams: Mutex::default(),
            requests: Mutex::default(),
            changed: Condvar::new(),
            warning: FullWarning::default(),
        }
    }

    pub(crate) fn streams(&self) -> MutexGuard<'_, Streams> {
        lock(&self.streams)
    }

    /// Asks the thread to save the offsets of groups.
    pub(crate) fn poke(&self) {
        lock(&self.requests).to_save = true;
        self.changed.notify_all();
    }

    /// Makes room for another append to a stream.
    pub(crate) fn room(&self, stream: &str) -> Result<(), Error> {
        let streams = self.streams();
        retention::make_room(&self.config, &streams, (stream, &self.warning))
    }

    /// Why there is no room for another append to a stream.
    pub(crate) fn refusal(&self, stream: &str) -> Option<Error> {
        retention::refusal(&self.config, &self.streams(), stream)
    }

    /// The bytes of the data files of all streams.
    pub(crate) fn bytes(&self) -> u64 {
        retention::bytes(&self.streams())
    }

    /// Keeps the streams until it is told to stop.
    pub(crate) fn run(&self) {
        let mut last_retention: Option<Instant> = None;
        let mut last_save: Option<Instant> = None;
        let mut ahead = BTreeSet::new();
        while self.wait(last_save) {
            let streams: Vec<Arc<SharedStream>> = self.streams().values().cloned().collect();
            for stream in &streams {
                stream.groups.save();
            }
            last_save = Some(Instant::now());
            if last_retention.is_none_or(|last| last.elapsed() >= RETENTION_INTERVAL) {
                last_retention = Some(Instant::now());
                for stream in &streams {
                    tell_clock(stream, &mut ahead);
                    let (retention, _) = self.config.limits_of(&stream.name);
                    retention::expire(stream, retention, now_ms());
                    if let Err(error) = stream.end_day(now_ms()) {
                        warn!(stream = stream.name, %error, "cannot end the day: a later one will");
                    }
                }
            }
        }
    }

    /// Waits until there is something to do; `false` when it has to stop.
    fn wait(&self, last_save: Option<Instant>) -> bool {
        let mut requests = lock(&self.requests);
        let mut limit = RETENTION_INTERVAL;
        loop {
            if requests.to_stop && !requests.to_save {
                return false;
            }
            let since_save = last_save.map_or(SAVE_INTERVAL, |last| last.elapsed());
            if requests.to_save && since_save >= SAVE_INTERVAL {
                requests.to_save = false;
                return true;
            }
            if requests.to_save {
                limit = SAVE_INTERVAL.saturating_sub(since_save);
            }
            let waited = self.changed.wait_timeout(requests, limit);
            let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            requests = next;
            if timeout.timed_out() && !requests.to_save && !requests.to_stop {
                return true;
            }
        }
    }

    /// Saves what is asked for, and ends.
    pub(crate) fn stop(&self) {
        lock(&self.requests).to_stop = true;
        self.changed.notify_all();
    }
}

/// Says once when the records of a stream are later than the clock.
fn tell_clock(stream: &SharedStream, told: &mut BTreeSet<String>) {
    let ahead = Duration::from_millis(stream.ahead_ms());
    if ahead < MAX_AHEAD {
        told.remove(&stream.name);
    } else if told.insert(stream.name.clone()) {
        warn!(
            stream = stream.name,
            seconds = ahead.as_secs(),
            "the last record is later than the clock of this machine, which went back, or was ahead \
             before: set it right; until it has passed that time, new records get the same time"
        );
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
