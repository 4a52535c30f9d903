//! Keeps binlog events for later: in memory while they are few, otherwise in a file without a name,
//! which disappears when this process ends, in whatever way.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Cursor, Read, Seek, Write},
    path::Path,
};

use binlog::{EventHeader, RawEvent};

/// Place in the binlog file, rows before it, header, length of the body.
const HEAD_BYTES: usize = 8 + 8 + EventHeader::LEN + 4;

/// The place of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    /// Its place in the binlog file.
    pub(super) pos: u64,
    /// Rows of its transaction that come before it.
    pub(super) row: u64,
}

/// Events in the order in which they were pushed.
#[derive(Debug, Default)]
pub(super) struct Spool {
    memory: Vec<u8>,
    file: Option<BufWriter<File>>,
}

impl Spool {
    /// Bytes of memory that the spool takes.
    pub(super) fn memory(&self) -> usize {
        self.memory.len()
    }

    /// Adds an event. The spool goes on in a file in `directory` once it takes more than `room`
    /// bytes of memory. Returns the bytes that the event takes.
    pub(super) fn push(
        &mut self,
        (event, at): (&RawEvent<'_>, At),
        room: usize,
        directory: &Path,
    ) -> io::Result<u64> {
        let bytes = HEAD_BYTES + event.body.len();
        if self.file.is_none() && self.memory.len() + bytes > room {
            service::private::create_dir_all(directory)?;
            let mut file = BufWriter::new(tempfile::tempfile_in(directory)?);
            file.write_all(&std::mem::take(&mut self.memory))?;
            self.file = Some(file);
        }
        let out: &mut dyn Write = match &mut self.file {
            Some(file) => file,
            None => &mut self.memory,
        };
        out.write_all(&at.pos.to_le_bytes())?;
        out.write_all(&at.row.to_le_bytes())?;
        out.write_all(&event.header.write())?;
        out.write_all(&(event.body.len() as u32).to_le_bytes())?;
        out.write_all(event.body)?;
        Ok(bytes as u64)
    }

    /// Removes everything after the first `bytes`, which end with an event.
    pub(super) fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        match &mut self.file {
            None => self.memory.truncate(usize::try_from(bytes).unwrap_or(usize::MAX)),
            Some(file) => {
                file.flush()?;
                file.get_ref().set_len(bytes)?;
                file.seek(io::SeekFrom::Start(bytes))?;
            }
        }
        Ok(())
    }

    /// Reads from the first event on.
    pub(super) fn read(self) -> io::Result<SpoolReader> {
        let source: Box<dyn Read + Send> = match self.file {
            None => Box::new(Cursor::new(self.memory)),
            Some(file) => {
                let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.rewind()?;
                Box::new(BufReader::new(file))
            }
        };
        Ok(SpoolReader { source, body: Vec::new() })
    }
}

/// A spool that is being read.
pub(super) struct SpoolReader {
    source: Box<dyn Read + Send>,
    body: Vec<u8>,
}

impl SpoolReader {
    /// The next event, and its place.
    pub(super) fn next(&mut self) -> io::Result<Option<(RawEvent<'_>, At)>> {
        let mut head = [0; HEAD_BYTES];
        if self.source.read(&mut head[..1])? == 0 {
            return Ok(None);
        }
        self.source.read_exact(&mut head[1..])?;
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let (pos, rest) = head.split_first_chunk().ok_or_else(invalid)?;
        let (row, rest) = rest.split_first_chunk().ok_or_else(invalid)?;
        let (rest, length) = rest.split_last_chunk().ok_or_else(invalid)?;
        let header = EventHeader::read(rest).map_err(|_| invalid())?;
        self.body.resize(u32::from_le_bytes(*length) as usize, 0);
        self.source.read_exact(&mut self.body)?;
        let at = At { pos: u64::from_le_bytes(*pos), row: u64::from_le_bytes(*row) };
        Ok(Some((RawEvent { header, body: &self.body }, at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_as_they_went_in_from_memory_and_from_a_file() {
        let directory = tempfile::tempdir().unwrap();
        for room in [0, 300, usize::MAX] {
            let mut spool = Spool::default();
            let mut end = 0;
            let bodies: Vec<Vec<u8>> = (0..50).map(|n| vec![n; usize::from(n) * 7]).collect();
            for (body, pos) in bodies.iter().zip(100..) {
                let header = EventHeader { kind: body.len() as u8, ..EventHeader::default() };
                let event = RawEvent { header, body };
                let at = At { pos, row: pos / 2 };
                end += spool.push((&event, at), room, &directory.path().join("below")).unwrap();
            }
            let another = RawEvent { header: EventHeader::default(), body: b"taken back" };
            let at = At { pos: 1, row: 1 };
            spool.push((&another, at), room, &directory.path().join("below")).unwrap();
            spool.truncate(end).unwrap();
            assert!(spool.memory() <= room);
            let mut reader = spool.read().unwrap();
            for (body, pos) in bodies.iter().zip(100..) {
                let (event, at) = reader.next().unwrap().unwrap();
                assert_eq!((event.body, event.header.kind), (&**body, body.len() as u8));
                assert_eq!(at, At { pos, row: pos / 2 });
            }
            assert!(reader.next().unwrap().is_none());
        }
        let left = std::fs::read_dir(directory.path().join("below")).unwrap().count();
        assert_eq!(left, 0, "the files have names");
    }
}
