//! How far a file is in the log, and how the file is recognised again.

use std::{fs::File, io, os::unix::fs::FileExt};

use serde::{Deserialize, Serialize};

/// The fingerprint of a file is over so many bytes at its beginning.
const HEAD_BYTES: u64 = 1024;
/// And over so many before the place, at the most.
const TAIL_BYTES: usize = 256;
const READ_BYTES: usize = 256 << 10;

/// How far a file is in the log: an entry of the producer's checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Place {
    /// Where the file was found last.
    pub(super) path: String,
    /// What was read.
    #[serde(flatten)]
    pub(super) read: ReadBytes,
    /// So many pieces of the line at this place are in the log already.
    #[serde(default)]
    pub(super) pieces: u32,
    /// What was read before the file was truncated: a copy that was made of it goes on there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<ReadBytes>,
}

/// The bytes of a file that were read, and how they are recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReadBytes {
    /// How many there are.
    pub(super) offset: u64,
    /// The CRC32C of all of them; `None`: they were not all read.
    pub(super) crc: Option<u32>,
    /// That of the first, up to 1024.
    head: Print,
    /// That of the last.
    tail: Print,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Print {
    bytes: u64,
    crc: u32,
}

impl ReadBytes {
    /// None yet.
    pub(super) fn none() -> Self {
        Self { crc: Some(0), ..Self::default() }
    }

    /// As if all before `offset` were read, without reading it. A file that became shorter
    /// meanwhile was not read at all.
    pub(super) fn skipped_to(offset: u64, file: &File) -> io::Result<Self> {
        Ok(Self::print_of(offset, file)?.unwrap_or_else(Self::none))
    }

    /// How the first so many bytes are recognised; `None` when the file has not so many.
    pub(super) fn print_of(bytes: u64, file: &File) -> io::Result<Option<Self>> {
        let print = |at: u64, bytes: u64| {
            Ok::<_, io::Error>(crc_of(file, at, bytes)?.map(|crc| Print { bytes, crc }))
        };
        let tail = bytes.min(TAIL_BYTES as u64);
        let head = print(0, bytes.min(HEAD_BYTES))?;
        let ends = head.zip(print(bytes - tail, tail)?);
        Ok(ends.map(|(head, tail)| Self { offset: bytes, crc: None, head, tail }))
    }

    /// Takes the bytes that come next.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.head.bytes == self.offset {
            let room = usize::try_from(HEAD_BYTES.saturating_sub(self.offset)).unwrap_or(0);
            let head = bytes.get(..room).unwrap_or(bytes);
            self.head.crc = crc32c::crc32c_append(self.head.crc, head);
            self.head.bytes += head.len() as u64;
        }
        let tail = bytes.get(bytes.len().saturating_sub(TAIL_BYTES)..).unwrap_or(bytes);
        self.tail = Print { bytes: tail.len() as u64, crc: crc32c::crc32c(tail) };
        self.crc = self.crc.map(|crc| crc32c::crc32c_append(crc, bytes));
        self.offset += bytes.len() as u64;
    }

    /// Whether the file begins with what was read, as far as the fingerprint says.
    pub(super) fn is_in(&self, file: &File) -> io::Result<bool> {
        let Self { offset, head, tail, .. } = self;
        Ok(crc_of(file, 0, head.bytes)? == Some(head.crc)
            && crc_of(file, offset.saturating_sub(tail.bytes), tail.bytes)? == Some(tail.crc))
    }

    /// Whether the file begins with exactly what was read: reads all of that.
    pub(super) fn is_wholly_in(&self, file: &File) -> io::Result<bool> {
        let Some(crc) = self.crc else { return Ok(false) };
        Ok(self.is_in(file)? && crc_of(file, 0, self.offset)? == Some(crc))
    }
}

/// The CRC32C of some bytes of a file; `None` when it has not so many.
fn crc_of(file: &File, mut at: u64, bytes: u64) -> io::Result<Option<u32>> {
    let (mut left, mut crc) = (bytes, 0);
    let mut buffer = Vec::new();
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(READ_BYTES);
        buffer.resize(want, 0);
        match file.read_exact_at(&mut buffer, at) {
            Ok(()) => crc = crc32c::crc32c_append(crc, &buffer),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        (at, left) = (at + want as u64, left - want as u64);
    }
    Ok(Some(crc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_recognised_by_what_was_read_of_it() {
        let text: Vec<u8> = (0..3000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
        let directory = tempfile::tempdir().unwrap();
        let file = |content: &[u8]| {
            let path = directory.path().join("f");
            std::fs::write(&path, content).unwrap();
            File::open(path).unwrap()
        };
        for parts in [vec![1, 5, 1100, 3000], vec![4000], vec![1024, 1, 1], vec![]] {
            let mut read = ReadBytes::none();
            let mut at = 0;
            for part in parts {
                read.take(&text[at..at + part]);
                at += part;
            }
            assert_eq!(read.offset, at as u64);
            assert!(read.is_wholly_in(&file(&text)).unwrap());
            let skipped = ReadBytes::skipped_to(read.offset, &file(&text)).unwrap();
            assert!(skipped.is_in(&file(&text)).unwrap());
            assert_eq!(skipped.head, read.head);
            if at > 0 {
                assert!(!read.is_in(&file(&text[..at - 1])).unwrap());
                for changed in [0, at / 2, at - 1] {
                    let mut other = text.clone();
                    other[changed] ^= 1;
                    assert!(!read.is_wholly_in(&file(&other)).unwrap());
                }
            }
        }
    }
}
