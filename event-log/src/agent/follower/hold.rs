//! Files while nothing can be sent: new ones are opened, so that they can be read later, also when
//! they are renamed or deleted until then; and what is gone before it was read is noticed.

use std::{
    collections::BTreeMap, fs::File, io::ErrorKind, os::unix::fs::MetadataExt, path::PathBuf,
};

use tracing::warn;

use super::{Follower, NewFile, key};
use crate::agent::{FileSet, file::FollowedFile, place::Place};

/// While nothing can be sent, not more new files are opened. Those that are deleted keep their room
/// on the disk.
const MAX_HELD_FILES: usize = 256;

impl Follower {
    /// Looks at all files while nothing can be sent.
    pub(in crate::agent) fn watch(&mut self) {
        let mut problems = BTreeMap::new();
        let mut fresh = self.list(&mut problems);
        let room = MAX_HELD_FILES.saturating_sub(self.held.len());
        if fresh.len() > room && !std::mem::replace(&mut self.has_told_held, true) {
            warn!(
                held = MAX_HELD_FILES,
                "nothing can be sent, and no more new files are held open: those that are deleted \
                 before the server takes records are not in the log"
            );
        }
        fresh.truncate(room);
        self.open(fresh, &mut problems);
        for file in self.files.values_mut().chain(self.held.values_mut()) {
            if let Err(error) = file.watch() {
                problems.insert(file.path.clone(), error.to_string());
            }
        }
        self.take_gone();
        let is_known = |key: &str| {
            let is_resumed = self.resumed.is_some() && !self.saved.contains_key(key);
            is_resumed && !self.in_flight.contains(key)
        };
        self.gone.settle(self.files.values_mut().chain(self.held.values_mut()), is_known);
        self.tell_problems(problems);
    }

    /// Opens new files, and holds them until they can be followed. `false`: one of them has another
    /// name by now, or none, so the files have to be listed again.
    pub(super) fn open(
        &mut self,
        fresh: Vec<NewFile>,
        problems: &mut BTreeMap<PathBuf, String>,
    ) -> bool {
        let mut has_all = true;
        for NewFile { key, set, path } in fresh {
            let is_it = |file: &File| self.sets.get(set).is_some_and(|set| is_of(set, &key, file));
            match File::open(&path) {
                Ok(file) if is_it(&file) => {
                    let file = FollowedFile::new(set, path, (file, Place::default()));
                    self.held.insert(key, file);
                }
                Ok(_) => has_all = false,
                Err(error) if error.kind() == ErrorKind::NotFound => has_all = false,
                Err(error) => drop(problems.insert(path, error.to_string())),
            }
        }
        has_all
    }

    /// Finds out what is gone, now that all places are known.
    pub(super) fn settle_gone(&mut self) {
        self.take_gone();
        self.gone.places_are_known();
        // While it is not clear what is a copy, nothing is told.
        let is_clear = self.perhaps_copies.is_empty();
        let files = self.files.values_mut().chain(self.held.values_mut());
        self.gone.settle(files, |_| is_clear);
    }

    fn take_gone(&mut self) {
        for (key, file) in self.files.iter_mut().chain(&mut self.held) {
            self.gone.take(key, file);
        }
    }
}

/// Whether this file has the key. Under the name of one that was just renamed stands another.
pub(super) fn is_of(set: &FileSet, wanted: &str, file: &File) -> bool {
    let metadata = file.metadata();
    metadata.is_ok_and(|metadata| key(set, (metadata.dev(), metadata.ino())) == wanted)
}
