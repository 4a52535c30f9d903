//! The data files of a stream, and the days that they belong to.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{change, day::Day, scan::Scan};
use crate::Error;

/// Where a record stands: in which file, and how far into it.
pub(crate) type FilePlace = (SegmentId, u64);

/// Which data file of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentId {
    pub(crate) day: Day,
    pub(crate) number: u32,
}

/// A data file, as far as it is durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    pub(crate) first_offset: u64,
    pub(crate) first_time_ms: u64,
    pub(crate) bytes: u64,
}

impl SegmentId {
    /// The data file of a day that is called so.
    pub(crate) fn parse(day: Day, name: &str) -> Option<Self> {
        let number: u32 = name.strip_prefix("data")?.parse().ok()?;
        (Self::name(number) == name).then_some(Self { day, number })
    }

    pub(crate) fn day_directory(self, stream: &Path) -> PathBuf {
        stream.join(self.day.to_string())
    }

    /// What the data file with this number is called.
    pub(crate) fn name(number: u32) -> String {
        format!("data{number:06}")
    }

    pub(crate) fn data(self, stream: &Path) -> PathBuf {
        self.day_directory(stream).join(Self::name(self.number))
    }

    pub(crate) fn index(self, stream: &Path) -> PathBuf {
        self.day_directory(stream).join("index")
    }

    pub(crate) fn finish(self, stream: &Path) -> PathBuf {
        self.day_directory(stream).join("finish")
    }
}

/// The data files of a stream, in order.
pub(crate) fn list(stream: &Path) -> Result<Vec<SegmentId>, Error> {
    let mut found = Vec::new();
    for day in names(stream)?.iter().filter_map(|name| Day::parse(name)) {
        let names = match names(&stream.join(day.to_string())) {
            // Retention has deleted the day since.
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => continue,
            names => names?,
        };
        for name in names {
            found.extend(SegmentId::parse(day, &name));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Reads what the first record of a closed data file says about it.
pub(crate) fn describe(stream: &Path, id: SegmentId) -> Result<Segment, Error> {
    let mut scan = Scan::open(&id.data(stream), 0)?;
    let bytes = scan.file_bytes()?;
    let Some((_, first)) = scan.next(bytes)? else {
        return Err(scan.damage(0, "the file is empty, but a later one exists"));
    };
    Ok(Segment { id, first_offset: first.offset, first_time_ms: first.time_ms, bytes })
}

/// Deletes a data file, and its day when it was the last one there.
pub(crate) fn remove(stream: &Path, id: SegmentId) -> Result<(), Error> {
    let data = id.data(stream);
    change::delete(&data)?;
    let day = id.day_directory(stream);
    if names(&day)?.iter().any(|name| name.starts_with("data")) {
        return change::sync_directory(&day);
    }
    change::delete_directory(&day)?;
    change::sync_directory(stream)
}

/// Makes a directory and those above it, durably; they may be there. A crash may have come between
/// making one that is there and syncing its name, so the name is synced in any case.
pub(crate) fn create_directory(path: &Path) -> Result<(), Error> {
    let mut missing = Vec::new();
    let mut there = path;
    while !there.is_dir()
        && let Some(above) = parent(there)
    {
        missing.push(there);
        there = above;
    }
    match parent(there).map_or(Ok(()), change::sync_directory) {
        // Whoever may not read the directory did not make the name in it.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {}
        synced => synced?,
    }
    for path in missing.into_iter().rev() {
        change::make_directory(path)?;
        parent(path).map_or(Ok(()), change::sync_directory)?;
    }
    Ok(())
}

/// The directory in which a path has its name.
fn parent(path: &Path) -> Option<&Path> {
    let parent = path.parent()?;
    let is_here = parent.as_os_str().is_empty();
    if !is_here {
        return Some(parent);
    }
    (path != Path::new(".")).then_some(Path::new("."))
}

/// The names in a directory that are text.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(path).map_err(Error::io("cannot read the directory", path))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
    let names: Result<Vec<_>, _> = names.collect();
    let names = names.map_err(Error::io("cannot read the directory", path))?;
    Ok(names.into_iter().flatten().collect())
}
