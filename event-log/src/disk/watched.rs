//! For tests: sees every change that is made below a directory, and may refuse some. What is synced
//! there is not really synced, so that thousands of logs are opened in a moment.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::kind_of_change::Change;

/// The directories that are watched now.
static ALL: Mutex<Vec<Arc<Watched>>> = Mutex::new(Vec::new());

/// A change that was made; paths are relative to the watched directory.
#[derive(Clone, Debug)]
pub(crate) enum Made {
    Directory,
    File,
    Write {
        at: u64,
        bytes: Vec<u8>,
    },
    Cut {
        bytes: u64,
    },
    Sync,
    /// What was written since the last sync may be on the disk, and is not written again.
    FailedSync,
    SyncDirectory,
    RenamedTo(PathBuf),
    Deleted,
    DeletedDirectory,
}

/// Which changes are refused, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    /// So many are made before.
    pub(crate) after: usize,
    /// So many are refused.
    pub(crate) times: usize,
    pub(crate) of: Refused,
    pub(crate) errno: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// What needs room.
    Growth,
    Syncs,
}

#[derive(Debug)]
pub(crate) struct Watched {
    root: PathBuf,
    pub(crate) state: Mutex<WatchedState>,
}

#[derive(Debug, Default)]
pub(crate) struct WatchedState {
    pub(crate) made: Vec<(PathBuf, Made)>,
    pub(crate) refusal: Option<Refusal>,
}

/// Watches until it is dropped.
pub(crate) struct Watch(pub(crate) Arc<Watched>);

impl Watch {
    pub(crate) fn new(root: &Path) -> Self {
        let watched = Watched { root: root.to_owned(), state: Mutex::default() };
        let watched = Arc::new(watched);
        lock(&ALL).push(Arc::clone(&watched));
        Self(watched)
    }

    /// While this is held, no change is made.
    pub(crate) fn hold(&self) -> MutexGuard<'_, WatchedState> {
        lock(&self.0.state)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&ALL).retain(|watched| !Arc::ptr_eq(watched, &self.0));
    }
}

pub(super) fn make<T>(
    path: &Path,
    change: Change<'_>,
    act: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let Some((watched, below)) = find(path) else { return act() };
    let mut state = lock(&watched.state);
    if let Some(error) = state.refused(&change) {
        if let Change::Write { at, bytes } = change {
            // A disk that gets full takes a part.
            let part = bytes[..bytes.len() / 2].to_vec();
            OpenOptions::new().write(true).open(path)?.write_all_at(&part, at)?;
            state.made.push((below, Made::Write { at, bytes: part }));
        }
        return Err(error);
    }
    let was_there = path.exists();
    let done = act()?;
    let made = match change {
        Change::MakeDirectory | Change::Open if was_there => None,
        Change::OpenEmpty if was_there => Some(Made::Cut { bytes: 0 }),
        Change::MakeDirectory => Some(Made::Directory),
        Change::Open | Change::OpenEmpty => Some(Made::File),
        Change::Write { at, bytes } => Some(Made::Write { at, bytes: bytes.to_vec() }),
        Change::Cut { bytes } => Some(Made::Cut { bytes }),
        Change::RenameTo(to) => Some(Made::RenamedTo(watched.below(to))),
        Change::Delete => Some(Made::Deleted),
        Change::DeleteDirectory => Some(Made::DeletedDirectory),
        Change::Sync | Change::SyncDirectory => unreachable!("not a sync"),
    };
    state.made.extend(made.map(|made| (below, made)));
    Ok(done)
}

pub(super) fn sync(
    path: &Path,
    change: Change<'_>,
    act: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let Some((watched, below)) = find(path) else { return act() };
    let mut state = lock(&watched.state);
    let is_file = matches!(change, Change::Sync);
    if let Some(error) = state.refused(&change) {
        state.made.extend(is_file.then_some((below, Made::FailedSync)));
        return Err(error);
    }
    if !path.exists() {
        return Err(io::ErrorKind::NotFound.into());
    }
    state.made.push((below, if is_file { Made::Sync } else { Made::SyncDirectory }));
    Ok(())
}

fn find(path: &Path) -> Option<(Arc<Watched>, PathBuf)> {
    let all = lock(&ALL);
    let watched = all.iter().find(|watched| path.starts_with(&watched.root))?;
    Some((Arc::clone(watched), watched.below(path)))
}

impl Watched {
    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap().to_owned()
    }
}

impl WatchedState {
    fn refused(&mut self, change: &Change<'_>) -> Option<io::Error> {
        let refusal = self.refusal.as_mut()?;
        let kind = match change {
            Change::Sync | Change::SyncDirectory => Refused::Syncs,
            Change::Cut { .. } | Change::Delete | Change::DeleteDirectory => return None,
            _ => Refused::Growth,
        };
        if refusal.of != kind {
            return None;
        }
        if refusal.after > 0 {
            refusal.after -= 1;
            return None;
        }
        refusal.times = refusal.times.checked_sub(1)?;
        Some(io::Error::from_raw_os_error(refusal.errno))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
