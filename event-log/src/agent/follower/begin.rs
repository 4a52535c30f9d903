//! Where a file begins that is new, was written anew, or was moved.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    time::Instant,
};

use tracing::{info, warn};

use super::{Follower, hold::is_of, key, prefix};
use crate::agent::{
    FileSet, FileStart,
    copies::{self, Kinship},
    file::FollowedFile,
    place::{Place, ReadBytes},
};

/// Before the end of a file, its last line feed is looked for in so much.
const LAST_LINE_BYTES: u64 = 64 << 10;

impl Follower {
    /// Begins to follow the files that are held, as far as it is clear where. A copy is recognised
    /// by its original, which must be known first.
    pub(super) fn begin_all(&mut self, problems: &mut BTreeMap<PathBuf, String>) {
        let (files, held) = (&self.files, &self.held);
        self.perhaps_copies.retain(|key, _| {
            held.contains_key(key) || files.get(key).is_some_and(|file| file.is_unsure)
        });
        let keys: Vec<String> = self.held.keys().cloned().collect();
        let (known, fresh): (Vec<_>, _) =
            keys.into_iter().partition(|key| self.saved.contains_key(key));
        known.into_iter().for_each(|key| self.begin(key, problems));
        self.find_copies(problems);
        fresh.into_iter().for_each(|key| self.begin(key, problems));
        // The others are opened again by their paths, if they have any.
        let close_after = self.close_after;
        self.held.retain(|_, file| file.idle_since.is_some() && !file.is_idle(close_after));
    }

    fn begin(&mut self, key: String, problems: &mut BTreeMap<PathBuf, String>) {
        let Some(mut file) = self.held.remove(&key) else { return };
        let path = file.path.clone();
        match self.is_begun(&key, &mut file) {
            Ok(true) => drop(self.files.insert(key, file)),
            Ok(false) => drop(self.held.insert(key, file)),
            Err(error) => {
                problems.insert(path, error.to_string());
                self.held.insert(key, file);
            }
        }
    }

    /// Gives a file its place; `false` while that is not clear.
    fn is_begun(&mut self, key: &str, file: &mut FollowedFile) -> io::Result<bool> {
        file.watch()?;
        if file.size() == 0 && !self.saved.contains_key(key) {
            // What it is can be said when it has its first bytes.
            return Ok(false);
        }
        let Some(place) = self.place_of(key, file)? else { return Ok(false) };
        self.perhaps_copies.remove(key);
        self.gone.take(key, file);
        self.gone.read_to(key, place.read.offset);
        file.is_dirty = place.read.offset > 0;
        let path = file.path.to_string_lossy().into_owned();
        info!(file = path, offset = place.read.offset, "following a file");
        file.place = Place { path, ..place };
        file.look()?;
        Ok(true)
    }

    /// Finds out which files that were written anew are copies of others.
    fn find_copies(&mut self, problems: &mut BTreeMap<PathBuf, String>) {
        let files = self.files.iter().filter(|(_, file)| file.is_unsure && file.size() > 0);
        let keys: Vec<String> = files.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(mut file) = self.files.remove(&key) else { continue };
            match self.kinship(&key, &file) {
                Ok(Kinship::Copy(read)) => {
                    let (path, offset) = (file.path.display(), read.offset);
                    info!(file = %path, offset, "it is a copy of a file that was truncated");
                    self.perhaps_copies.remove(&key);
                    file.go_on_as_copy(*read);
                }
                Ok(Kinship::None) => {
                    self.perhaps_copies.remove(&key);
                    file.is_unsure = false;
                }
                Ok(Kinship::Perhaps) => {}
                Err(error) => drop(problems.insert(file.path.clone(), error.to_string())),
            }
            self.files.insert(key, file);
        }
    }

    /// Whose copy a file is. One that may become a copy is none when it has not grown for a while.
    fn kinship(&mut self, key: &str, file: &FollowedFile) -> io::Result<Kinship> {
        let folder = file.path.parent();
        let beside = self.files.values();
        let beside = beside.filter(|other| other.set == file.set && other.path.parent() == folder);
        let was = file.place.before.as_ref();
        let kinship = copies::kinship((&file.file, was), beside)?;
        if matches!(kinship, Kinship::Perhaps) {
            let now = (file.size(), Instant::now());
            let seen = self.perhaps_copies.entry(key.to_owned()).or_insert(now);
            if seen.0 != now.0 {
                *seen = now;
            }
            if seen.1.elapsed() >= self.close_after {
                return Ok(Kinship::None);
            }
        }
        Ok(kinship)
    }

    /// Where a new file begins; `None` while that is not clear.
    fn place_of(&mut self, key: &str, file: &FollowedFile) -> io::Result<Option<Place>> {
        if let Some(place) = self.saved.remove(key) {
            // Whether it still is the same file is looked at next.
            return Ok(Some(place));
        }
        if let Some(place) = self.place_on_other_device(key, file)? {
            return Ok(Some(place));
        }
        let kinship = self.kinship(key, file)?;
        let Some(set) = self.sets.get(file.set) else { return Ok(None) };
        let read = match kinship {
            Kinship::Copy(read) => *read,
            Kinship::Perhaps => return Ok(None),
            Kinship::None if set.start == FileStart::End && !self.knows(set) => {
                ReadBytes::skipped_to(last_line_start(&file.file)?, &file.file)?
            }
            Kinship::None => ReadBytes::none(),
        };
        Ok(Some(Place { read, ..Place::default() }))
    }

    /// The place of the same file under another number of the device: these change at a restart of
    /// the machine.
    fn place_on_other_device(
        &mut self,
        new: &str,
        file: &FollowedFile,
    ) -> io::Result<Option<Place>> {
        let Some(set) = self.sets.get(file.set) else { return Ok(None) };
        let inode = new.rfind('.').and_then(|at| new.get(at..)).unwrap_or(new);
        let (prefix, path) = (prefix(&set.name), file.path.to_string_lossy());
        let same = self.saved.iter().find(|(key, place)| {
            key.starts_with(&prefix) && key.ends_with(inode) && place.path == path
        });
        let Some((key, place)) = same.map(|(key, place)| (key.clone(), place.clone())) else {
            return Ok(None);
        };
        if !place.read.is_in(&file.file)? {
            return Ok(None);
        }
        self.saved.remove(&key);
        self.forgotten.push(key);
        Ok(Some(place))
    }

    /// Looks for files that were moved away from the paths while nobody followed them. One that is
    /// being moved now may be missed: it is looked for again.
    pub(super) fn find_moved(&mut self) {
        let is_late = self.resumed.is_some_and(|since| since.elapsed() >= self.close_after);
        for (key, place) in std::mem::take(&mut self.saved) {
            let set = self.sets.iter().position(|set| key.starts_with(&prefix(&set.name)));
            let Some(set) = set else { continue };
            let moved = find_inode(&self.sets[set], &key, Path::new(&place.path));
            let opened = moved.and_then(|path| Some((File::open(&path).ok()?, path)));
            if let Some((file, path)) = opened
                && is_of(&self.sets[set], &key, &file)
                && place.read.is_in(&file).unwrap_or(false)
            {
                info!(file = %path.display(), "a file was moved: reading the rest of it");
                let mut file = FollowedFile::new(set, path, (file, place));
                file.idle_since = Some(Instant::now());
                // What cannot be looked at now is looked at again.
                let _ = file.look();
                self.files.insert(key, file);
            } else if is_late {
                let (file, offset) = (&place.path, place.read.offset);
                warn!(
                    file,
                    offset,
                    "the file is gone: lines that it got after this place are not in the log"
                );
                self.forgotten.push(key);
            } else {
                self.saved.insert(key, place);
            }
        }
    }
}

/// The file of a key in the folder where it was.
fn find_inode(set: &FileSet, wanted: &str, path: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(path.parent()?).ok()?.flatten();
    let mut entries = entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)));
    let found = entries.find(|(_, metadata)| {
        metadata.is_file() && key(set, (metadata.dev(), metadata.ino())) == wanted
    });
    found.map(|(path, _)| path)
}

/// Where the last line of a file begins, or its end when that has a line feed.
fn last_line_start(file: &File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let from = size.saturating_sub(LAST_LINE_BYTES);
    let mut bytes = vec![0; usize::try_from(size - from).unwrap_or_default()];
    file.read_exact_at(&mut bytes, from)?;
    let after = memchr::memrchr(b'\n', &bytes).map(|at| from + at as u64 + 1);
    Ok(after.unwrap_or(if from == 0 { 0 } else { size }))
}
