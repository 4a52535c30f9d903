//! `event-log ls`: the streams in the directory of a log, and their days.

use std::path::Path;

use bytesize::ByteSize;
use clap::Args;
use event_log::{
    files::{self, DayFiles, StreamFiles},
    timestamp,
};
use serde_json::json;
use service::say;

use super::{Failure, files_at::LogDirectory};

#[derive(Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    log: LogDirectory,
    /// Only this stream.
    #[arg(long)]
    stream: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints a line for each day.
pub(crate) fn run(wanted: &Ls, config: &Path) -> Result<(), Failure> {
    let directory = wanted.log.existing(config)?;
    if let Some(stream) = &wanted.stream {
        files::stream_directory(&directory, stream)?;
    }
    let mut streams = files::list(&directory)?;
    streams.retain(|found| wanted.stream.as_ref().is_none_or(|stream| *stream == found.stream));
    if wanted.json {
        say!("{:#}", json!({ "streams": streams }));
    } else {
        print(&streams);
    }
    Ok(())
}

fn print(streams: &[StreamFiles]) {
    let length = streams.iter().map(|found| found.stream.len()).max().unwrap_or_default().max(6);
    say!(
        "{:length$}  DAY       FILES {:>10} {:>20} {:>20}  {:24}  {:24}  STATE",
        "STREAM",
        "BYTES",
        "FIRST OFFSET",
        "LAST OFFSET",
        "FIRST TIME",
        "LAST TIME"
    );
    for StreamFiles { stream, days } in streams {
        if days.is_empty() {
            say!("{stream:length$}  empty");
        }
        for day in days {
            print_day(stream, length, day);
        }
    }
}

fn print_day(stream: &str, length: usize, day: &DayFiles) {
    let offset = |offset: Option<u64>| offset.map_or_else(|| "?".to_owned(), |it| it.to_string());
    let time = |time: Option<u64>| time.map_or_else(|| "?".to_owned(), timestamp);
    let state = match &day.problem {
        Some(problem) => problem,
        None if day.is_finished => "finished",
        None => "open",
    };
    say!(
        "{stream:length$}  {}  {:>5} {:>10} {:>20} {:>20}  {:24}  {:24}  {state}",
        day.day,
        day.files,
        ByteSize::b(day.bytes).to_string(),
        offset(day.first_offset),
        offset(day.last_offset),
        time(day.first_time_ms),
        time(day.last_time_ms),
    );
}
