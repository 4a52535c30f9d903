//! Opening a stream: reads its last data file, cuts what a crash left unfinished, and refuses what
//! is damaged (the rule is in the doc of `disk`).

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use tracing::warn;

use super::{
    change,
    data_files::{self, Segment, SegmentId},
    file_reading::FileReading,
    index::RightIndex,
    scan::Scan,
};
use crate::{Error, tail::Tail};

/// So much is written again at once.
const MAX_COPIED_BYTES: u64 = 1 << 20;

/// A stream as it was found.
pub(crate) struct Recovered {
    pub(crate) segments: Vec<Segment>,
    pub(crate) tail: Tail,
}

/// How a file that cannot be read to its end is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// A crash may have left its last write group unfinished.
    Open,
    /// A later file was begun, so all of it was durable.
    Closed,
    /// It is of a copy: what is missing comes again, whatever made that.
    Copied,
}

/// Opens the stream in a directory. What it gives is durable. A copy is cut before the first damage
/// of its last file, whatever made that: the rest comes again.
pub(crate) fn recover(stream: &Path, origin: u32, is_copy: bool) -> Result<Recovered, Error> {
    let mut ids = data_files::list(stream)?;
    let mut ending = if is_copy { Ending::Copied } else { Ending::Open };
    while let Some(id) = ids.pop() {
        let Some(last) = read_last(stream, id, ending)? else {
            data_files::remove(stream, id)?;
            ending = if is_copy { Ending::Copied } else { Ending::Closed };
            continue;
        };
        let mut segments = Vec::with_capacity(ids.len() + 1);
        for id in ids {
            segments.push(data_files::describe(stream, id)?);
        }
        let is_day_over = id.finish(stream).exists();
        let tail = Tail { origin, is_day_over, ..last.tail };
        segments.push(last.segment);
        if let Some(index) = RightIndex::of(stream, &segments, &last.entries)? {
            index.write()?;
        }
        return Ok(Recovered { segments, tail });
    }
    Ok(Recovered { segments: Vec::new(), tail: Tail::new(origin) })
}

/// The end of a stream whose data files are known, and its last index; nothing of it was cut off by
/// a crash.
pub(crate) fn reread(
    stream: &Path,
    segments: &[Segment],
    origin: u32,
) -> Result<(Tail, Option<RightIndex>), Error> {
    let Some(id) = segments.last().map(|last| last.id) else {
        return Ok((Tail::new(origin), None));
    };
    let is_day_over = id.finish(stream).exists();
    let Some(last) = read_last(stream, id, Ending::Closed)? else {
        let (file, problem) = (id.data(stream), "it is empty".to_owned());
        return Err(Error::Damaged { file, position: 0, problem });
    };
    let index = RightIndex::of(stream, segments, &last.entries)?;
    Ok((Tail { origin, is_day_over, ..last.tail }, index))
}

/// The offset with which a data file must begin, if one before it says so.
pub(crate) fn offset_before(stream: &Path, id: SegmentId) -> Result<Option<u64>, Error> {
    let before = data_files::list(stream)?.into_iter().rfind(|before| *before < id);
    let Some(before) = before else { return Ok(None) };
    let mut scan = Scan::open(&before.data(stream), 0)?;
    let (bytes, mut next) = (scan.file_bytes()?, None);
    // Damage there is met when that file is read.
    while let Ok(Some((_, record))) = scan.next(bytes) {
        next = Some(record.offset + 1);
    }
    Ok(next)
}

/// The last data file, read to the end of its last whole batch.
struct LastFile {
    segment: Segment,
    tail: Tail,
    entries: Vec<u8>,
}

/// Reads the file and cuts it. `None`: it did not come as far as its STATE.
fn read_last(stream: &Path, id: SegmentId, ending: Ending) -> Result<Option<LastFile>, Error> {
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
                    if ending != Ending::Copied {
                        return Err(damage);
                    }
                    warn!(%damage, "the rest of this file of a copy comes again");
                    break;
                }
            }
            Err(damage @ Error::Damaged { .. }) => {
                if was_synced(stream, &mut scan, (&reading, ending))? {
                    return Err(damage);
                }
                break;
            }
            Err(error) => return Err(error),
        }
    }
    let whole_bytes = reading.whole_bytes();
    if ending == Ending::Closed && whole_bytes < file_bytes {
        return Err(scan.damage(whole_bytes, "the file ends within a batch"));
    }
    let start = match ending {
        Ending::Open => reading.group_start(),
        Ending::Closed => whole_bytes,
        Ending::Copied => 0,
    };
    cut(&path, (start, whole_bytes), file_bytes)?;
    Ok(LastFile::of(reading))
}

/// Whether the record that cannot be read was synced.
fn was_synced(
    stream: &Path,
    scan: &mut Scan,
    (reading, ending): (&FileReading, Ending),
) -> Result<bool, Error> {
    if ending != Ending::Open {
        return Ok(ending == Ending::Closed);
    }
    let offset = match reading.expected_offset() {
        Some(offset) => Some(offset),
        None => offset_before(stream, reading.id())?,
    };
    let (position, bytes) = (scan.position(), scan.file_bytes()?);
    scan.was_synced(position, offset, bytes)
}

/// Cuts the file after its last whole batch, and syncs it: what is read from now on is durable.
///
/// After a sync that failed, the system shows bytes that are not on the disk, and no later sync
/// brings them there. Only the last write group can be so: it is written again.
fn cut(path: &Path, (start, whole_bytes): (u64, u64), file_bytes: u64) -> Result<(), Error> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(Error::io("cannot open", path))?;
    if whole_bytes < file_bytes {
        let bytes = file_bytes - whole_bytes;
        warn!(
            file = %path.display(), bytes,
            "cut off an append that a crash left unfinished at the end of the file"
        );
        change::cut(&file, path, whole_bytes)?;
    }
    let mut at = start;
    while at < whole_bytes {
        let bytes = (whole_bytes - at).min(MAX_COPIED_BYTES);
        let mut again = vec![0; usize::try_from(bytes).unwrap_or_default()];
        file.read_exact_at(&mut again, at).map_err(Error::io("cannot read", path))?;
        change::write_at(&file, path, &again, at)?;
        at += bytes;
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
