//! Names of files: `NAME-TIME-NUMBER.jsonl`, with `.gz` or `.zst` if it is compressed, and with
//! `.part` while it is written.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{Compression, Place};

/// What names of unfinished files end with.
pub(super) const PART: &str = ".part";

impl Compression {
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// A time in a file's name: `20261129T042152Z`.
pub(super) fn stamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string().replace(['-', ':'], "")
}

/// The name below the directory that an unfinished file was made for, and when it was made. `None`
/// where the file is not one of ours.
pub(super) fn unfinished(path: &Path, place: &Place) -> Option<(String, SystemTime)> {
    parsed(path, place, PART)
}

/// Whether a file is one that we finished.
pub(super) fn is_finished(path: &Path, place: &Place) -> bool {
    parsed(path, place, place.compression.ending()).is_some()
}

fn parsed(path: &Path, place: &Place, suffix: &str) -> Option<(String, SystemTime)> {
    let path = path.strip_prefix(&place.directory).ok()?.to_str()?;
    let rest = path.strip_suffix(suffix)?.strip_suffix(place.ending)?;
    let (rest, number) = rest.rsplit_once('-')?;
    number.parse::<u32>().ok()?;
    let (name, stamp) = rest.rsplit_once('-')?;
    let digits: Option<Vec<&str>> = [0..4, 4..6, 6..8, 9..11, 11..13, 13..15]
        .into_iter()
        .map(|range| stamp.get(range))
        .collect();
    let [year, month, day, hour, minute, second] = digits?[..] else { return None };
    let time = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    Some((name.to_owned(), humantime::parse_rfc3339(&time).ok()?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let place = Place {
            directory: "out".into(),
            ending: ".jsonl",
            max_bytes: 1,
            max_age: Duration::ZERO,
            compression: Compression::Gzip,
        };
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let path = format!("out/a/shop-x.item-{}-12.jsonl", stamp(made));
        let part = with_suffix(Path::new(&path), PART);
        assert_eq!(unfinished(&part, &place), Some(("a/shop-x.item".to_owned(), made)));
        assert!(is_finished(&with_suffix(Path::new(&path), ".gz"), &place));
        for other in ["out/notes.jsonl.part", "out/a-b-1.jsonl.part", "else/x.part", &path] {
            assert_eq!(unfinished(Path::new(other), &place), None, "{other}");
        }
    }
}
