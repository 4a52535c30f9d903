//! The files of one stream: which there are, and what of them goes into the next batch.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use service::glob;
use tracing::{error, info, warn};

use super::{
    AgentConfig, FileSet, FileStart,
    batch::{Batch, Reading, SentFiles},
    copies::{self, Kinship},
    file::{FollowedFile, LineRules},
    paths::{self, Found},
    place::{Place, ReadBytes},
};
use crate::Checkpoint;

/// A line that the server rejected is tried again after this.
const PARKED: Duration = Duration::from_mins(1);
/// Before the end of a file, its last line feed is looked for in so much.
const LAST_LINE_BYTES: u64 = 64 << 10;

/// The checkpoint has an entry for each file, `file.SET.DEVICE.INODE`, and one for each set that
/// was seen before, `set.SET`.
const FILE: &str = "file.";
const SET: &str = "set.";

/// The files of one stream.
#[derive(Debug)]
pub(super) struct Follower {
    sets: Vec<FileSet>,
    rules: LineRules,
    close_after: Duration,
    /// By their keys in the checkpoint.
    files: BTreeMap<String, FollowedFile>,
    /// Places of the checkpoint whose files were not found yet.
    saved: BTreeMap<String, Place>,
    /// When they were taken from the checkpoint.
    resumed: Option<Instant>,
    /// Sets that were seen before.
    known_sets: BTreeSet<String>,
    /// Places that are to be forgotten.
    forgotten: Vec<String>,
    /// New files that may be copies: their size, and since when they have it.
    perhaps_copies: BTreeMap<String, (u64, Instant)>,
    /// What cannot be read, and why.
    problems: BTreeMap<PathBuf, String>,
    /// The family that the next batch begins with.
    turn: usize,
    /// The next batch has lines of one file only, since the server rejected one with several.
    is_alone: bool,
}

/// How the files are.
#[derive(Clone, Copy, Debug)]
pub(super) struct FollowerState {
    pub(super) files: usize,
    pub(super) behind_bytes: u64,
    pub(super) unreadable: usize,
    pub(super) rejected: usize,
}

/// A file under the paths that is not followed.
struct NewFile {
    key: String,
    set: usize,
    path: PathBuf,
    inode: u64,
}

impl Follower {
    pub(super) fn new(config: &AgentConfig, sets: Vec<FileSet>) -> Self {
        let rules = LineRules { max_line_bytes: config.max_line_bytes, host: config.host.clone() };
        Self {
            sets,
            rules,
            close_after: config.close_after,
            files: BTreeMap::new(),
            saved: BTreeMap::new(),
            resumed: None,
            known_sets: BTreeSet::new(),
            forgotten: Vec::new(),
            perhaps_copies: BTreeMap::new(),
            problems: BTreeMap::new(),
            turn: 0,
            is_alone: false,
        }
    }

    /// Takes the places that the server has: what was sent last may be there or not.
    pub(super) fn resume(&mut self, checkpoint: &Checkpoint) {
        self.saved.clear();
        self.resumed = Some(Instant::now());
        for (key, value) in checkpoint {
            if let Some(set) = key.strip_prefix(SET) {
                self.known_sets.insert(set.to_owned());
            }
            // What a set of another config left stays as it is.
            let is_ours = self.sets.iter().any(|set| key.starts_with(&prefix(&set.name)));
            let place = serde_json::from_slice::<Place>(value).ok().filter(|_| is_ours);
            match (self.files.get_mut(key), place) {
                (Some(file), Some(place)) => file.go_on_at(place),
                (None, Some(place)) => drop(self.saved.insert(key.clone(), place)),
                (_, None) => {}
            }
        }
    }

    pub(super) fn state(&self) -> FollowerState {
        let parked = self.files.values().filter(|file| file.parked_until.is_some());
        FollowerState {
            files: self.files.len(),
            behind_bytes: self.files.values().map(FollowedFile::behind_bytes).sum(),
            unreadable: self.problems.len(),
            rejected: parked.count(),
        }
    }

    /// Looks at all files, and gives the lines that come next.
    pub(super) fn next_batch(&mut self) -> Batch {
        let mut problems = BTreeMap::new();
        self.look(&mut problems);
        let mut batch = Batch::default();
        for key in std::mem::take(&mut self.forgotten) {
            batch.changes.push((key.clone(), None));
            batch.token.forgotten.push(key);
        }
        let by_age = self.by_age();
        let mut read = Reading { batch: &mut batch, problems: &mut problems, bytes: 0 };
        let files = (&mut self.files, &by_age[..]);
        let turn = (&mut self.turn, self.is_alone);
        let is_whole = read.all(files, (&self.sets, &self.rules, self.close_after), turn);
        let fresh = self.sets.iter().filter(|set| is_whole && !self.knows(set));
        for FileSet { name, .. } in fresh {
            batch.changes.push((format!("{SET}{name}"), Some(Bytes::from_static(b"1"))));
            batch.token.sets.push(name.clone());
        }
        self.tell_problems(problems);
        batch
    }

    /// The server has the batch.
    pub(super) fn sent(&mut self, sent: SentFiles) {
        for (key, place, _) in sent.files {
            if let Some(file) = self.files.get_mut(&key) {
                file.place = place;
                file.is_dirty = false;
                file.parked_until = None;
                file.max_records = file.max_records.saturating_mul(2);
            }
        }
        for key in sent.closed {
            self.files.remove(&key);
        }
        self.known_sets.extend(sent.sets);
    }

    /// The server never takes a part of the batch: finds out which, and lets the others go on.
    /// `false`: it is not about lines.
    pub(super) fn rejected(&mut self, sent: SentFiles, reason: &str) -> bool {
        self.forgotten.extend(sent.forgotten);
        let mut files = sent.files.into_iter().filter(|(.., records)| *records > 0);
        let Some((key, _, records)) = files.next() else { return false };
        let rest = files.count();
        self.is_alone = rest > 0;
        let Some(file) = self.files.get_mut(&key).filter(|_| rest == 0) else { return true };
        file.max_records = (records / 2).max(1);
        if records == 1 {
            let until = file.parked_until.replace(Instant::now() + PARKED);
            let (path, offset) = (file.path.display(), file.place.read.offset);
            if until.is_none() {
                error!(
                    file = %path, offset, reason,
                    "the server rejects the line here: this file waits until it takes the line \
                     (or make maxLineBytes smaller); other files go on"
                );
            }
        }
        true
    }

    /// Finds out which files there are, and which have changed.
    fn look(&mut self, problems: &mut BTreeMap<PathBuf, String>) {
        let mut fresh = self.list(problems);
        for file in self.files.values_mut() {
            if let Err(error) = file.look() {
                problems.insert(file.path.clone(), error.to_string());
            }
        }
        // A copy is recognised by its original, which must be known first.
        fresh.sort_by_key(|new| !self.saved.contains_key(&new.key));
        self.perhaps_copies.retain(|key, _| fresh.iter().any(|new| new.key == *key));
        for new in fresh {
            let path = new.path.clone();
            if let Err(error) = self.begin(new) {
                problems.insert(path, error.to_string());
            }
        }
        self.find_moved();
        // Once more, the newest first: when a line was in it, the file that was written to before
        // is complete.
        for key in self.by_age().into_iter().rev() {
            if let Some(file) = self.files.get_mut(&key)
                && let Err(error) = file.look()
            {
                problems.insert(file.path.clone(), error.to_string());
            }
        }
        let has_candidates = !self.perhaps_copies.is_empty();
        self.files.values_mut().for_each(|file| file.forget_before(has_candidates));
    }

    /// The keys of all files, those first that were not written to for the longest time.
    fn by_age(&self) -> Vec<String> {
        let mut keys: Vec<&String> = self.files.keys().collect();
        let age = |key: &&String| {
            // Of files that were changed at the same time, app.log.1 is older than app.log.
            let file = self.files.get(*key);
            file.map(|file| (file.changed(), Reverse(&file.path)))
        };
        keys.sort_by_key(age);
        keys.into_iter().cloned().collect()
    }

    /// Lists the files under the paths; gives those that are not followed.
    fn list(&mut self, problems: &mut BTreeMap<PathBuf, String>) -> Vec<NewFile> {
        let (mut listed, mut fresh) = (BTreeSet::new(), Vec::new());
        for (number, set) in self.sets.iter().enumerate() {
            let mut found = Found::default();
            set.paths.iter().for_each(|pattern| paths::find(pattern, &mut found));
            let told = found.problems.into_iter();
            problems.extend(told.map(|(path, error)| (path, error.to_string())));
            for path in found.paths.into_iter().filter(|path| !is_excluded(set, path)) {
                let metadata = match fs::metadata(&path) {
                    Ok(metadata) if metadata.is_file() => metadata,
                    Ok(_) => continue,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => {
                        problems.insert(path, error.to_string());
                        continue;
                    }
                };
                let key = key(set, (metadata.dev(), metadata.ino()));
                if !listed.insert(key.clone()) {
                    continue;
                }
                match self.files.get_mut(&key) {
                    Some(file) => file.found_at(path),
                    None => {
                        let inode = metadata.ino();
                        fresh.push(NewFile { key, set: number, path, inode });
                    }
                }
            }
        }
        for (key, file) in &mut self.files {
            if !listed.contains(key) {
                file.idle_since.get_or_insert_with(Instant::now);
            }
        }
        fresh
    }

    /// Begins to follow a file, if it is clear where.
    fn begin(&mut self, new: NewFile) -> io::Result<()> {
        let file = File::open(&new.path)?;
        if file.metadata()?.len() == 0 && !self.saved.contains_key(&new.key) {
            // What it is can be said when it has its first bytes.
            return Ok(());
        }
        let Some(place) = self.place_of(&new, &file)? else { return Ok(()) };
        self.perhaps_copies.remove(&new.key);
        let is_dirty = place.read.offset > 0;
        let path = new.path.to_string_lossy().into_owned();
        let place = Place { path, ..place };
        info!(file = %new.path.display(), offset = place.read.offset, "following a file");
        let mut followed = FollowedFile::new(new.set, new.path, (file, place));
        followed.is_dirty = is_dirty;
        followed.look()?;
        self.files.insert(new.key, followed);
        Ok(())
    }

    /// Where a new file begins; `None` while that is not clear.
    fn place_of(&mut self, new: &NewFile, file: &File) -> io::Result<Option<Place>> {
        if let Some(place) = self.saved.remove(&new.key) {
            // Whether it still is the same file is looked at next.
            return Ok(Some(place));
        }
        if let Some(place) = self.place_on_other_device(new, file)? {
            return Ok(Some(place));
        }
        let set = &self.sets[new.set];
        let folder = new.path.parent();
        let beside = self.files.values();
        let beside = beside.filter(|other| other.set == new.set && other.path.parent() == folder);
        let read = match copies::kinship(file, beside)? {
            Kinship::Copy(read) => *read,
            Kinship::Perhaps => {
                let now = (file.metadata()?.len(), Instant::now());
                let seen = self.perhaps_copies.entry(new.key.clone()).or_insert(now);
                if seen.0 != now.0 {
                    *seen = now;
                }
                if seen.1.elapsed() < self.close_after {
                    return Ok(None);
                }
                ReadBytes::none()
            }
            Kinship::None if set.start == FileStart::End && !self.knows(set) => {
                ReadBytes::skipped_to(last_line_start(file)?, file)?
            }
            Kinship::None => ReadBytes::none(),
        };
        Ok(Some(Place { read, ..Place::default() }))
    }

    fn knows(&self, set: &FileSet) -> bool {
        self.known_sets.contains(&set.name)
    }

    /// The place of the same file under another number of the device: these change at a restart of
    /// the machine.
    fn place_on_other_device(&mut self, new: &NewFile, file: &File) -> io::Result<Option<Place>> {
        let (prefix, inode) = (prefix(&self.sets[new.set].name), format!(".{}", new.inode));
        let path = new.path.to_string_lossy();
        let same = self.saved.iter().find(|(key, place)| {
            key.starts_with(&prefix) && key.ends_with(&inode) && place.path == path
        });
        let Some((key, place)) = same.map(|(key, place)| (key.clone(), place.clone())) else {
            return Ok(None);
        };
        if !place.read.is_in(file)? {
            return Ok(None);
        }
        self.saved.remove(&key);
        self.forgotten.push(key);
        Ok(Some(place))
    }

    /// Looks for files that were moved away from the paths while nobody followed them. One that is
    /// being moved now may be missed: it is looked for again.
    fn find_moved(&mut self) {
        let is_late = self.resumed.is_some_and(|since| since.elapsed() >= self.close_after);
        for (key, place) in std::mem::take(&mut self.saved) {
            let set = self.sets.iter().position(|set| key.starts_with(&prefix(&set.name)));
            let Some(set) = set else { continue };
            let moved = find_inode(&self.sets[set], &key, Path::new(&place.path));
            let opened = moved.and_then(|path| Some((File::open(&path).ok()?, path)));
            if let Some((file, path)) = opened
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

    /// Tells what is new about files that cannot be read.
    fn tell_problems(&mut self, problems: BTreeMap<PathBuf, String>) {
        for (path, problem) in &problems {
            if self.problems.get(path) != Some(problem) {
                let file = path.display();
                warn!(%file, problem, "a file cannot be read: let this user read it; trying again");
            }
        }
        for path in self.problems.keys().filter(|path| !problems.contains_key(*path)) {
            info!(file = %path.display(), "it is no trouble any more");
        }
        self.problems = problems;
    }
}

fn prefix(set: &str) -> String {
    format!("{FILE}{set}.")
}

fn key(set: &FileSet, (device, inode): (u64, u64)) -> String {
    format!("{}{device}.{inode}", prefix(&set.name))
}

fn is_excluded(set: &FileSet, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    set.exclude.iter().any(|pattern| glob::matches(pattern, &name))
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
