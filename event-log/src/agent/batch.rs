//! What of the files goes to the server next.
//!
//! Files of one set and folder whose names differ in digits only, as those of one log that is
//! rotated, are a family: the oldest of them is read to its end before the next. The families take
//! turns.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use prost::Message as _;

use super::{
    FileSet,
    file::{Ahead, FollowedFile, LineRules},
    place::Place,
};
use crate::{CheckpointChange, proto::NewRecord};

/// A batch takes no more files when it has so much.
const BATCH_BYTES: usize = 1 << 20;

/// What goes to the server next.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) records: Vec<NewRecord>,
    pub(super) changes: Vec<CheckpointChange>,
    /// What to tell the follower about it.
    pub(super) token: SentFiles,
    /// There is more to read already.
    pub(super) is_more: bool,
}

/// What a batch holds of each file.
#[derive(Debug, Default)]
pub(super) struct SentFiles {
    /// Key, place after it, number of records.
    pub(super) files: Vec<(String, Place, usize)>,
    pub(super) closed: Vec<String>,
    pub(super) forgotten: Vec<String>,
    pub(super) sets: Vec<String>,
}

/// A batch that is being filled.
pub(super) struct Reading<'a> {
    pub(super) batch: &'a mut Batch,
    pub(super) problems: &'a mut BTreeMap<PathBuf, String>,
    pub(super) bytes: usize,
}

type Rules<'a> = (&'a [FileSet], &'a LineRules, Duration);

impl Reading<'_> {
    /// Reads lines of all families; `false` when the batch is full before the last one. Where it
    /// `is_alone`, the batch gets lines of one file only.
    pub(super) fn all(
        &mut self,
        (files, by_age): (&mut BTreeMap<String, FollowedFile>, &[String]),
        rules: Rules<'_>,
        (turn, is_alone): (&mut usize, bool),
    ) -> bool {
        let mut families: BTreeMap<(usize, PathBuf, String), Vec<&String>> = BTreeMap::new();
        for key in by_age {
            if let Some(file) = files.get(key) {
                families.entry(family(file)).or_default().push(key);
            }
        }
        let count = families.len().max(1);
        *turn = (*turn + 1) % count;
        let families: Vec<_> = families.into_values().collect();
        for family in families.iter().cycle().skip(*turn).take(families.len()) {
            for key in family {
                let before = self.batch.records.len();
                let Some(file) = files.get_mut(*key) else { continue };
                let is_more = self.one((key, file), rules);
                let has_lines = self.batch.records.len() > before;
                if self.bytes >= BATCH_BYTES || (is_alone && has_lines) {
                    self.batch.is_more = true;
                    return false;
                }
                if is_more {
                    break;
                }
            }
        }
        true
    }

    /// Reads lines of one file; gives whether it has more.
    fn one(
        &mut self,
        (key, file): (&str, &mut FollowedFile),
        (sets, rules, close_after): Rules<'_>,
    ) -> bool {
        let is_over = file.is_idle(close_after);
        let (Some(set), false) = (sets.get(file.set), file.is_left_alone()) else { return false };
        if !(file.has_work() || is_over) {
            return false;
        }
        let records = &mut self.batch.records;
        let before = records.len();
        let ahead = match file.read((set, rules), is_over, records) {
            Ok(ahead) => ahead,
            Err(error) => {
                records.truncate(before);
                self.problems.insert(file.path.clone(), error.to_string());
                return false;
            }
        };
        let added = records.iter().skip(before);
        self.bytes += added.map(NewRecord::encoded_len).sum::<usize>();
        let is_more = ahead.is_more;
        self.batch.is_more |= is_more;
        self.put((key, file), ahead, (is_over, before));
        is_more
    }

    /// Puts into the batch how far a file is after it.
    fn put(
        &mut self,
        (key, file): (&str, &FollowedFile),
        ahead: Ahead,
        (is_over, before): (bool, usize),
    ) {
        let Batch { records, changes, token, .. } = &mut *self.batch;
        let records = records.len() - before;
        if is_over && ahead.is_all {
            changes.push((key.to_owned(), None));
            token.closed.push(key.to_owned());
        } else if file.is_dirty || records > 0 {
            // Texts and numbers can always be written.
            let value = serde_json::to_vec(&ahead.place).unwrap_or_default();
            changes.push((key.to_owned(), Some(value.into())));
        } else {
            return;
        }
        token.files.push((key.to_owned(), ahead.place, records));
    }
}

fn family(file: &FollowedFile) -> (usize, PathBuf, String) {
    let folder = file.path.parent().unwrap_or(Path::new("")).to_owned();
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let is_fixed = |c: &char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '_'));
    (file.set, folder, name.chars().filter(is_fixed).collect())
}
