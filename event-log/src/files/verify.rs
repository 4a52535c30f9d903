//! Checks all that the files of a stream say: records, batches, producers, index, days.

use std::path::Path;

use super::{check_index::IndexCheck, follow};
use crate::{
    Error, Record,
    copy::mark::COPY_OF,
    disk::{
        data_files::{self, SegmentId},
        day::Day,
        end_and_state::{self, End, Producers},
        file_reading::WholeFile,
        walk::{Walk, Walked},
    },
    group::Groups,
};

/// What was found right.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Days.
    pub days: u64,
    /// Data files.
    pub files: u64,
    /// Records, without the log's own.
    pub records: u64,
    /// Batches.
    pub batches: u64,
    /// The bytes of the data files, without an unfinished end.
    pub bytes: u64,
    /// The bytes of the indexes.
    pub index_bytes: u64,
    /// The first offset, and the offset after the last whole batch; `None`: there is no record.
    pub offsets: Option<(u64, u64)>,
    /// The bytes of an append at the end of the newest file that is being written, or that a crash
    /// left unfinished.
    pub unfinished_bytes: u64,
    /// Entries that the newest index has not got yet; opening the log writes them.
    pub unwritten_entries: u64,
    /// Files that retention deleted before they could be read.
    pub deleted_files: u64,
}

/// Reads all files of the stream whose directory this is, and checks them. It needs about as much
/// memory as the checkpoints of the stream. `progress` is told the bytes that were checked.
///
/// # Errors
///
/// [`Error::Damaged`]: the first damage, with file and byte. [`Error::Io`].
pub fn verify(stream: &Path, progress: &mut dyn FnMut(u64)) -> Result<Verified, Error> {
    // What a group has finished was durable then, so it is met by a check that begins now.
    let groups = Groups::open(stream, u64::MAX)?;
    let verified = check(stream, &|_| true, progress, &mut |_| ())?;
    let end = verified.offsets.map_or(0, |(_, next_offset)| next_offset);
    let states = groups.states();
    let past = states.iter().find(|group| group.committed.is_some_and(|offset| offset > end));
    match past {
        None => Ok(verified),
        Some(group) => {
            let (name, offset) = (&group.name, group.committed.unwrap_or_default());
            let problem = format!(
                "group {name} has finished all below offset {offset}, but the stream ends at \
                 {end}: acknowledged records are missing"
            );
            Err(Error::Damaged { file: stream.join("groups"), position: 0, problem })
        }
    }
}

/// A day that was found right.
#[derive(Debug)]
pub(crate) struct CheckedDay {
    pub(crate) day: Day,
    /// The data files, and how many bytes of each are whole batches.
    pub(crate) files: Vec<(SegmentId, u64)>,
    /// So many bytes of the index are right as they stand; what must follow them.
    pub(crate) index: (u64, Vec<u8>),
    pub(crate) is_finished: bool,
}

/// Checks the days that are `wanted`, and gives each to `each`.
pub(crate) fn check(
    stream: &Path,
    wanted: &dyn Fn(Day) -> bool,
    progress: &mut dyn FnMut(u64),
    each: &mut dyn FnMut(CheckedDay),
) -> Result<Verified, Error> {
    // Of the newest day, the mark is looked for before the files are listed: what comes in between
    // is of the next day.
    let day = data_files::list(stream)?.last().copied();
    let finished = day.filter(|day| day.finish(stream).exists()).map(|day| day.day);
    let ids = data_files::list(stream)?;
    let Some(&newest) = ids.last() else { return Ok(Verified::default()) };
    let verified = Verified::default();
    let (before, last_group) = (None, 0);
    let mut check = Check { stream, newest, finished, verified, before, last_group, progress };
    for ids in ids.chunk_by(|one, next| one.day == next.day) {
        if wanted(ids[0].day)
            && let Some(day) = check.day(ids)?
        {
            each(day);
        }
    }
    check.finish_marks(&ids, wanted)?;
    Ok(check.verified)
}

struct Check<'a> {
    stream: &'a Path,
    /// The newest file when the check began.
    newest: SegmentId,
    /// The newest day, when it was marked as finished before that.
    finished: Option<Day>,
    verified: Verified,
    before: Option<Before>,
    /// Where the last write group of the newest file began.
    last_group: u64,
    progress: &'a mut dyn FnMut(u64),
}

/// The file before.
struct Before {
    id: SegmentId,
    next_offset: u64,
    time_ms: u64,
    producers: Producers,
}

/// What was counted in a file.
#[derive(Clone, Copy, Default)]
struct Count {
    records: u64,
    batches: u64,
    time_ms: u64,
    group_start: u64,
    /// Where the batch begins that is being read.
    batch_start: u64,
}

impl Check<'_> {
    fn day(&mut self, ids: &[SegmentId]) -> Result<Option<CheckedDay>, Error> {
        let (day, is_newest) = (ids[0].day, ids[0].day == self.newest.day);
        let (mut files, mut index) = (Vec::new(), None);
        let mut rest = Vec::new();
        for &id in ids {
            let Some(whole) = self.file(id)? else {
                // Retention deletes the oldest first: those before it are gone, too.
                (files, index) = (Vec::new(), None);
                continue;
            };
            files.push((id, whole.bytes));
            let index = match &mut index {
                Some(index) => index,
                None => match IndexCheck::open(self.stream, id)? {
                    Some(opened) => index.insert(opened),
                    None if id == self.newest => {
                        index.insert(IndexCheck::not_made(self.stream, id))
                    }
                    None => return self.has_no_index(id),
                },
            };
            if id == self.newest {
                self.verified.unwritten_entries = index.take_newest(&whole.entries)?;
                rest = whole.entries;
            } else {
                index.take(&whole.entries)?;
            }
        }
        let Some(index) = index else { return Ok(None) };
        let whole_bytes = files.last().map_or(0, |(_, bytes)| *bytes);
        let newest = is_newest.then_some((self.newest.number, whole_bytes));
        self.verified.unwritten_entries += index.finish(newest)?;
        self.verified.days += 1;
        self.verified.index_bytes += index.right_bytes() + rest.len() as u64;
        let is_finished = match is_newest {
            true => self.finished == Some(day),
            false => ids[0].finish(self.stream).exists(),
        };
        Ok(Some(CheckedDay { day, files, index: (index.right_bytes(), rest), is_finished }))
    }

    /// A day without its index: retention deletes the data first.
    fn has_no_index(&mut self, id: SegmentId) -> Result<Option<CheckedDay>, Error> {
        if !self.is_listed(id.day)? {
            self.before = None;
            return Ok(None);
        }
        let (file, problem) = (id.index(self.stream), "it is missing".to_owned());
        Err(Error::Damaged { file, position: 0, problem })
    }

    /// Whether a day has data files now.
    fn is_listed(&self, day: Day) -> Result<bool, Error> {
        Ok(data_files::list(self.stream)?.iter().any(|id| id.day == day))
    }

    /// Checks a data file; `None` when retention deleted it.
    fn file(&mut self, id: SegmentId) -> Result<Option<WholeFile>, Error> {
        let Some(mut walk) = Walk::open(self.stream, id)? else {
            return self.is_gone(id).map(|()| None);
        };
        let mut count = Count {
            time_ms: self.before.as_ref().map_or(0, |before| before.time_ms),
            ..Count::default()
        };
        let mut whole = count;
        loop {
            match walk.next()? {
                Walked::Record { position, record } => {
                    self.record(&walk, position, &record, &mut count)?;
                    if walk.reading().next_offset() == record.offset + 1 {
                        count.batch_start = walk.reading().whole_bytes();
                        whole = count;
                        (self.progress)(self.verified.bytes + count.batch_start);
                    }
                }
                Walked::Rewound => count = whole,
                Walked::End => break,
            }
        }
        self.file_ended(walk, whole).map(Some)
    }

    fn record(
        &self,
        walk: &Walk,
        position: u64,
        record: &Record,
        count: &mut Count,
    ) -> Result<(), Error> {
        if record.time_ms < count.time_ms {
            return Err(walk.damage(position, "a record is older than the one before it"));
        }
        count.time_ms = record.time_ms;
        match record.kind {
            end_and_state::STATE => self.begins(walk, record)?,
            end_and_state::END => {
                let end = End::decode(record.payload.clone()).unwrap_or_default();
                if end.group_start != count.group_start && end.group_start != count.batch_start {
                    let problem = "the end of a batch is of no write group";
                    return Err(walk.damage(position, problem));
                }
                count.group_start = end.group_start;
                count.batches += 1;
            }
            kind if kind < crate::FIRST_DATA_TYPE => {
                return Err(walk.damage(position, "a record has a type that is not known"));
            }
            _ => count.records += 1,
        }
        Ok(())
    }

    /// Checks the STATE of a file against the file before.
    fn begins(&self, walk: &Walk, first: &Record) -> Result<(), Error> {
        let id = walk.id();
        let day = Day::of(first.time_ms);
        let before = self.before.as_ref();
        // After a day that was finished the next one begins, even if the clock went back.
        let is_next = |before: &Before| id.day == before.id.day || id.day == before.id.day.next();
        if day > id.day || (day < id.day && !before.is_none_or(is_next)) {
            return Err(walk.damage(0, "the first record is not of the day of the file"));
        }
        let Some(before) = before else { return Ok(()) };
        if first.offset != before.next_offset {
            if follow::is_known_gap(self.stream, before.next_offset, first.offset)? {
                return Ok(());
            }
            let (first, expected) = (first.offset, before.next_offset);
            let problem = format!("it begins with offset {first}, but {expected} comes next");
            return Err(walk.damage(0, &problem));
        }
        let number = if id.day == before.id.day { before.id.number + 1 } else { 0 };
        if id.number != number {
            let problem = format!("the file {} of this day is missing", SegmentId::name(number));
            return Err(walk.damage(0, &problem));
        }
        if *walk.reading().producers() != before.producers {
            return Err(walk.damage(0, "its state is not that at the end of the file before"));
        }
        Ok(())
    }

    fn file_ended(&mut self, walk: Walk, count: Count) -> Result<WholeFile, Error> {
        let (id, first) = (walk.id(), walk.reading().first());
        if first.is_none() && id < self.newest {
            return Err(walk.damage(0, "the file is empty, but a later one exists"));
        }
        self.last_group = count.group_start;
        let verified = &mut self.verified;
        verified.unfinished_bytes = walk.unfinished_bytes();
        let mut whole = walk.into_reading().finish();
        let Some((first, _)) = first else { return Ok(whole) };
        let WholeFile { next_offset, time_ms, bytes, .. } = whole;
        verified.files += 1;
        verified.records += count.records;
        verified.batches += count.batches;
        verified.bytes += bytes;
        verified.offsets = Some((verified.offsets.map_or(first, |(first, _)| first), next_offset));
        let producers = std::mem::take(&mut whole.producers);
        self.before = Some(Before { id, next_offset, time_ms, producers });
        Ok(whole)
    }

    /// A file that was listed is not there. Retention deletes the oldest first.
    fn is_gone(&mut self, id: SegmentId) -> Result<(), Error> {
        if let Some(before) = &self.before
            && before.id.data(self.stream).exists()
        {
            let (file, problem) = (id.data(self.stream), "it was deleted, the one before not");
            return Err(Error::Damaged { file, position: 0, problem: problem.to_owned() });
        }
        self.before = None;
        self.verified.deleted_files += 1;
        Ok(())
    }

    /// Checks which days are marked as finished.
    fn finish_marks(&self, ids: &[SegmentId], wanted: &dyn Fn(Day) -> bool) -> Result<(), Error> {
        for id in ids.chunk_by(|one, next| one.day == next.day).map(|ids| ids[0]) {
            if !wanted(id.day) {
                continue;
            }
            let mark = id.finish(self.stream);
            let length = mark.metadata().ok().map(|metadata| metadata.len());
            let problem = match length {
                Some(1..) => "it is not empty",
                None if self.was_left(id, ids) && self.is_listed(id.day)? => {
                    "it is missing, though records of a later day were acknowledged"
                }
                _ => continue,
            };
            let problem = problem.to_owned();
            return Err(Error::Damaged { file: mark, position: 0, problem });
        }
        Ok(())
    }

    /// Whether the writer went on after it had begun a later day: it marks days before that. (The
    /// write groups of a copy are larger than those that its records tell of.)
    fn was_left(&self, id: SegmentId, ids: &[SegmentId]) -> bool {
        let later = ids.iter().filter(|later| later.day > id.day).count();
        let is_copy = || self.stream.join(COPY_OF).exists();
        later > 1 || (later == 1 && self.last_group > 0 && !is_copy())
    }
}
