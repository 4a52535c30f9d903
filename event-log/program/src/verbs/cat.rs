//! `event-log cat`: the records of a stream, from its files, as lines of JSON.

use std::path::Path;

use clap::Args;
use event_log::{Start, files::FileReader};
use tracing::warn;

use super::{
    Failure,
    files_at::StreamAt,
    lines::{Lines, Output, Wanted},
    point::Point,
};

pub(super) const READ_BYTES: usize = 1 << 20;

#[derive(Args)]
pub(crate) struct Cat {
    #[command(flatten)]
    at: StreamAt,
    /// Where to begin: an offset (1234), a UTC day (2026-03-01) or time (2026-03-01T10:00:00Z); by
    /// default with the oldest record.
    #[arg(long, value_name = "OFFSET|DAY|TIME")]
    from: Option<Point>,
    /// The last one: an offset, a day, which is printed whole, or a time; by default all there are.
    #[arg(long, visible_alias = "until", value_name = "OFFSET|DAY|TIME")]
    to: Option<Point>,
    #[command(flatten)]
    wanted: Wanted,
}

/// Prints until there is no more.
pub(crate) fn run(cat: &Cat, config: &Path) -> Result<(), Failure> {
    let start = cat.from.map_or(Start::Earliest, Point::start);
    let reader = FileReader::open(&cat.at.path(config)?, start)?;
    let mut reader = reader.filtered(&cat.wanted.filter())?;
    let mut lines = Lines::new();
    loop {
        let chunk = match reader.read(READ_BYTES) {
            Ok(chunk) => chunk,
            Err(error) => {
                lines.flush()?;
                return Err(error.into());
            }
        };
        for record in chunk.records.iter().filter(|record| cat.wanted.has_key(record)) {
            if is_past(cat.to, record.offset, record.time_ms)
                || lines.print(record)? == Output::Closed
            {
                lines.flush()?;
                return Ok(());
            }
        }
        if chunk.at_end || is_past(cat.to, chunk.next_offset, 0) {
            break;
        }
    }
    lines.flush()?;
    warn_of_unfinished(&reader)
}

fn is_past(to: Option<Point>, offset: u64, time_ms: u64) -> bool {
    to.is_some_and(|to| to.is_before(offset, time_ms))
}

/// Says when later records are there, but their time has not come.
fn warn_of_unfinished(reader: &FileReader) -> Result<(), Failure> {
    if let Some(day) = reader.unfinished_day()? {
        warn!(
            day,
            "the day is not marked as finished: later days are not read before that; the server \
             marks it when it starts"
        );
    }
    Ok(())
}
