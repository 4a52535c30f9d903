//! The one thread that writes a stream: for each write group one write, one fsync, then the
//! answers.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, PoisonError},
};

use tracing::{error, warn};

use crate::{
    Error,
    disk::{
        change,
        data_files::{self, SegmentId},
        index::RightIndex,
        recovery,
    },
    queue::WriteFailure,
    shared::SharedStream,
    tail::{Tail, WriteGroup},
};

/// Writes until the queue is closed and empty.
pub(crate) fn run(stream: &Arc<SharedStream>) {
    let mut writer = StreamWriter { stream: Arc::clone(stream), open: None, index: None };
    while let Some(pending) = stream.queue.take() {
        match writer.write(&pending.group) {
            Ok(()) => {
                stream.room.found();
                stream.publish(&pending.group);
                stream.queue.written(pending);
            }
            Err(problem) if problem.is_out_of_room() => {
                warn!(stream = stream.name, %problem, "the disk is full: appends are refused");
                stream.room.refused(&problem);
                let failure = WriteFailure::Full(format!("{problem}; make room on that disk"));
                let start = pending.group.start;
                let opens = pending.group.opens;
                stream.queue.failed(pending, failure, || writer.take_back(start, opens));
            }
            Err(problem) => {
                error!(stream = stream.name, %problem, "a write failed: no more appends are taken");
                let failure = WriteFailure::Poisoned(problem.to_string());
                stream.queue.failed(pending, failure, || Err(problem));
            }
        }
    }
}

struct StreamWriter {
    stream: Arc<SharedStream>,
    open: Option<OpenFile>,
    /// After a write that failed: the last index may not be on the disk, and is written again as
    /// soon as there is room.
    index: Option<RightIndex>,
}

/// The file that is written to, and the index of its day.
struct OpenFile {
    id: SegmentId,
    data: File,
    index: File,
    index_bytes: u64,
}

impl StreamWriter {
    fn write(&mut self, group: &WriteGroup) -> Result<(), Error> {
        if group.data.is_empty() {
            return Ok(());
        }
        if let Some(index) = &self.index {
            index.write()?;
            self.index = None;
        }
        if let Some(id) = group.opens {
            self.begin(id)?;
        }
        let directory = &self.stream.directory;
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(OpenFile::existing(&self.stream)?),
        };
        let path = open.id.data(directory);
        change::write_at(&open.data, &path, &group.data, group.start)?;
        if !group.index.is_empty() {
            let path = open.id.index(directory);
            change::write_at(&open.index, &path, &group.index, open.index_bytes)?;
        }
        change::sync_data(&open.data, &path)?;
        open.check_is_there(directory)?;
        open.index_bytes += group.index.len() as u64;
        if group.opens.is_some() {
            self.stream.finish_days_before(open.id.day)?;
        }
        Ok(())
    }

    /// Begins a file: its name is durable before any append in it is answered.
    fn begin(&mut self, id: SegmentId) -> Result<(), Error> {
        let directory = &self.stream.directory;
        if let Some(before) = self.open.take() {
            change::sync_data(&before.index, &before.id.index(directory))?;
        }
        data_files::create_directory(&id.day_directory(directory))?;
        self.open = Some(OpenFile::at(&self.stream, id, true)?);
        change::sync_directory(&id.day_directory(directory))
    }

    /// Takes back what was written of a write group, so that the stream ends where it ended before.
    fn take_back(&mut self, start: u64, opens: Option<SegmentId>) -> Result<Tail, Error> {
        let directory = &self.stream.directory;
        let open = self.open.take();
        if let Some(OpenFile { id, index, index_bytes, .. }) = &open {
            change::cut(index, &id.index(directory), *index_bytes)?;
        }
        match (opens, &open) {
            (Some(id), _) if id.data(directory).exists() => data_files::remove(directory, id)?,
            (None, Some(OpenFile { id, data, .. })) => {
                let path = id.data(directory);
                change::cut(data, &path, start)?;
                change::sync_all(data, &path)?;
            }
            _ => {}
        }
        // A file that is deleted meanwhile is not looked for.
        let _deleting = self.stream.deleting.lock().unwrap_or_else(PoisonError::into_inner);
        let segments = self.stream.segments().clone();
        let (tail, index) = recovery::reread(directory, &segments, self.stream.origin)?;
        self.index = index;
        Ok(tail)
    }
}

impl OpenFile {
    fn existing(stream: &SharedStream) -> Result<Self, Error> {
        let Some(id) = stream.last_segment() else {
            return Err(Error::Poisoned("a batch came before its file".to_owned()));
        };
        Self::at(stream, id, false)
    }

    /// What is written to a file that somebody has deleted is lost with its last descriptor.
    fn check_is_there(&self, directory: &Path) -> Result<(), Error> {
        for (file, path) in
            [(&self.data, self.id.data(directory)), (&self.index, self.id.index(directory))]
        {
            let about = file.metadata().map_err(Error::io("cannot read", &path))?;
            if about.nlink() == 0 {
                let deleted =
                    io::Error::other("somebody deleted this file of a log that is in use");
                return Err(Error::io("cannot append to", path)(deleted));
            }
        }
        Ok(())
    }

    fn at(stream: &SharedStream, id: SegmentId, fresh: bool) -> Result<Self, Error> {
        let (data_path, index_path) = (id.data(&stream.directory), id.index(&stream.directory));
        let data = if fresh {
            change::create_new(&data_path)?
        } else {
            let data = OpenOptions::new().write(true).open(&data_path);
            data.map_err(Error::io("cannot open", &data_path))?
        };
        let index = change::open(&index_path)?;
        let index_bytes = index.metadata().map_err(Error::io("cannot read", &index_path))?.len();
        Ok(Self { id, data, index, index_bytes })
    }
}
