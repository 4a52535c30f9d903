//! Opening a stream: reads its last data file, cuts what a crash left unfinished, and refuses what
//! is damaged (the rule is in the doc of `disk`).

use std::{
    fs::{self, OpenOptions},
    path::Path,
};

use tracing::warn;

use super::{
    change,
    data_files::{self, Segment, SegmentId},
    file_reading::FileReading,
    index,
    scan::Scan,
};
use crate::{Error, tail::Tail};

/// A stream as it was found.
pub(crate) struct Recovered {
    pub(crate) segments: Vec<Segment>,
    pub(crate) tail: Tail,
}

/// Opens the stream in a directory. What it gives is durable. A copy is cut before the first damage
/// of its last file, whatever made that: the rest comes again.
pub(crate) fn recover(stream: &Path, origin: u32, is_copy: bool) -> Result<Recovered, Error> {
    let mut ids = data_files::list(stream)?;
    while let Some(id) = ids.pop() {
        let Some(last) = read_last(stream, id, is_copy)? else { continue };
        let mut segments = Vec::with_capacity(ids.len() + 1);
        for id in ids {
            segments.push(data_files::describe(stream, id)?);
        }
        let is_day_over = id.finish(stream).exists();
        let tail = Tail { origin, is_day_over, ..last.tail };
        segments.push(last.segment);
        index::repair(stream, &segments, &last.entries)?;
        return Ok(Recovered { segments, tail });
    }
    Ok(Recovered { segments: Vec::new(), tail: Tail::new(origin) })
}

/// The end of a stream whose last data file is known; nothing of it was cut off by a crash.
pub(crate) fn reread(stream: &Path, last: Option<SegmentId>, origin: u32) -> Result<Tail, Error> {
    let Some(id) = last else { return Ok(Tail::new(origin)) };
    let is_day_over = id.finish(stream).exists();
    let last = read_last(stream, id, false)?;
    Ok(last.map_or_else(|| Tail::new(origin), |last| Tail { origin, is_day_over, ..last.tail }))
}

/// The last data file, read to the end of its last whole batch.
struct LastFile {
    segment: Segment,
    tail: Tail,
    entries: Vec<u8>,
}

/// Reads the file and cuts it. `None`: it did not come as far as its STATE, and is deleted.
fn read_last(stream: &Path, id: SegmentId, is_copy: bool) -> Result<Option<LastFile>, Error> {
    let path = id.data(stream);
    let mut scan = Scan::open(&path, 0)?;
    let file_bytes = scan.file_bytes()?;
    let mut reading = FileReading::new(id);
    loop {
        match scan.next(file_bytes) {
            Ok(None) => break,
            Ok(Some((position, record))) => {
                if let Err(problem) = reading.take(position, scan.position(), &record) {
                    let damage = scan.damage(position, problem);
                    if is_copy {
                        warn!(%damage, "the rest of this file of a copy comes again");
                        break;
                    }
                    return Err(damage);
                }
            }
            Err(Error::Damaged { file, position, problem }) => {
                if !is_copy && scan.was_synced(position, file_bytes)? {
                    return Err(Error::Damaged { file, position, problem });
                }
                break;
            }
            Err(error) => return Err(error),
        }
    }
    cut(&path, reading.whole_bytes(), file_bytes)?;
    let last = LastFile::of(reading);
    if last.is_none() {
        data_files::remove(stream, id)?;
    }
    Ok(last)
}

/// Cuts the file after its last whole batch, and syncs it: what is read from now on is durable.
fn cut(path: &Path, whole_bytes: u64, file_bytes: u64) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).open(path).map_err(Error::io("cannot open", path))?;
    if whole_bytes < file_bytes {
        let bytes = file_bytes - whole_bytes;
        warn!(
            file = %path.display(), bytes,
            "cut off an append that a crash left unfinished at the end of the file"
        );
        change::cut(&file, path, whole_bytes)?;
    }
    change::sync_all(&file, path)
}

impl LastFile {
    fn of(reading: FileReading) -> Option<Self> {
        let (first_offset, first_time_ms) = reading.first()?;
        let (id, bytes) = (reading.id(), reading.whole_bytes());
        let segment = Segment { id, first_offset, first_time_ms, bytes };
        let whole = reading.finish();
        let tail = Tail {
            origin: 0,
            segment: Some(id),
            position: bytes,
            next_offset: whole.next_offset,
            time_ms: whole.time_ms,
            producers: whole.producers,
            steps: whole.steps,
            is_day_over: false,
        };
        Some(Self { segment, tail, entries: whole.entries })
    }
}

/// Reads the id of this log; chooses one when the directory is new.
pub(crate) fn origin(root: &Path, fresh: u32) -> Result<u32, Error> {
    let path = root.join("origin");
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| Error::Damaged {
            file: path,
            position: 0,
            problem: "it does not hold a number".to_owned(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            replace(&path, format!("{fresh}\n").as_bytes())?;
            Ok(fresh)
        }
        Err(error) => Err(Error::io("cannot read", path)(error)),
    }
}

/// Replaces a small file: a crash leaves the old one or the new one.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), Error> {
    let fresh = path.with_extension("new");
    let file = change::create_empty(&fresh)?;
    change::write_at(&file, &fresh, content, 0)?;
    change::sync_all(&file, &fresh)?;
    change::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), change::sync_directory)
}
