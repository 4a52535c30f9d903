//! `event-log import`: makes a stream from an archive.

use std::path::{Path, PathBuf};

use clap::Args;
use event_log::files;
use service::say;

use super::{Failure, files_at::StreamAt};

#[derive(Args)]
pub(crate) struct Import {
    /// The archive, as `export` writes it.
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    #[command(flatten)]
    at: StreamAt,
}

/// Checks the archive, and makes the stream.
pub(crate) fn run(import: &Import, config: &Path) -> Result<(), Failure> {
    let directory = import.at.log.path(config)?;
    let stream = &import.at.stream;
    let content = files::import(&import.archive, &directory, stream)?;
    say!(
        "{stream} in {}: {} days, {} records, offsets {} to {}",
        directory.display(),
        content.days.len(),
        content.records,
        content.first_offset,
        content.next_offset.saturating_sub(1),
    );
    Ok(())
}
