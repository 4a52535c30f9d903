//! What is deleted: whole data files, by age and by size, and what groups hold back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytesize::ByteSize;
use tracing::{info, warn};

use crate::{
    Error, OnFull, StorageConfig, Stream,
    disk::segment::{self, Segment},
    stream::Shared,
};

type Streams = BTreeMap<String, Stream>;

/// Deletes the files whose every record is older than `retention` and that no group needs.
pub(crate) fn expire(stream: &Arc<Shared>, retention: Duration, now_ms: u64) {
    let retention_ms = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
    let oldest_kept_ms = now_ms.saturating_sub(retention_ms);
    while let Some(oldest) = oldest_closed(stream)
        && oldest.last_time_ms < oldest_kept_ms
        && !oldest.is_needed
    {
        if let Err(error) = delete_oldest(stream, "its age") {
            warn!(stream = stream.name, %error, "cannot delete an old file: trying again later");
            return;
        }
    }
}

/// Deletes files until all streams together are below `max_bytes`, or says who holds them.
pub(crate) fn make_room(config: &StorageConfig, streams: &Streams) -> Result<(), Error> {
    while bytes(streams) >= config.max_bytes {
        let closed = streams.values().filter_map(|stream| {
            oldest_closed(&stream.shared).map(|oldest| (&stream.shared, oldest))
        });
        // Those that nobody needs go first.
        let next = closed.min_by_key(|(_, oldest)| (oldest.is_needed, oldest.last_time_ms));
        match next {
            Some((stream, oldest)) if !oldest.is_needed || config.on_full == OnFull::DropOldest => {
                if oldest.is_needed {
                    warn!(stream = stream.name, "deleting records that a group has not read");
                }
                delete_oldest(stream, "the size of the log")?;
            }
            _ => return Err(full(config, streams)),
        }
    }
    Ok(())
}

fn bytes(streams: &Streams) -> u64 {
    let of = |stream: &Stream| stream.shared.segments().iter().map(|file| file.bytes).sum::<u64>();
    streams.values().map(of).sum()
}

fn full(config: &StorageConfig, streams: &Streams) -> Error {
    let max_bytes = ByteSize::b(config.max_bytes);
    let held = streams.values().filter_map(|stream| {
        let (group, committed) = stream.shared.groups.slowest()?;
        let behind = stream.shared.end().saturating_sub(committed);
        Some((behind, group, &stream.shared.name))
    });
    let holder = match held.max() {
        Some((behind, group, stream)) => format!(
            "group {group} of stream {stream} is the furthest behind, by {behind} offsets: let it \
             go on or remove it, or raise maxBytes"
        ),
        None => "raise maxBytes".to_owned(),
    };
    Error::Full(format!("maxBytes = {max_bytes} is reached; {holder}"))
}

/// The oldest file of a stream, if it is not the one that is written to.
struct OldestClosed {
    /// No record of it is younger.
    last_time_ms: u64,
    /// Whether a group has not finished it.
    is_needed: bool,
}

fn oldest_closed(stream: &Arc<Shared>) -> Option<OldestClosed> {
    let next: Segment = *stream.segments().get(1)?;
    let slowest = stream.groups.slowest();
    Some(OldestClosed {
        last_time_ms: next.first_time_ms,
        is_needed: slowest.is_some_and(|(_, committed)| committed < next.first_offset),
    })
}

fn delete_oldest(stream: &Arc<Shared>, reason: &str) -> Result<(), Error> {
    let mut segments = stream.segments();
    if segments.len() < 2 {
        return Ok(());
    }
    let oldest = segments.remove(0);
    let file = oldest.id.data(&stream.directory);
    drop(segments);
    info!(file = %file.display(), reason, "deleting a data file");
    segment::remove(&stream.directory, oldest.id)
}
