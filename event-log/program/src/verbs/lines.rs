//! Records as lines of JSON, and which of them are wanted.

use std::{
    io::{self, BufWriter, ErrorKind, StdoutLock, Write},
    path::PathBuf,
};

use clap::Args;
use event_log::{Error, PrintedRecord, Record, Start, Subscribe};

const BUFFER_BYTES: usize = 64 << 10;

/// Which records of a stream.
#[derive(Args)]
pub(crate) struct Wanted {
    /// A regular expression for the whole topic; may be given several times.
    #[arg(long, value_name = "REGEX")]
    topic: Vec<String>,
    /// The type; may be given several times.
    #[arg(long = "type", value_name = "N")]
    kind: Vec<u32>,
    /// The id of the log where the record was first appended; may be given several times.
    #[arg(long, value_name = "N")]
    origin: Vec<u32>,
    /// The key, whole.
    #[arg(long)]
    key: Option<String>,
}

impl Wanted {
    /// What a reader is asked for.
    pub(crate) fn filter(&self) -> Subscribe {
        Subscribe {
            group: String::new(),
            start: Start::Earliest,
            topics: self.topic.clone(),
            kinds: self.kind.clone(),
            origins: self.origin.clone(),
            addressee: None,
            max_bytes: 0,
            client: String::new(),
        }
    }

    /// What a reader does not know of.
    pub(crate) fn has_key(&self, record: &Record) -> bool {
        self.key.as_ref().is_none_or(|key| record.key == key.as_bytes())
    }
}

/// Standard output, for lines.
pub(crate) struct Lines {
    out: BufWriter<StdoutLock<'static>>,
}

/// Whether somebody still reads the lines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Open,
    Closed,
}

impl Lines {
    pub(crate) fn new() -> Self {
        Self { out: BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock()) }
    }

    pub(crate) fn print(&mut self, record: &Record) -> Result<Output, Error> {
        let line = serde_json::to_writer(&mut self.out, &PrintedRecord::of(record));
        let written = line.map_err(io::Error::from).and_then(|()| self.out.write_all(b"\n"));
        outcome(written)
    }

    pub(crate) fn flush(&mut self) -> Result<Output, Error> {
        outcome(self.out.flush())
    }
}

fn outcome(written: io::Result<()>) -> Result<Output, Error> {
    match written {
        Ok(()) => Ok(Output::Open),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Output::Closed),
        Err(source) => {
            let path = PathBuf::from("standard output");
            Err(Error::Io { action: "cannot write to", path, source })
        }
    }
}
