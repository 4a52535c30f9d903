//! `event-log tail`: the last records of a stream, from its files, and those that come.

use std::{collections::VecDeque, path::Path, time::Duration};

use clap::Args;
use event_log::{Error, Record, Start, files::FileReader};
use tracing::warn;

use super::{
    Failure,
    cat::READ_BYTES,
    files_at::StreamAt,
    lines::{Lines, Output, Wanted},
};

/// So often the files are looked at for more.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    at: StreamAt,
    /// How many records.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    records: usize,
    /// Go on with those that come, also over midnight.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    wanted: Wanted,
}

/// Prints the last records, and then, if wanted, those that come.
pub(crate) async fn run(tail: &Tail, config: &Path) -> Result<(), Failure> {
    let stream = tail.at.path(config)?;
    let (last, mut reader) = last(tail, &stream)?;
    let mut lines = Lines::new();
    for record in &last {
        if lines.print(record)? == Output::Closed {
            return Ok(());
        }
    }
    while lines.flush()? == Output::Open && tail.follow {
        let chunk = reader.read(READ_BYTES)?;
        for record in chunk.records.iter().filter(|record| tail.wanted.has_key(record)) {
            if lines.print(record)? == Output::Closed {
                return Ok(());
            }
        }
        if chunk.at_end {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
    Ok(())
}

/// The last records that are wanted, and a reader that stands after them.
fn last(tail: &Tail, stream: &Path) -> Result<(VecDeque<Record>, FileReader), Failure> {
    let mut end = FileReader::open(stream, Start::Latest)?.filtered(&tail.wanted.filter())?;
    if tail.records == 0 {
        return Ok((VecDeque::new(), end));
    }
    let end_offset = end.read(READ_BYTES)?.next_offset;
    // A batch has at least two offsets.
    let mut back = u64::try_from(tail.records).unwrap_or(u64::MAX).saturating_mul(2).max(64);
    loop {
        let start = end_offset.saturating_sub(back);
        let found = last_from(tail, stream, start)?;
        if found.records.len() >= tail.records || found.is_all {
            return Ok((found.records, found.reader));
        }
        back = back.saturating_mul(8);
    }
}

/// The last records from an offset on.
struct LastRecords {
    records: VecDeque<Record>,
    reader: FileReader,
    /// There are no earlier ones.
    is_all: bool,
}

fn last_from(tail: &Tail, stream: &Path, start: u64) -> Result<LastRecords, Failure> {
    let (mut start, mut is_all) = (Start::Offset(start), start == 0);
    let mut records = VecDeque::new();
    'open: loop {
        let mut reader = match FileReader::open(stream, start) {
            Err(Error::OffsetGone { first, .. }) => {
                (start, is_all) = (Start::Offset(first), true);
                continue;
            }
            reader => reader?.filtered(&tail.wanted.filter())?,
        };
        loop {
            let chunk = match reader.read(READ_BYTES) {
                Err(Error::OffsetGone { offset, first }) => {
                    warn!(offset, first, "records were deleted, or this copy never got them");
                    (start, is_all) = (Start::Offset(first), true);
                    continue 'open;
                }
                chunk => chunk?,
            };
            for record in chunk.records.into_iter().filter(|record| tail.wanted.has_key(record)) {
                if records.len() == tail.records {
                    records.pop_front();
                }
                records.push_back(record);
            }
            if chunk.at_end {
                return Ok(LastRecords { records, reader, is_all });
            }
        }
    }
}
