//! Days of a stream as one file: a tar archive, compressed with zstd, that ordinary tools open.
//!
//! Its entries: `event-log.json` (what is in it), for each day `YYYYMMDD/data000000` and so on,
//! `index` and `finish`, then `gaps` of a copy that has some, at last `SHA256SUMS`, as
//! `sha256sum --check` reads it. An archive without its sums was cut short.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::{
    list::stream_directory,
    verify::{self, CheckedDay, Verified},
};
use crate::{
    Error,
    copy::mark::GAPS,
    disk::{change, data_files::SegmentId, day::Day},
};

pub(crate) const CONTENT: &str = "event-log.json";
pub(crate) const SUMS: &str = "SHA256SUMS";
/// The version of the archive, and of the files in it.
pub(crate) const VERSION: u32 = 1;
/// How zstd weighs speed against size; its own default.
const LEVEL: i32 = 3;

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveContent {
    /// The version of the format.
    pub version: u32,
    /// The name of the stream.
    pub stream: String,
    /// The days, as `YYYYMMDD`.
    pub days: Vec<String>,
    /// The first offset.
    pub first_offset: u64,
    /// The offset after the last one.
    pub next_offset: u64,
    /// Records, without the log's own.
    pub records: u64,
    /// The bytes of all files.
    pub bytes: u64,
}

/// Which days an archive gets, first and last, as times in milliseconds since the Unix epoch that
/// lie in them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArchiveRange {
    /// `None`: from the oldest day.
    pub from_ms: Option<u64>,
    /// `None`: to the newest day.
    pub to_ms: Option<u64>,
}

/// Checks days of a stream as [`verify()`](super::verify()) does, and writes them to a new file. Of
/// a day that is not finished it takes the whole batches that are there.
///
/// # Errors
///
/// [`Error::Rejected`] when there is no such day, or the file is there already;
/// [`Error::Damaged`]: nothing was written; [`Error::Io`].
pub fn export(
    directory: &Path,
    stream: &str,
    range: ArchiveRange,
    to: &Path,
) -> Result<ArchiveContent, Error> {
    if to.exists() {
        let reason = format!("{} is there already: name another file", to.display());
        return Err(Error::Rejected(reason));
    }
    let path = stream_directory(directory, stream)?;
    let (content, days) = plan(&path, stream, range)?;
    let fresh = with_suffix(to, ".new");
    let written = write(&path, &content, &days, &fresh);
    if let Err(error) = written.and_then(|()| publish(&fresh, to)) {
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    Ok(content)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Gives the file its name, durably.
fn publish(fresh: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(fresh, to).map_err(Error::io("cannot rename to", to))?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    change::sync_directory(parent.unwrap_or(Path::new(".")))
}

/// What an archive will hold.
fn plan(
    path: &Path,
    stream: &str,
    range: ArchiveRange,
) -> Result<(ArchiveContent, Vec<CheckedDay>), Error> {
    let (from, to) = (range.from_ms.map(Day::of), range.to_ms.map(Day::of));
    let wanted = |day: Day| from.is_none_or(|from| day >= from) && to.is_none_or(|to| day <= to);
    let mut days = Vec::new();
    let verified = verify::check(path, &wanted, &mut |_| (), &mut |day| days.push(day))?;
    let Verified { offsets: Some((first_offset, next_offset)), records, bytes, .. } = verified
    else {
        let reason = format!("the stream {stream} has no records of these days");
        return Err(Error::Rejected(reason));
    };
    let bytes = bytes + verified.index_bytes;
    let names = days.iter().map(|day| day.day.to_string()).collect();
    let stream = stream.to_owned();
    let content = ArchiveContent {
        version: VERSION,
        stream,
        days: names,
        first_offset,
        next_offset,
        records,
        bytes,
    };
    Ok((content, days))
}

fn write(
    path: &Path,
    content: &ArchiveContent,
    days: &[CheckedDay],
    to: &Path,
) -> Result<(), Error> {
    let file = service::private::create(to).map_err(Error::io("cannot create", to))?;
    let failed = |error: io::Error| Error::io("cannot write", to)(error);
    let mut zstd = zstd::Encoder::new(file, LEVEL).map_err(failed)?;
    zstd.include_checksum(true).map_err(failed)?;
    let mut writer = ArchiveWriter { tar: tar::Builder::new(zstd), to, sums: String::new() };
    let json = serde_json::to_vec_pretty(content).unwrap_or_default();
    writer.add(CONTENT, json.len() as u64, &mut &json[..])?;
    for day in days {
        writer.add_day(path, day)?;
    }
    if path.join(GAPS).exists() {
        let gaps = path.join(GAPS);
        let text = fs::read(&gaps).map_err(Error::io("cannot read", &gaps))?;
        writer.add(GAPS, text.len() as u64, &mut &text[..])?;
    }
    let sums = std::mem::take(&mut writer.sums);
    writer.add(SUMS, sums.len() as u64, &mut sums.as_bytes())?;
    let zstd = writer.tar.into_inner().map_err(failed)?;
    let file = zstd.finish().map_err(failed)?;
    file.sync_all().map_err(Error::io("cannot sync", to))
}

struct ArchiveWriter<'a> {
    tar: tar::Builder<zstd::Encoder<'static, File>>,
    to: &'a Path,
    sums: String,
}

impl ArchiveWriter<'_> {
    fn add_day(&mut self, stream: &Path, day: &CheckedDay) -> Result<(), Error> {
        let Some(&(first, _)) = day.files.first() else { return Ok(()) };
        for &(id, bytes) in day.files.iter().filter(|(_, bytes)| *bytes > 0) {
            let name = format!("{}/{}", day.day, SegmentId::name(id.number));
            self.add_file(&name, &id.data(stream), bytes)?;
        }
        let name = |file: &str| format!("{}/{file}", day.day);
        let (right_bytes, rest) = &day.index;
        let path = first.index(stream);
        let bytes = right_bytes + rest.len() as u64;
        // A day that was just begun may have no index yet.
        let mut right: Box<dyn Read> = match right_bytes {
            0 => Box::new(io::empty()),
            _ => Box::new(open(&path)?.take(*right_bytes)),
        };
        self.add(&name("index"), bytes, &mut right.by_ref().chain(&rest[..]))?;
        if day.is_finished {
            self.add(&name("finish"), 0, &mut io::empty())?;
        }
        Ok(())
    }

    fn add_file(&mut self, name: &str, path: &Path, bytes: u64) -> Result<(), Error> {
        self.add(name, bytes, &mut open(path)?.take(bytes))
    }

    fn add(&mut self, name: &str, bytes: u64, from: &mut dyn Read) -> Result<(), Error> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o600);
        let mut summed = Summed { from, sum: Context::new(&SHA256), bytes: 0 };
        self.tar
            .append_data(&mut header, name, &mut summed)
            .map_err(Error::io("cannot write", self.to))?;
        if summed.bytes != bytes {
            let problem = format!("{name} changed while it was read: export again");
            return Err(Error::Failed(problem));
        }
        let sum = hex(summed.sum.finish().as_ref());
        self.sums.push_str(&format!("{sum}  {name}\n"));
        Ok(())
    }
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let path = path.display();
            Error::Failed(format!("{path} was deleted by retention meanwhile: export again"))
        }
        _ => Error::io("cannot open", path)(error),
    })
}

/// Counts and sums what is read.
pub(crate) struct Summed<R> {
    pub(crate) from: R,
    pub(crate) sum: Context,
    pub(crate) bytes: u64,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.sum.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
