//! Makes a stream from an archive: whole and checked, or not at all.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    rc::Rc,
};

use ring::digest::{Context, SHA256};

use super::{
    archive::{ArchiveContent, CONTENT, SUMS, Summed, VERSION, hex},
    verify,
};
use crate::{
    Error,
    copy::mark::GAPS,
    disk::{
        change,
        data_files::{self, SegmentId},
        day::Day,
    },
    log,
};

/// A list of sums, or what is in an archive, is never longer.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// Makes a stream from an archive, in the directory of a log that nobody has open and that has no
/// such stream. All is checked before the stream gets its name, so a crash leaves none.
///
/// # Errors
///
/// [`Error::Held`]; [`Error::Rejected`] when the stream is there already; [`Error::Damaged`] when
/// the archive is damaged or cut short: nothing was made.
pub fn import(archive: &Path, directory: &Path, stream: &str) -> Result<ArchiveContent, Error> {
    log::check_name(stream)?;
    let _lock = log::hold(directory)?;
    let target = directory.join(stream);
    if target.exists() {
        let reason = format!("the stream {stream} is there already, in {}", directory.display());
        return Err(Error::Rejected(reason));
    }
    // A name with a dot before it is no stream.
    let fresh = directory.join(format!(".importing-{stream}"));
    remove(&fresh)?;
    let unpacked = unpack(archive, &fresh).and_then(|content| {
        fs::rename(&fresh, &target).map_err(Error::io("cannot rename to", &target))?;
        change::sync_directory(directory)?;
        Ok(content)
    });
    if unpacked.is_err() {
        let _ = remove(&fresh);
    }
    unpacked
}

/// Removes what an import that was killed left.
fn remove(fresh: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io("cannot delete", fresh)(error))
        }
        _ => Ok(()),
    }
}

fn unpack(path: &Path, fresh: &Path) -> Result<ArchiveContent, Error> {
    let file = File::open(path).map_err(Error::io("cannot open", path))?;
    let place = Place { path: path.to_owned(), bytes: Rc::default(), entry: String::new() };
    let counted = Counted { file, bytes: Rc::clone(&place.bytes) };
    data_files::create_directory(fresh)?;
    let mut unpacking =
        Unpacking { fresh, place, content: None, sums: BTreeMap::new(), listed: None };
    let zstd = zstd::Decoder::new(counted).map_err(|error| unpacking.place.damage(&error))?;
    let mut tar = tar::Archive::new(zstd);
    let entries = tar.entries().map_err(|error| unpacking.place.damage(&error))?;
    for entry in entries {
        let entry = entry.map_err(|error| unpacking.place.damage(&error))?;
        unpacking.take(entry)?;
    }
    // The sum of zstd stands at the end.
    io::copy(&mut tar.into_inner(), &mut io::sink())
        .map_err(|error| unpacking.place.damage(&error))?;
    unpacking.finish()
}

/// How far an archive was read.
struct Place {
    path: PathBuf,
    bytes: Rc<Cell<u64>>,
    entry: String,
}

impl Place {
    /// What reading the archive said, or what is wrong in it.
    fn damage(&self, problem: &dyn std::fmt::Display) -> Error {
        let entry = if self.entry.is_empty() { "its beginning" } else { &self.entry };
        let problem = format!("or before that, in {entry}: {problem}");
        Error::Damaged { file: self.path.clone(), position: self.bytes.get(), problem }
    }
}

/// The archive itself, with a count of what was read.
struct Counted {
    file: File,
    bytes: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bytes.set(self.bytes.get() + read as u64);
        Ok(read)
    }
}

struct Unpacking<'a> {
    fresh: &'a Path,
    place: Place,
    content: Option<ArchiveContent>,
    /// The sum of each file as it came.
    sums: BTreeMap<String, String>,
    /// The sums as the archive lists them.
    listed: Option<String>,
}

impl Unpacking<'_> {
    fn take(&mut self, mut entry: tar::Entry<'_, impl Read>) -> Result<(), Error> {
        let name = entry.path().ok().and_then(|path| path.to_str().map(str::to_owned));
        let name = name.ok_or_else(|| self.place.damage(&"an entry without a name"))?;
        name.clone_into(&mut self.place.entry);
        let is_first = self.content.is_none();
        if !entry.header().entry_type().is_file()
            || self.listed.is_some()
            || self.sums.contains_key(&name)
            || is_first != (name == CONTENT)
        {
            return Err(self.place.damage(&"it does not belong there"));
        }
        let mut summed = Summed { from: &mut entry, sum: Context::new(&SHA256), bytes: 0 };
        match &*name {
            CONTENT => {
                let text = self.text(&mut summed)?;
                self.content = Some(self.read_content(&text)?);
            }
            SUMS => self.listed = Some(self.text(&mut summed)?),
            _ => self.write(&name, &mut summed)?,
        }
        let sum = hex(summed.sum.finish().as_ref());
        if name != SUMS {
            self.sums.insert(name, sum);
        }
        Ok(())
    }

    fn text(&self, from: &mut impl Read) -> Result<String, Error> {
        let mut text = String::new();
        let read = from.take(MAX_TEXT_BYTES).read_to_string(&mut text);
        read.map_err(|error| self.place.damage(&error))?;
        Ok(text)
    }

    fn read_content(&self, text: &str) -> Result<ArchiveContent, Error> {
        let content: ArchiveContent =
            serde_json::from_str(text).map_err(|error| self.place.damage(&error))?;
        if content.version != VERSION {
            let version = content.version;
            let reason = format!("the archive is of version {version}: use a newer event-log");
            return Err(Error::Rejected(reason));
        }
        Ok(content)
    }

    fn write(&self, name: &str, from: &mut impl Read) -> Result<(), Error> {
        if name == GAPS {
            return self.write_to(&self.fresh.join(name), from);
        }
        let parsed = name.split_once('/').and_then(|(day, file)| Some((Day::parse(day)?, file)));
        let is_known = parsed.is_some_and(|(day, file)| {
            matches!(file, "index" | "finish") || SegmentId::parse(day, file).is_some()
        });
        let Some((day, _)) = parsed.filter(|_| is_known) else {
            return Err(self.place.damage(&"no file of a log is called so"));
        };
        data_files::create_directory(&self.fresh.join(day.to_string()))?;
        self.write_to(&self.fresh.join(name), from)
    }

    fn write_to(&self, path: &Path, from: &mut impl Read) -> Result<(), Error> {
        let mut file = service::private::create(path).map_err(Error::io("cannot create", path))?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let read = from.read(&mut buffer).map_err(|error| self.place.damage(&error))?;
            if read == 0 {
                break;
            }
            file.write_all(&buffer[..read]).map_err(Error::io("cannot write", path))?;
        }
        file.sync_all().map_err(Error::io("cannot sync", path))
    }

    /// Checks that all came that the archive lists, and that it is a stream.
    fn finish(self) -> Result<ArchiveContent, Error> {
        let (Some(content), Some(listed)) = (self.content, self.listed) else {
            return Err(self.place.damage(&"the archive ends before its sums: it was cut short"));
        };
        let sums = self.sums.iter().map(|(name, sum)| format!("{sum}  {name}"));
        let mut came: Vec<String> = sums.collect();
        let mut listed: Vec<&str> = listed.lines().collect();
        came.sort_unstable();
        listed.sort_unstable();
        if came != listed {
            let wrong = came.iter().find(|line| !listed.contains(&line.as_str()));
            let problem = match wrong {
                Some(line) => format!("{} is not what its sum says", &line[66..]),
                None => "a file that has a sum is missing".to_owned(),
            };
            return Err(self.place.damage(&problem));
        }
        for day in &content.days {
            change::sync_directory(&self.fresh.join(day))?;
        }
        change::sync_directory(self.fresh)?;
        let verified = verify::verify(self.fresh, &mut |_| ()).map_err(|error| match error {
            Error::Damaged { file, position, problem } => {
                let file = file.strip_prefix(self.fresh).unwrap_or(&file).display();
                self.place.damage(&format!("{file} is damaged at byte {position}: {problem}"))
            }
            error => error,
        })?;
        let expected = Some((content.first_offset, content.next_offset));
        if verified.offsets != expected || verified.unfinished_bytes > 0 {
            return Err(self.place.damage(&"its files are not those that its beginning names"));
        }
        Ok(content)
    }
}
