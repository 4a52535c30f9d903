//! A file that is being written.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufReader, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use flate2::write::GzEncoder;

use super::{
    Compression, Place,
    names::{self, PART, with_suffix},
    recovery::{Whole, read_whole},
};

/// Why a file cannot be written.
#[derive(Debug)]
pub(super) struct FileError {
    what: &'static str,
    /// Its name may be made of values of a row.
    pub(super) path: PathBuf,
    error: io::Error,
}

impl FileError {
    pub(super) fn of<'p>(
        what: &'static str,
        path: &'p Path,
    ) -> impl FnOnce(io::Error) -> Self + 'p {
        move |error| Self { what, path: path.to_owned(), error }
    }
}

/// A file of ours: nobody else writes to it.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    path: PathBuf,
    /// How much of it is synced.
    bytes: u64,
    pub(super) header: String,
    began: SystemTime,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, StorageFull};

        let Self { what, path: _, error } = self;
        write!(f, "cannot {what} a file: {error}")?;
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => {
                f.write_str("; make room there: nothing is lost, the batch waits")
            }
            PermissionDenied => f.write_str("; let the user of event-worker write there"),
            _ => Ok(()),
        }
    }
}

impl Part {
    /// Makes a new file.
    pub(super) fn make(place: &Place, name: &str, header: &str) -> Result<Self, FileError> {
        let now = SystemTime::now();
        let base = place.directory.join(format!("{name}-{}", names::stamp(now)));
        let folder = base.parent().unwrap_or(&place.directory);
        fs::create_dir_all(folder).map_err(FileError::of("make", folder))?;
        let (path, file) = make_unused(&base, place)?;
        let mut part = Self { file, path, bytes: 0, header: header.to_owned(), began: now };
        match part.append(header.as_bytes()).and_then(|()| sync_folder(folder)) {
            Ok(()) => Ok(part),
            Err(wrong) => {
                // There is nothing in it; one that stays is removed at the next start.
                let _ = fs::remove_file(&part.path);
                Err(wrong)
            }
        }
    }

    /// Opens a file that was left unfinished, and cuts off what is not whole; with the ids of its
    /// last changes. `None` where another process writes to it, or where there is nothing in it.
    pub(super) fn open(
        path: &Path,
        place: &Place,
        max_ids: usize,
    ) -> Result<Option<(Self, Whole)>, FileError> {
        let Some((_, began)) = names::unfinished(path, place) else { return Ok(None) };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(FileError::of("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(FileError::of("lock", path)(error)),
        }
        let is_csv = place.ending == ".csv";
        let whole = read_whole(BufReader::new(&file), is_csv, max_ids)
            .map_err(FileError::of("read", path))?;
        let mut part =
            Self { file, path: path.to_owned(), bytes: whole.bytes, header: String::new(), began };
        part.header.clone_from(&whole.header);
        if part.is_empty() {
            fs::remove_file(path).map_err(FileError::of("remove", path))?;
            return Ok(None);
        }
        part.cut()?;
        Ok(Some((part, whole)))
    }

    /// The name that the file was made for, without its folder's path.
    pub(super) fn name(&self, place: &Place) -> Option<String> {
        names::unfinished(&self.path, place).map(|(name, _)| name)
    }

    /// Whether a file has enough in it, or is old enough.
    pub(super) fn is_due(&self, place: &Place, now: SystemTime) -> bool {
        let age = now.duration_since(self.began).unwrap_or(Duration::ZERO);
        !self.is_empty() && (self.bytes >= place.max_bytes || age >= place.max_age)
    }

    fn is_empty(&self) -> bool {
        self.bytes <= self.header.len() as u64
    }

    /// Writes, and syncs. After a failure the file is as it was before.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.bytes += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // What is left of it is cut off at the latest when the file is opened again.
                let _ = self.cut();
                Err(FileError::of("write", &self.path)(error))
            }
        }
    }

    fn cut(&mut self) -> Result<(), FileError> {
        let cut = self.file.set_len(self.bytes).and_then(|()| self.file.sync_data());
        let cut = cut.and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
        cut.map(|_| ()).map_err(FileError::of("cut", &self.path))
    }

    /// Gives the file its name, compressed if that is wanted. It may be called again after a
    /// failure.
    pub(super) fn finish(&self, place: &Place) -> Result<(), FileError> {
        if self.is_empty() {
            return fs::remove_file(&self.path).map_err(FileError::of("remove", &self.path));
        }
        let name = self.path.with_extension("");
        let folder = self.path.parent().unwrap_or(&place.directory).to_owned();
        if place.compression == Compression::None {
            fs::rename(&self.path, &name).map_err(FileError::of("rename", &self.path))?;
            return sync_folder(&folder);
        }
        let name = with_suffix(&name, place.compression.ending());
        let unfinished = with_suffix(&name, PART);
        self.compress(&unfinished, place.compression)
            .map_err(FileError::of("write", &unfinished))?;
        fs::rename(&unfinished, &name).map_err(FileError::of("rename", &unfinished))?;
        sync_folder(&folder)?;
        fs::remove_file(&self.path).map_err(FileError::of("remove", &self.path))?;
        sync_folder(&folder)
    }

    fn compress(&self, path: &Path, compression: Compression) -> io::Result<()> {
        let mut source = File::open(&self.path)?;
        let target = File::create(path)?;
        let written = match compression {
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(target, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                io::copy(&mut source, &mut encoder)?;
                encoder.finish()?
            }
            _ => {
                let mut encoder = GzEncoder::new(target, flate2::Compression::default());
                io::copy(&mut source, &mut encoder)?;
                encoder.finish()?
            }
        };
        written.sync_all()
    }
}

/// A file of this second that neither is there nor was finished.
fn make_unused(base: &Path, place: &Place) -> Result<(PathBuf, File), FileError> {
    for number in 1_u32.. {
        let name = with_suffix(base, &format!("-{number}{}", place.ending));
        let path = with_suffix(&name, PART);
        if name.exists() || with_suffix(&name, place.compression.ending()).exists() {
            continue;
        }
        match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
            Ok(file) => match file.try_lock() {
                Ok(()) => return Ok((path, file)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(FileError::of("lock", &path)(error)),
            },
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(FileError::of("make", &path)(error)),
        }
    }
    Err(FileError::of("make", base)(io::ErrorKind::AlreadyExists.into()))
}

fn sync_folder(folder: &Path) -> Result<(), FileError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::of("sync", folder))
}
