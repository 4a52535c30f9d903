//! The files of one stream: which there are, and what of them goes into the next batch.

mod begin;
mod hold;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use service::glob;
use tracing::{error, info, warn};

use super::{
    AgentConfig, FileSet,
    batch::{Batch, Reading, SentFiles},
    file::{FollowedFile, LineRules},
    lost::GoneBytes,
    paths::{self, Found},
    place::Place,
};
use crate::Checkpoint;

/// A line that the server rejected is tried again after this.
const PARKED: Duration = Duration::from_mins(1);

/// The files are listed again so often at the most, while there are always others.
const MAX_LISTS: usize = 10;

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
    /// Files that are open, and whose places are not known yet.
    held: BTreeMap<String, FollowedFile>,
    /// There were more new files than may be held.
    has_told_held: bool,
    /// What was gone before it was read.
    gone: GoneBytes,
    /// Files of which the server may have more than their places say.
    in_flight: BTreeSet<String>,
    /// Places of the checkpoint whose files were not found yet.
    saved: BTreeMap<String, Place>,
    /// When they were taken from the checkpoint.
    resumed: Option<Instant>,
    /// Sets that were seen before.
    known_sets: BTreeSet<String>,
    /// Places that are to be forgotten.
    forgotten: Vec<String>,
    /// Files that may be copies: their size, and since when they have it.
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
    /// Bytes that are in no file any more, and were never read.
    pub(super) lost_bytes: u64,
}

/// A file under the paths.
struct NewFile {
    key: String,
    set: usize,
    path: PathBuf,
}

impl Follower {
    pub(super) fn new(config: &AgentConfig, sets: Vec<FileSet>) -> Self {
        let rules = LineRules { max_line_bytes: config.max_line_bytes, host: config.host.clone() };
        Self {
            sets,
            rules,
            close_after: config.close_after,
            files: BTreeMap::new(),
            held: BTreeMap::new(),
            has_told_held: false,
            gone: GoneBytes::default(),
            in_flight: BTreeSet::new(),
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
        self.in_flight.clear();
        (self.has_told_held, self.resumed) = (false, Some(Instant::now()));
        for (key, value) in checkpoint {
            if let Some(set) = key.strip_prefix(SET) {
                self.known_sets.insert(set.to_owned());
            }
            // What a set of another config left stays as it is.
            let is_ours = self.sets.iter().any(|set| key.starts_with(&prefix(&set.name)));
            let place = serde_json::from_slice::<Place>(value).ok().filter(|_| is_ours);
            match (self.files.get_mut(key), place) {
                (Some(file), Some(place)) => {
                    self.gone.read_to(key, place.read.offset);
                    file.go_on_at(place);
                }
                (None, Some(place)) => drop(self.saved.insert(key.clone(), place)),
                (_, None) => {}
            }
        }
    }

    pub(super) fn state(&self) -> FollowerState {
        let parked = self.files.values().filter(|file| file.parked_until.is_some());
        FollowerState {
            files: self.files.len() + self.held.len(),
            behind_bytes: self.open_files().map(FollowedFile::unread_bytes).sum(),
            unreadable: self.problems.len(),
            rejected: parked.count(),
            lost_bytes: self.gone.lost,
        }
    }

    fn open_files(&self) -> impl Iterator<Item = &FollowedFile> {
        self.files.values().chain(self.held.values())
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
        self.in_flight = batch.token.files.iter().map(|(key, ..)| key.clone()).collect();
        batch
    }

    /// The server has the batch.
    pub(super) fn sent(&mut self, sent: SentFiles) {
        self.in_flight.clear();
        for (key, place, _) in sent.files {
            self.gone.read_to(&key, place.read.offset);
            if let Some(file) = self.files.get_mut(&key) {
                file.sent(place);
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
        self.in_flight.clear();
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
        for _ in 0..MAX_LISTS {
            let fresh = self.list(problems);
            if self.open(fresh, problems) {
                break;
            }
        }
        for file in self.files.values_mut() {
            if let Err(error) = file.look() {
                problems.insert(file.path.clone(), error.to_string());
            }
        }
        self.begin_all(problems);
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
        self.settle_gone();
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

    /// Finds the files under the paths; gives those that are not followed.
    fn list(&mut self, problems: &mut BTreeMap<PathBuf, String>) -> Vec<NewFile> {
        let (mut listed, mut fresh) = (BTreeSet::new(), Vec::new());
        for file in self.all_listed(problems) {
            listed.insert(file.key.clone());
            match self.files.get_mut(&file.key).or_else(|| self.held.get_mut(&file.key)) {
                Some(followed) => followed.found_at(file.path),
                None => fresh.push(file),
            }
        }
        for (key, file) in self.files.iter_mut().chain(&mut self.held) {
            if !listed.contains(key) {
                file.idle_since.get_or_insert_with(Instant::now);
            }
        }
        fresh
    }

    /// Lists the files under the paths. A file that is renamed meanwhile may be left out, while a
    /// newer one has its name and is there: so with a file that is new, it lists again until twice
    /// the same was there.
    fn all_listed(&self, problems: &mut BTreeMap<PathBuf, String>) -> Vec<NewFile> {
        let mut listed = self.listed(problems);
        for _ in 0..MAX_LISTS {
            let is_followed = |key| self.files.contains_key(key) || self.held.contains_key(key);
            if listed.keys().all(is_followed) {
                break;
            }
            let again = self.listed(problems);
            let is_same = again.keys().eq(listed.keys());
            listed = again;
            if is_same {
                break;
            }
        }
        listed.into_values().collect()
    }

    /// Lists them once, by their keys.
    fn listed(&self, problems: &mut BTreeMap<PathBuf, String>) -> BTreeMap<String, NewFile> {
        let mut listed = BTreeMap::new();
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
                let file = NewFile { key: key.clone(), set: number, path };
                listed.entry(key).or_insert(file);
            }
        }
        listed
    }

    fn knows(&self, set: &FileSet) -> bool {
        self.known_sets.contains(&set.name)
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
