//! From one data file of a stream to the next: only when nothing more can come in the one before.

use std::path::Path;

use crate::{
    Error,
    copy::mark,
    disk::{
        data_files::{self, SegmentId},
        end_and_state,
        walk::{Walk, Walked},
    },
};

/// So often a file may vanish between a look at the directory and its opening.
pub(crate) const MAX_TRIES: usize = 100;

/// What comes after a data file that was read to its end.
pub(crate) enum Next {
    /// Nothing, for now.
    Wait,
    /// More in the same file.
    More,
    /// Another file.
    File(Box<Walk>),
}

/// What comes after the file of `walk`, all whole batches of which were read. `wanted` is the
/// offset that the reader waits for.
pub(crate) fn next(stream: &Path, walk: &mut Walk, wanted: u64) -> Result<Next, Error> {
    for _ in 0..MAX_TRIES {
        let ids = data_files::list(stream)?;
        let before = walk.id();
        let mut later = ids.iter().filter(|id| **id > before);
        let Some(&id) = later.next() else { return Ok(Next::Wait) };
        if walk.has_more()? {
            return Ok(Next::More);
        }
        if !may_leave(stream, before, id) {
            return Ok(Next::Wait);
        }
        let Some(mut file) = Walk::open(stream, id)? else { continue };
        let first = first_offset(&mut file)?;
        let is_newest = later.next().is_none();
        let empty = |file: &Walk| Err(file.damage(0, "the file is empty, but a later one exists"));
        if walk.reading().whole_bytes() == 0 {
            return empty(walk);
        }
        let first = match first {
            Some(first) if !is_newest || has_batch(&mut file)? => first,
            None if !is_newest => return empty(&file),
            _ => return Ok(Next::Wait),
        };
        check_follows(stream, walk, &file, (first, wanted))?;
        if let Some(file) = Walk::open(stream, id)? {
            return Ok(Next::File(Box::new(file)));
        }
    }
    Ok(Next::Wait)
}

/// Whether nothing can come any more between two files. When retention has deleted the first one,
/// it was complete.
fn may_leave(stream: &Path, from: SegmentId, to: SegmentId) -> bool {
    from.day == to.day || from.finish(stream).exists() || !from.data(stream).exists()
}

/// The first offset of a file whose first record is whole.
pub(crate) fn first_offset(walk: &mut Walk) -> Result<Option<u64>, Error> {
    Ok(first(walk)?.map(|(offset, _)| offset))
}

/// Offset and time of the first record of a file, when it is whole.
pub(crate) fn first(walk: &mut Walk) -> Result<Option<(u64, u64)>, Error> {
    loop {
        match walk.next()? {
            Walked::Record { record, .. } => return Ok(Some((record.offset, record.time_ms))),
            Walked::Rewound => {}
            Walked::End => return Ok(None),
        }
    }
}

/// Whether a batch follows the STATE of a file: a file that was only begun can be taken back.
fn has_batch(walk: &mut Walk) -> Result<bool, Error> {
    loop {
        match walk.next()? {
            Walked::Record { record, .. } if record.kind == end_and_state::END => return Ok(true),
            Walked::Record { .. } | Walked::Rewound => {}
            Walked::End => return Ok(false),
        }
    }
}

fn check_follows(
    stream: &Path,
    walk: &Walk,
    file: &Walk,
    (first, wanted): (u64, u64),
) -> Result<(), Error> {
    let expected = walk.reading().next_offset();
    if first == expected {
        return Ok(());
    }
    let is_deleted = || !walk.id().data(stream).exists();
    if first > expected && (is_deleted() || is_known_gap(stream, expected, first)?) {
        return Err(Error::OffsetGone { offset: expected.max(wanted), first });
    }
    let problem = format!("it begins with offset {first}, but {expected} comes next");
    Err(file.damage(0, &problem))
}

/// Whether a copy notes that it has not got these offsets.
pub(crate) fn is_known_gap(stream: &Path, from: u64, to: u64) -> Result<bool, Error> {
    let gaps = mark::gaps(stream)?;
    Ok(gaps.iter().any(|gap| (gap.from..gap.to).contains(&from) && gap.to == to))
}
