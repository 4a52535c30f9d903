//! `event-log export`: days of a stream as one archive.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use clap::Args;
use event_log::files::{self, ArchiveRange};
use service::say;

use super::{Failure, files_at::StreamAt, point::DayPoint};

#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    at: StreamAt,
    /// The archive to write, as NAME.tar.zst.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// The first day (UTC), as 2026-03-01; by default the oldest.
    #[arg(long, value_name = "DAY")]
    from: Option<DayPoint>,
    /// The last day (UTC); by default the newest.
    #[arg(long, value_name = "DAY")]
    until: Option<DayPoint>,
}

/// Checks the days, and writes them to the archive.
pub(crate) fn run(export: &Export, config: &Path) -> Result<(), Failure> {
    let directory = export.at.log.existing(config)?;
    let range = ArchiveRange {
        from_ms: export.from.map(|DayPoint(day)| day),
        to_ms: export.until.map(|DayPoint(day)| day),
    };
    let content = files::export(&directory, &export.at.stream, range, &export.to)?;
    let archive_bytes = export.to.metadata().map_or(0, |metadata| metadata.len());
    say!(
        "{}: {} days of {}, {} records, offsets {} to {}; {} in {}",
        export.to.display(),
        content.days.len(),
        content.stream,
        content.records,
        content.first_offset,
        content.next_offset.saturating_sub(1),
        ByteSize::b(content.bytes),
        ByteSize::b(archive_bytes),
    );
    Ok(())
}
