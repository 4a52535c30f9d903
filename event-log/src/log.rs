//! A log: a directory of streams, held by one process, with its keeper.

use std::{
    fs::File,
    hash::{BuildHasher, Hasher, RandomState},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use crate::{
    Error, StorageConfig, Stream,
    config::is_stream_name,
    copy::{
        local,
        mark::{self, CopyOf},
        state::CopyState,
    },
    disk::{data_files, recovery},
    keeper::Keeper,
    room,
};

const MAX_STREAMS: usize = 100;
/// What stands beside the directories of streams.
const FILES: [&str; 3] = ["lock", "origin", "origin.new"];

/// An open log. Clones are the same log. When the last one is dropped, all appended batches are
/// written, and the directory is free again.
#[derive(Clone, Debug)]
pub struct Log {
    open: Arc<OpenLog>,
}

#[derive(Debug)]
struct OpenLog {
    keeper: Arc<Keeper>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    keeping: Option<JoinHandle<()>>,
    _lock: File,
}

impl Log {
    /// Opens the log in a directory, or makes one.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] when another process has it open; [`Error::Unusable`] when the directory
    /// cannot be made or not be written in; [`Error::Damaged`] when durable records are not what
    /// was written.
    pub fn open(config: StorageConfig) -> Result<Self, Error> {
        let root = config.directory.clone();
        let lock = hold(&root)?;
        let fresh = RandomState::new().build_hasher().finish();
        let fresh = u32::try_from(fresh % u64::from(u32::MAX)).unwrap_or_default() + 1;
        let keeper = Arc::new(Keeper::new(config, recovery::origin(&root, fresh)?));
        let kept = Arc::clone(&keeper);
        let keeping = std::thread::Builder::new()
            .name("log keeper".to_owned())
            .spawn(move || kept.run())
            .map_err(Error::io("cannot start the keeper of", &root))?;
        let open =
            OpenLog { keeper, threads: Mutex::default(), keeping: Some(keeping), _lock: lock };
        let log = Self { open: Arc::new(open) };
        for name in data_files::names(&root)? {
            if is_stream_name(&name) && root.join(&name).is_dir() {
                log.stream(&name)?;
            }
        }
        Ok(log)
    }

    /// All streams, by their names.
    pub fn streams(&self) -> Vec<Stream> {
        let keeper = &self.open.keeper;
        let streams = keeper.streams();
        streams.values().map(|shared| Stream::new(Arc::clone(shared), keeper)).collect()
    }

    /// What can still be written to the disk of the log; `None` where the system does not say.
    pub(crate) fn available_bytes(&self) -> Option<u64> {
        room::available_bytes(&self.open.keeper.config.directory)
    }

    /// The stream of a name, if there is one.
    pub fn known(&self, name: &str) -> Option<Stream> {
        let keeper = &self.open.keeper;
        let streams = keeper.streams();
        streams.get(name).map(|shared| Stream::new(Arc::clone(shared), keeper))
    }

    /// The stream of a name, which is not made; `may_tell` says which others may be named.
    pub(crate) fn existing(
        &self,
        name: &str,
        may_tell: impl Fn(&str) -> bool,
    ) -> Result<Stream, Error> {
        check_name(name)?;
        self.known(name).ok_or_else(|| {
            let streams = self.streams();
            let others = streams.iter().map(Stream::name).filter(|other| may_tell(other));
            let others = others.collect::<Vec<_>>().join(", ");
            let others = if others.is_empty() { "none".to_owned() } else { others };
            Error::NoStream(format!("there is no stream {name} yet; there are: {others}"))
        })
    }

    /// Whether the stream was a copy of that, and was promoted.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::Damaged`], when what it was cannot be read.
    pub fn is_promoted(&self, of: &CopyOf) -> Result<bool, Error> {
        let Some(stream) = self.known(&of.stream) else { return Ok(false) };
        Ok(mark::promoted_from(&stream.shared.directory)?.as_ref() == Some(of))
    }

    /// The stream of a name as a copy; makes an empty one when there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] for a name that is not allowed, and for a stream that is no copy.
    pub fn copy(&self, name: &str, of: &CopyOf) -> Result<Stream, Error> {
        check_name(name)?;
        let Some(stream) = self.known(name) else {
            mark::write(&self.open.keeper.config.directory.join(name), of)?;
            return self.stream(name);
        };
        match &mut *stream.shared.copy() {
            Some(state) if state.of == *of => {}
            Some(state) => {
                mark::write(&stream.shared.directory, of)?;
                state.of = of.clone();
            }
            copy @ None => {
                if stream.shared.queue.with_tail(|tail| tail.segment.is_some()) {
                    return Err(Error::Rejected(format!(
                        "stream {name} is there and is no copy, it takes appends of its own: serve it \
                         (event-log serve); or move the directory {} away, and a copy is made there",
                        stream.shared.directory.display()
                    )));
                }
                // A crash can come between making the directory and marking it.
                mark::write(&stream.shared.directory, of)?;
                *copy = Some(CopyState::new(of.clone()));
            }
        }
        self.open_beside(&stream)?;
        Ok(stream)
    }

    /// The stream of a name; makes an empty one when there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] for a name that is not allowed.
    pub fn stream(&self, name: &str) -> Result<Stream, Error> {
        check_name(name)?;
        let keeper = &self.open.keeper;
        let mut streams = keeper.streams();
        if let Some(shared) = streams.get(name) {
            return Ok(Stream::new(Arc::clone(shared), keeper));
        }
        if streams.len() >= MAX_STREAMS {
            let reason = format!("the log has {MAX_STREAMS} streams, the most there can be");
            return Err(Error::Rejected(reason));
        }
        let (stream, thread) = Stream::open(name, keeper)?;
        self.open.threads().push(thread);
        streams.insert(name.to_owned(), Arc::clone(&stream.shared));
        drop(streams);
        self.open_beside(&stream)?;
        Ok(stream)
    }

    /// Opens the stream beside a copy, and beside what was one.
    fn open_beside(&self, stream: &Stream) -> Result<(), Error> {
        let name = local::name_beside(stream.name());
        let is_there = self.open.keeper.config.directory.join(&name).is_dir();
        if is_there || stream.copy_state().is_some() {
            // It is set once, here.
            let _ = stream.shared.beside.set(self.stream(&name)?.shared);
        }
        Ok(())
    }
}

/// Refuses what cannot name a stream.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if FILES.contains(&name) {
        let reason = format!("no stream can be called {name}: the log has a file of this name");
        return Err(Error::Rejected(format!("{reason}; choose another name")));
    }
    if is_stream_name(name) {
        return Ok(());
    }
    let rule = "up to 64 of A-Z a-z 0-9 _ - ., beginning with a letter or digit";
    Err(Error::Rejected(format!("{name:?} cannot name a stream: use {rule}")))
}

/// Makes the directory where there is none, and keeps others out of it.
pub(crate) fn hold(root: &Path) -> Result<File, Error> {
    data_files::create_directory(root).map_err(|error| unusable(root, error))?;
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

impl Drop for OpenLog {
    fn drop(&mut self) {
        for stream in self.keeper.streams().values() {
            stream.queue.close();
        }
        self.keeper.stop();
        let threads = std::mem::take(&mut *self.threads());
        for thread in threads.into_iter().chain(self.keeping.take()) {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl OpenLog {
    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_would_be_called_like_a_file_of_the_log_is_told_why_not() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(StorageConfig::new(directory.path())).unwrap();
        let of = CopyOf { address: "x:1".to_owned(), stream: "origin".to_owned() };
        for name in FILES {
            let refused = [log.stream(name).unwrap_err(), log.copy(name, &of).unwrap_err()];
            for refused in refused {
                let said = refused.to_string();
                assert!(matches!(refused, Error::Rejected(_)), "{said}");
                assert!(said.contains("the log has a file of this name"), "{said}");
            }
        }
        drop(log);
        Log::open(StorageConfig::new(directory.path())).unwrap();
    }
}
