//! A file that is followed: what is new in it, and whether it still is what it was.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::PathBuf,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::{
    FileSet,
    gone::Gone,
    pieces::{self, Piece},
    place::{Place, ReadBytes},
};
use crate::{LineType, proto::NewRecord, typed::with_header};

/// About so much is read of a file at once.
const CHUNK_BYTES: usize = 256 << 10;

/// How lines become records.
#[derive(Clone, Debug)]
pub(super) struct LineRules {
    pub(super) max_line_bytes: usize,
    pub(super) host: String,
}

/// A file that is followed.
#[derive(Debug)]
pub(super) struct FollowedFile {
    /// Which set it belongs to.
    pub(super) set: usize,
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// As the server has it, or shall have it.
    pub(super) place: Place,
    /// The server does not have the place as it is.
    pub(super) is_dirty: bool,
    /// `None` while it is found under the paths; else since when it was not found or has grown.
    pub(super) idle_since: Option<Instant>,
    /// Not more in one batch: less after the server rejected one.
    pub(super) max_records: usize,
    /// Left alone until then, after the server rejected a line.
    pub(super) parked_until: Option<Instant>,
    /// Its size and time of change when it was looked at.
    seen: Option<(u64, i64, i64)>,
    /// It changed while nothing could be read: whether the place still fits is to be looked at.
    must_look: bool,
    /// It was written anew, and may be a copy: it is not read before that is clear.
    pub(super) is_unsure: bool,
    /// How what it had at the last look is recognised.
    print: Option<ReadBytes>,
    /// So much of what it has was read, where the place does not say it: it was written anew while
    /// nothing could be read, or nobody knows its place yet.
    pub(super) read_to: Option<u64>,
    /// What it had at the last look, and nobody has read.
    pub(super) gone: Vec<Gone>,
    has_told_wrong: bool,
    /// So often all files were looked at since it was truncated.
    looks_since: u8,
}

/// So often all files are looked at for the copy of one that was truncated. The copy was made
/// before; a file that comes later and begins in the same way is another one.
pub(super) const LOOKS_FOR_COPY: u8 = 2;

/// What was read ahead of the place.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) place: Place,
    /// There is more already.
    pub(super) is_more: bool,
    /// All was read, down to the last byte.
    pub(super) is_all: bool,
}

impl FollowedFile {
    pub(super) fn new(set: usize, path: PathBuf, (file, place): (File, Place)) -> Self {
        Self {
            set,
            path,
            file,
            place,
            is_dirty: false,
            idle_since: None,
            max_records: usize::MAX,
            parked_until: None,
            seen: None,
            must_look: false,
            is_unsure: false,
            print: None,
            read_to: None,
            gone: Vec::new(),
            has_told_wrong: false,
            looks_since: 0,
        }
    }

    /// It was found under the paths.
    pub(super) fn found_at(&mut self, path: PathBuf) {
        self.idle_since = None;
        if self.path != path {
            self.place.path = path.to_string_lossy().into_owned();
            self.path = path;
            self.is_dirty = true;
        }
    }

    /// Takes the place that the server has. Whether the file still fits is to be looked at again.
    pub(super) fn go_on_at(&mut self, place: Place) {
        let path = std::mem::take(&mut self.place.path);
        self.place = Place { path, ..place };
        self.must_look = true;
    }

    /// The server has all before this place. The file may have another path since.
    pub(super) fn sent(&mut self, place: Place) {
        let path = std::mem::take(&mut self.place.path);
        self.is_dirty = path != place.path;
        self.place = Place { path, ..place };
        self.parked_until = None;
        self.max_records = self.max_records.saturating_mul(2);
    }

    /// It is the copy of a file of which this was read.
    pub(super) fn go_on_as_copy(&mut self, read: ReadBytes) {
        self.place.read = read;
        (self.is_dirty, self.is_unsure) = (true, false);
    }

    /// All files were looked at: after some times its copy is not expected any more.
    pub(super) fn forget_before(&mut self, has_candidates: bool) {
        self.looks_since = self.looks_since.saturating_add(1);
        if self.looks_since >= LOOKS_FOR_COPY && !has_candidates {
            self.place.before = None;
        }
    }

    /// When it was changed last, as far as was seen.
    pub(super) fn changed(&self) -> (i64, i64) {
        self.seen.map_or((0, 0), |(_, seconds, nanoseconds)| (seconds, nanoseconds))
    }

    /// What was not read, as far as was seen.
    pub(super) fn behind_bytes(&self) -> u64 {
        self.size().saturating_sub(self.place.read.offset)
    }

    /// How large it was when it was looked at.
    pub(super) fn size(&self) -> u64 {
        self.seen.map_or(0, |(size, ..)| size)
    }

    /// What was not read, also where the place says nothing about what it has now.
    pub(super) fn unread_bytes(&self) -> u64 {
        self.size().saturating_sub(self.read_to.unwrap_or(self.place.read.offset))
    }

    /// Looks whether it has changed; begins again where it was truncated or written anew.
    pub(super) fn look(&mut self) -> io::Result<()> {
        self.watch()?;
        if !self.must_look {
            return Ok(());
        }
        self.begin_again_if_new()?;
        (self.must_look, self.read_to) = (false, None);
        Ok(())
    }

    /// Looks whether it has changed while nothing can be read, and notes what is gone.
    pub(super) fn watch(&mut self) -> io::Result<()> {
        let metadata = self.file.metadata()?;
        let now = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        if self.seen == Some(now) {
            return Ok(());
        }
        self.seen = Some(now);
        self.must_look = true;
        if let Some(since) = &mut self.idle_since {
            *since = Instant::now();
        }
        if let Some(print) = &self.print
            && !print.is_in(&self.file)?
        {
            let is_place = self.read_to.is_none();
            let read_to = self.read_to.unwrap_or(self.place.read.offset);
            let (set, path, print) = (self.set, self.path.clone(), print.clone());
            self.gone.push(Gone { set, path, print, read_to, is_place, looks: 0 });
            if !(is_place && self.place.read.is_in(&self.file)?) {
                self.read_to = Some(0);
            }
        }
        self.print = ReadBytes::print_of(metadata.len(), &self.file)?;
        Ok(())
    }

    fn begin_again_if_new(&mut self) -> io::Result<()> {
        let read = &self.place.read;
        if self.size() >= read.offset && read.is_in(&self.file)? {
            return Ok(());
        }
        let (file, offset) = (self.path.display(), read.offset);
        info!(%file, offset, "the file was truncated or written anew: it has a new beginning");
        let before = std::mem::replace(&mut self.place.read, ReadBytes::none());
        self.place.before = Some(before);
        self.place.pieces = 0;
        (self.is_dirty, self.is_unsure, self.looks_since) = (true, true, 0);
        Ok(())
    }

    /// Whether it was not found under the paths, and has not grown, for so long.
    pub(super) fn is_idle(&self, close_after: Duration) -> bool {
        self.idle_since.is_some_and(|since| since.elapsed() >= close_after)
    }

    /// Whether there is anything to read or to save.
    pub(super) fn has_work(&self) -> bool {
        self.is_dirty || self.behind_bytes() > 0
    }

    /// Whether it is left alone: the server rejected a line, or it is not clear where it begins.
    pub(super) fn is_left_alone(&self) -> bool {
        (self.is_unsure && self.size() > 0)
            || self.parked_until.is_some_and(|until| until > Instant::now())
    }

    /// Reads lines from the place on. When the file `is_over`, its last line needs no line feed.
    pub(super) fn read(
        &mut self,
        (set, rules): (&FileSet, &LineRules),
        is_over: bool,
        records: &mut Vec<NewRecord>,
    ) -> io::Result<Ahead> {
        let mut place = self.place.clone();
        let max = rules.max_line_bytes;
        let bytes = self.bytes(CHUNK_BYTES.max(max + 1))?;
        let is_whole = (bytes.len() as u64) >= self.behind_bytes();
        let (mut at, start) = (0, records.len());
        while records.len() - start < self.max_records
            && let Some(rest) = bytes.get(at..)
            && let Some(piece) = pieces::next(rest, place.pieces, max, is_over && is_whole)
        {
            let offset = place.read.offset + at as u64;
            records.push(self.record((set, rules), piece, offset));
            place.pieces = if piece.is_last { 0 } else { piece.number };
            at += piece.taken;
        }
        let is_more = at > 0 && (!is_whole || records.len() - start == self.max_records);
        place.read.take(bytes.get(..at).unwrap_or_default());
        Ok(Ahead { place, is_more, is_all: is_whole && at == bytes.len() })
    }

    fn bytes(&self, max: usize) -> io::Result<Vec<u8>> {
        let want = usize::try_from(self.behind_bytes()).unwrap_or(usize::MAX).min(max);
        let (mut bytes, mut read) = (vec![0; want], 0);
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, self.place.read.offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }

    fn record(
        &mut self,
        (set, rules): (&FileSet, &LineRules),
        piece: Piece<'_>,
        offset: u64,
    ) -> NewRecord {
        let Piece { text, number, is_last, .. } = piece;
        let needs_whole = matches!(set.form.line, LineType::Json(_) | LineType::AppLog);
        let made = match number > 0 && needs_whole {
            true => Err(format!("is longer than {} bytes", rules.max_line_bytes)),
            false => set.form.record(text),
        };
        let mut record = made.unwrap_or_else(|problem| {
            if !std::mem::replace(&mut self.has_told_wrong, true) {
                let file = self.path.display();
                warn!(%file, offset, "a line {problem}: it is kept as it is, with type 1000");
            }
            set.form.record_of_wrong(text, &problem)
        });
        record = with_header(record, "file", self.path.to_string_lossy().into_owned());
        record = with_header(record, "offset", offset.to_string());
        record = with_header(record, "host", rules.host.clone());
        if number > 0 {
            record = with_header(record, "part", number.to_string());
            if is_last {
                record = with_header(record, "parts", number.to_string());
            }
        }
        record
    }
}
