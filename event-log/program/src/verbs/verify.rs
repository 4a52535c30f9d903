//! `event-log verify`: checks every byte of the files of a log.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bytesize::ByteSize;
use clap::Args;
use event_log::{
    Error,
    files::{self, Verified},
};
use service::say;
use tracing::{error, info};

use super::{Failure, files_at::LogDirectory};

/// A long check says so often how far it is.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    log: LogDirectory,
    /// Only this stream.
    #[arg(long)]
    stream: Option<String>,
}

/// Checks one stream or all, and says what was right and what not.
pub(crate) fn run(wanted: &Verify, config: &Path) -> Result<(), Failure> {
    let directory = wanted.log.existing(config)?;
    let streams: Vec<String> = match &wanted.stream {
        Some(stream) => vec![stream.clone()],
        None => files::stream_names(&directory)?,
    };
    let mut damaged = Vec::new();
    for stream in streams {
        let path = files::stream_directory(&directory, &stream)?;
        let begun = Instant::now();
        let checked = files::verify(&path, &mut reporter(&stream));
        match checked {
            Ok(verified) => print(&stream, &verified, begun.elapsed()),
            Err(Error::Damaged { file, position, problem }) => {
                let remedy = remedy(&file);
                error!("{} is damaged at byte {position}: {problem}; {remedy}", file.display());
                damaged.push(stream);
            }
            Err(error) => return Err(error.into()),
        }
    }
    if damaged.is_empty() {
        return Ok(());
    }
    Err(Failure::Wrong(format!("damaged: {}", damaged.join(", "))))
}

/// Says now and then how far the check is.
fn reporter(stream: &str) -> impl FnMut(u64) {
    let mut last = Instant::now();
    move |bytes| {
        if last.elapsed() >= REPORT_INTERVAL {
            last = Instant::now();
            info!(stream, checked = %ByteSize::b(bytes), "checking");
        }
    }
}

fn print(stream: &str, verified: &Verified, took: Duration) {
    let Verified { days, files, records, batches, bytes, index_bytes, .. } = *verified;
    let seconds = took.as_secs_f64().max(0.001);
    let speed = (bytes + index_bytes) as f64 / seconds / 1e6;
    let offsets = verified.offsets.map_or_else(String::new, |(first, next)| {
        format!(", offsets {first} to {}", next.saturating_sub(1))
    });
    say!(
        "{stream}: right: {records} records in {batches} batches{offsets}; {days} days, {files} \
         data files, {bytes} bytes, {index_bytes} bytes of index; {seconds:.3} s, {speed:.0} MB/s"
    );
    let notes = [
        (verified.unfinished_bytes, "bytes of an unfinished append at the end of the newest file"),
        (verified.unwritten_entries, "entries of the newest index are not written yet"),
        (verified.deleted_files, "files were deleted by retention during the check"),
    ];
    for (number, what) in notes.into_iter().filter(|(number, _)| *number > 0) {
        say!("{stream}: {number} {what}");
    }
}

/// What to do about a damaged file.
fn remedy(file: &Path) -> &'static str {
    match file.file_name().and_then(|name| name.to_str()) {
        Some("index") => {
            "the records are not concerned: restore the file from a copy, or stop the log and \
             delete the file; reading from the middle of that day is then slower"
        }
        Some("finish") => "compare with a copy; a server marks finished days when it starts",
        _ => "restore the file from a copy",
    }
}
