//! Reading a data file record by record, each one checked.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::{Buf, Bytes, BytesMut};

use super::{
    end_and_state::{self, End},
    frame,
};
use crate::{Error, record::Record};

/// How much is read at once, unless a record is longer.
const READ_BYTES: usize = 256 << 10;

/// A place in a data file. The records that it gives share its buffer, which is used again as soon
/// as they are dropped.
#[derive(Debug)]
pub(crate) struct Scan {
    file: File,
    path: PathBuf,
    /// Where the next record begins.
    position: u64,
    /// What was read from `position` on.
    buffer: BytesMut,
}

impl Scan {
    pub(crate) fn open(path: &Path, position: u64) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io("cannot open", path))?;
        Ok(Self { file, path: path.to_owned(), position, buffer: BytesMut::new() })
    }

    /// Another place in the same file.
    pub(crate) fn again_at(&self, position: u64) -> Result<Self, Error> {
        let file = self.file.try_clone().map_err(Error::io("cannot open", &self.path))?;
        Ok(Self { file, path: self.path.clone(), position, buffer: BytesMut::new() })
    }

    pub(crate) fn file_bytes(&self) -> Result<u64, Error> {
        let metadata = self.file.metadata().map_err(Error::io("cannot read", &self.path))?;
        Ok(metadata.len())
    }

    /// Where the next record begins.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The CRC, the offset and the length of the record that begins here; its content is not read.
    pub(crate) fn peek(&mut self, end: u64) -> Result<(u32, u64, u64), Error> {
        let left = end.saturating_sub(self.position);
        if left < frame::HEADER_BYTES as u64 {
            return Err(self.damage(self.position, "the file ends within a record"));
        }
        self.fill(frame::HEADER_BYTES, left)?;
        let (crc, offset) = frame::crc_and_offset(&self.buffer);
        Ok((crc, offset, frame::length(&self.buffer).unwrap_or_default() as u64))
    }

    /// The next record and its position; `None` at `end`, which is where a record ends.
    pub(crate) fn next(&mut self, end: u64) -> Result<Option<(u64, Record)>, Error> {
        let left = end.saturating_sub(self.position);
        if left == 0 {
            return Ok(None);
        }
        if left < frame::HEADER_BYTES as u64 {
            return Err(self.damage(self.position, "the file ends within a record"));
        }
        self.fill(frame::HEADER_BYTES, left)?;
        let Some(length) = frame::length(&self.buffer) else {
            return Err(self.damage(self.position, "the length of a record is impossible"));
        };
        if length as u64 > left {
            return Err(self.damage(self.position, "the file ends within a record"));
        }
        self.fill(length, left)?;
        let bytes = self.buffer.split_to(length).freeze();
        let record = frame::decode(bytes).map_err(|problem| self.damage(self.position, problem))?;
        let position = self.position;
        self.position += length as u64;
        Ok(Some((position, record)))
    }

    /// Whether what stands at `position` was synced: a later write group was begun (the rule is in
    /// the doc of `disk`). `offset` is what comes there, where that is known: an END that cannot
    /// follow is part of a payload, which may be a piece of a log.
    pub(crate) fn was_synced(
        &mut self,
        position: u64,
        offset: Option<u64>,
        end: u64,
    ) -> Result<bool, Error> {
        self.finds_end(position + 1, end, |at, found, end| {
            let most = (at - position) / frame::HEADER_BYTES as u64;
            let follows = |offset| found >= offset && found - offset <= most;
            end.group_start > position && end.group_start <= at && offset.is_none_or(follows)
        })
    }

    /// Goes to a place where a record begins, and reads it from the file again.
    pub(crate) fn go_to(&mut self, position: u64) {
        (self.position, self.buffer) = (position, BytesMut::new());
    }

    /// The file that is open.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Whether there is a whole END, anywhere from `from` on, that `proves` accepts: it is told
    /// where that stands, its offset, and what it says. Skips all else, byte by byte.
    fn finds_end(
        &mut self,
        from: u64,
        end: u64,
        proves: impl Fn(u64, u64, &End) -> bool,
    ) -> Result<bool, Error> {
        self.go_to(from);
        while self.position + frame::HEADER_BYTES as u64 <= end {
            let left = end - self.position;
            self.fill(frame::HEADER_BYTES, left)?;
            let length = frame::length(&self.buffer).filter(|&length| length as u64 <= left);
            if let Some(length) = length.filter(|_| frame::is_own(&self.buffer, end_and_state::END))
            {
                self.fill(length, left)?;
                let record = frame::decode(Bytes::copy_from_slice(&self.buffer[..length]));
                let end = record
                    .ok()
                    .and_then(|record| Some((record.offset, End::decode(record.payload)?)));
                if end.is_some_and(|(offset, end)| proves(self.position, offset, &end)) {
                    return Ok(true);
                }
            }
            self.buffer.advance(1);
            self.position += 1;
        }
        Ok(false)
    }

    pub(crate) fn damage(&self, position: u64, problem: &str) -> Error {
        Error::Damaged { file: self.path.clone(), position, problem: problem.to_owned() }
    }

    /// Has at least `wanted` bytes in the buffer; `left` are to be had.
    fn fill(&mut self, wanted: usize, left: u64) -> Result<(), Error> {
        let have = self.buffer.len();
        if have >= wanted {
            return Ok(());
        }
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let target = wanted.max(READ_BYTES).min(left);
        self.buffer.reserve(target - have);
        self.buffer.resize(target, 0);
        self.file
            .read_exact_at(&mut self.buffer[have..], self.position + have as u64)
            .map_err(Error::io("cannot read", &self.path))
    }
}
