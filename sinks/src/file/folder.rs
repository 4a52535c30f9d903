//! What a directory holds from before: files that were not finished, and those finished last.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use flate2::read::MultiGzDecoder;

use super::{
    Compression, Place,
    names::{self, with_suffix},
    part::FileError,
    recovery::{Whole, read_whole},
};

/// So many of the files that were finished last are read: what comes again after a crash may be in
/// them.
const MAX_LAST: usize = 16;

/// The files of the kind of a place.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) unfinished: Vec<PathBuf>,
    /// Those finished last, the newest at the end.
    pub(super) finished: Vec<PathBuf>,
}

impl Found {
    /// Looks through a directory and all below it. An unfinished file whose finished form is there
    /// is removed: a crash came between the two.
    pub(super) fn look_through(place: &Place) -> Result<Self, FileError> {
        let (mut unfinished, mut finished) = (Vec::new(), Vec::new());
        let mut folders = vec![place.directory.clone()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(FileError::of("read", &folder))?,
            };
            for entry in entries {
                let entry = entry.map_err(FileError::of("read", &folder))?;
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if names::unfinished(&path, place).is_some() {
                    unfinished.push(path);
                } else if names::is_finished(&path, place) {
                    let changed = entry.metadata().and_then(|about| about.modified());
                    finished.push((changed.unwrap_or(SystemTime::UNIX_EPOCH), path));
                }
            }
        }
        finished.sort();
        let last = finished.split_off(finished.len().saturating_sub(MAX_LAST));
        let mut found =
            Self { finished: last.into_iter().map(|(_, path)| path).collect(), ..Self::default() };
        for path in unfinished {
            found.add_unfinished(path, place)?;
        }
        found.unfinished.sort();
        Ok(found)
    }

    fn add_unfinished(&mut self, path: PathBuf, place: &Place) -> Result<(), FileError> {
        let finished = with_suffix(&path.with_extension(""), place.compression.ending());
        if finished.exists() {
            return fs::remove_file(&path).map_err(FileError::of("remove", &path));
        }
        self.unfinished.push(path);
        Ok(())
    }
}

/// What a file holds, finished or not.
pub(super) fn ids_in(path: &Path, place: &Place, max_ids: usize) -> io::Result<Whole> {
    let file = File::open(path)?;
    let is_finished = names::is_finished(path, place);
    let text: Box<dyn Read> = match place.compression {
        _ if !is_finished => Box::new(file),
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
        Compression::Zstd => Box::new(zstd::Decoder::new(file)?),
    };
    read_whole(BufReader::new(text), place.ending == ".csv", max_ids)
}
