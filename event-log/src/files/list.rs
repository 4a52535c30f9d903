//! What the directory of a log holds: streams, and their days.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::follow;
use crate::{
    Error,
    config::is_stream_name,
    disk::{
        data_files::{self, SegmentId},
        day::Day,
        index::Sought,
        walk::{Walk, Walked},
    },
};

/// The days of a stream, the oldest first.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamFiles {
    /// The name of the stream.
    pub stream: String,
    /// Its days.
    pub days: Vec<DayFiles>,
}

/// The files of a day.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DayFiles {
    /// As its directory is called: `YYYYMMDD`.
    pub day: String,
    /// How many data files it has.
    pub files: usize,
    /// The bytes of its data files.
    pub bytes: u64,
    /// The offset of its first record; `None`: it has no whole batch yet, or is damaged.
    pub first_offset: Option<u64>,
    /// The offset of its last record, the log's own counted.
    pub last_offset: Option<u64>,
    /// When the first record was taken in, in milliseconds since the Unix epoch.
    pub first_time_ms: Option<u64>,
    /// When the last record was taken in.
    pub last_time_ms: Option<u64>,
    /// Whether nothing more can come into this day.
    pub is_finished: bool,
    /// What is damaged, as far as was seen.
    pub problem: Option<String>,
}

/// The streams in the directory of a log, by their names.
///
/// # Errors
///
/// [`Error::Io`] when a directory or a file cannot be read. Damage is no error here.
pub fn list(directory: &Path) -> Result<Vec<StreamFiles>, Error> {
    let names = stream_names(directory)?.into_iter();
    names.map(|name| of_stream(directory, name)).collect()
}

/// Whether a directory is that of a log.
///
/// # Errors
///
/// [`Error::Rejected`], when it is another, or that of a stream; [`Error::Io`], when it cannot be
/// read.
pub fn check_log(directory: &Path) -> Result<(), Error> {
    let names = data_files::names(directory)?;
    // What was imported has no origin before a server has opened it.
    let has_days = |name: &String| {
        let names = data_files::names(&directory.join(name));
        is_stream_name(name) && names.is_ok_and(|names| names.iter().any(|name| is_day(name)))
    };
    if names.iter().any(|name| name == "origin" || has_days(name)) {
        return Ok(());
    }
    let problem = format!("{} holds no log", directory.display());
    let is_stream = names.iter().any(|name| is_day(name));
    Err(Error::Rejected(match directory.file_name().filter(|_| is_stream) {
        Some(name) => {
            let stream = name.to_string_lossy();
            format!(
                "{problem}, but days of one stream: give the directory above it, and --stream {stream}"
            )
        }
        None => format!("{problem}: give the directory of [storage] in the config of its server"),
    }))
}

fn is_day(name: &str) -> bool {
    Day::parse(name).is_some()
}

/// The directory of a stream that is there.
///
/// # Errors
///
/// [`Error::Rejected`] when there is none, with the names of those that there are.
pub fn stream_directory(directory: &Path, stream: &str) -> Result<PathBuf, Error> {
    let names = stream_names(directory)?;
    if names.iter().any(|name| name == stream) {
        return Ok(directory.join(stream));
    }
    let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let directory = directory.display();
    Err(Error::Rejected(format!(
        "there is no stream {stream:?} in {directory}; there are: {there}"
    )))
}

/// The names of the streams in the directory of a log.
///
/// # Errors
///
/// [`Error::Io`].
pub fn stream_names(directory: &Path) -> Result<Vec<String>, Error> {
    let mut names = data_files::names(directory)?;
    names.retain(|name| is_stream_name(name) && directory.join(name).is_dir());
    names.sort_unstable();
    Ok(names)
}

fn of_stream(directory: &Path, stream: String) -> Result<StreamFiles, Error> {
    let path = directory.join(&stream);
    let ids = data_files::list(&path)?;
    let days = ids.chunk_by(|one, next| one.day == next.day).map(|ids| of_day(&path, ids));
    Ok(StreamFiles { stream, days: days.collect::<Result<_, _>>()? })
}

fn of_day(stream: &Path, ids: &[SegmentId]) -> Result<DayFiles, Error> {
    let (first, last) = (ids[0], ids[ids.len() - 1]);
    let length = |id: &SegmentId| id.data(stream).metadata().map_or(0, |metadata| metadata.len());
    let mut day = DayFiles {
        day: first.day.to_string(),
        files: ids.len(),
        bytes: ids.iter().map(length).sum(),
        first_offset: None,
        last_offset: None,
        first_time_ms: None,
        last_time_ms: None,
        is_finished: first.finish(stream).exists(),
        problem: None,
    };
    match add_ends(stream, (first, last), &mut day) {
        Err(problem @ Error::Damaged { .. }) => day.problem = Some(problem.to_string()),
        added => added?,
    }
    Ok(day)
}

/// Adds what the first and the last record say. A file that was just deleted says nothing.
fn add_ends(
    stream: &Path,
    (first, last): (SegmentId, SegmentId),
    day: &mut DayFiles,
) -> Result<(), Error> {
    if let Some(mut walk) = Walk::open(stream, first)?
        && let Some((offset, time_ms)) = follow::first(&mut walk)?
    {
        (day.first_offset, day.first_time_ms) = (Some(offset), Some(time_ms));
    }
    let Some(mut walk) = Walk::seek(stream, last, Sought::Offset(u64::MAX))? else { return Ok(()) };
    while !matches!(walk.next()?, Walked::End) {}
    if let Some((offset, time_ms)) = walk.reading().last() {
        (day.last_offset, day.last_time_ms) = (Some(offset), Some(time_ms));
    }
    Ok(())
}
