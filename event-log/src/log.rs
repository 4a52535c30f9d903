//! A log: a directory of streams, held by one process, with its keeper.

use std::{
    collections::BTreeMap,
    fs::File,
    hash::{BuildHasher, Hasher, RandomState},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use service::clock::now_ms;

use crate::{
    Error, StorageConfig, Stream,
    config::is_stream_name,
    disk::{recovery, segment},
    retention::{self, Held},
};

const MAX_STREAMS: usize = 100;
/// Groups' places are written at most so often.
const SAVE_INTERVAL: Duration = Duration::from_millis(20);
/// How often retention looks for what is too old.
const RETENTION_INTERVAL: Duration = Duration::from_secs(10);

/// An open log. Clones are the same log; when the last is dropped, what was appended is written and
/// the directory is free again.
#[derive(Clone, Debug)]
pub struct Log {
    open: Arc<Open>,
}

#[derive(Debug)]
struct Open {
    keeper: Arc<Keeper>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    keeping: Option<JoinHandle<()>>,
    _lock: File,
}

/// What all streams share: it saves the groups' places and deletes what is too old.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) config: StorageConfig,
    pub(crate) origin: u32,
    streams: Mutex<BTreeMap<String, Stream>>,
    asked: Mutex<Asked>,
    changed: Condvar,
    held: Held,
}

#[derive(Debug, Default)]
struct Asked {
    to_save: bool,
    to_stop: bool,
}

impl Log {
    /// Opens the log in a directory, or makes one.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] when another process has it open; [`Error::Unusable`] when the directory
    /// cannot be made or not be written in; [`Error::Damaged`] when what was synced is not what was
    /// written.
    pub fn open(config: StorageConfig) -> Result<Self, Error> {
        let root = config.directory.clone();
        let lock = hold(&root)?;
        let fresh = RandomState::new().build_hasher().finish();
        let fresh = u32::try_from(fresh % u64::from(u32::MAX)).unwrap_or_default() + 1;
        let keeper = Arc::new(Keeper {
            origin: recovery::origin(&root, fresh)?,
            config,
            streams: Mutex::default(),
            asked: Mutex::default(),
            changed: Condvar::new(),
            held: Held::default(),
        });
        let kept = Arc::clone(&keeper);
        let keeping = std::thread::Builder::new()
            .name("log keeper".to_owned())
            .spawn(move || kept.run())
            .map_err(Error::io("cannot start the keeper of", &root))?;
        let open = Open { keeper, threads: Mutex::default(), keeping: Some(keeping), _lock: lock };
        let log = Self { open: Arc::new(open) };
        for name in segment::names(&root)? {
            if is_stream_name(&name) && root.join(&name).is_dir() {
                log.stream(&name)?;
            }
        }
        Ok(log)
    }

    /// The stream of a name; an empty one is made when there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] for a name that cannot be.
    pub fn stream(&self, name: &str) -> Result<Stream, Error> {
        if !is_stream_name(name) {
            let rule = "up to 64 of A-Z a-z 0-9 _ - ., beginning with a letter or digit";
            return Err(Error::Rejected(format!("{name:?} cannot name a stream: use {rule}")));
        }
        let mut streams = self.open.keeper.streams();
        if let Some(stream) = streams.get(name) {
            return Ok(stream.clone());
        }
        if streams.len() >= MAX_STREAMS {
            let reason = format!("the log has {MAX_STREAMS} streams, the most there can be");
            return Err(Error::Rejected(reason));
        }
        let (stream, thread) = Stream::open(name, &self.open.keeper)?;
        lock(&self.open.threads).push(thread);
        streams.insert(name.to_owned(), stream.clone());
        Ok(stream)
    }
}

/// Makes the directory where there is none, and keeps others out of it.
fn hold(root: &Path) -> Result<File, Error> {
    segment::create_directory(root).map_err(|error| unusable(root, error))?;
    let path = root.join("lock");
    let lock = service::private::options().write(true).create(true).truncate(false).open(&path);
    let lock = lock.map_err(|source| Error::Unusable { directory: root.to_owned(), source })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::Held(root.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(Error::io("cannot lock", &path)(error)),
    }
}

fn unusable(root: &Path, error: Error) -> Error {
    match error {
        Error::Io { source, .. } => Error::Unusable { directory: root.to_owned(), source },
        other => other,
    }
}

impl Keeper {
    pub(crate) fn streams(&self) -> MutexGuard<'_, BTreeMap<String, Stream>> {
        lock(&self.streams)
    }

    /// Asks for the places of the groups to be saved.
    pub(crate) fn poke(&self) {
        lock(&self.asked).to_save = true;
        self.changed.notify_all();
    }

    /// Makes room for another append.
    pub(crate) fn room(&self) -> Result<(), Error> {
        let streams = self.streams();
        retention::make_room(&self.config, &streams, &self.held)
    }

    /// The data files of all streams.
    pub(crate) fn bytes(&self) -> u64 {
        retention::bytes(&self.streams())
    }

    fn run(&self) {
        let mut last_retention: Option<Instant> = None;
        let mut last_save: Option<Instant> = None;
        while self.wait(last_save) {
            let streams: Vec<Stream> = self.streams().values().cloned().collect();
            for stream in &streams {
                stream.shared.groups.save();
            }
            last_save = Some(Instant::now());
            if last_retention.is_none_or(|last| last.elapsed() >= RETENTION_INTERVAL) {
                last_retention = Some(Instant::now());
                for stream in &streams {
                    retention::expire(&stream.shared, self.config.retention, now_ms());
                }
            }
        }
    }

    /// Waits until there is something to do; `false`: to stop.
    fn wait(&self, last_save: Option<Instant>) -> bool {
        let mut asked = lock(&self.asked);
        let mut limit = RETENTION_INTERVAL;
        loop {
            if asked.to_stop && !asked.to_save {
                return false;
            }
            let since_save = last_save.map_or(SAVE_INTERVAL, |last| last.elapsed());
            if asked.to_save && since_save >= SAVE_INTERVAL {
                asked.to_save = false;
                return true;
            }
            if asked.to_save {
                limit = SAVE_INTERVAL.saturating_sub(since_save);
            }
            let waited = self.changed.wait_timeout(asked, limit);
            let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            asked = next;
            if timeout.timed_out() && !asked.to_save && !asked.to_stop {
                return true;
            }
        }
    }

    fn stop(&self) {
        lock(&self.asked).to_stop = true;
        self.changed.notify_all();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        for stream in self.keeper.streams().values() {
            stream.shared.queue.close();
        }
        self.keeper.stop();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads.into_iter().chain(self.keeping.take()) {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
