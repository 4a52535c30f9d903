//! What is deleted: whole data files, by age and by size; and which groups still need them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytesize::ByteSize;
use tracing::{info, warn};

use crate::{
    Error, OnFull, StorageConfig,
    disk::data_files::{self, Segment},
    group::Slowest,
    shared::SharedStream,
};

/// What to do about a group that holds the log.
const REMEDY: &str = "let the group go on; or forget the group, if its listener is gone for good \
                      (event-worker groups forget -t ID, event-log groups forget GROUP); or raise \
                      maxBytes";

pub(crate) type Streams = BTreeMap<String, Arc<SharedStream>>;

/// Deletes the files whose every record is older than `retention` and that no group needs.
pub(crate) fn expire(stream: &Arc<SharedStream>, retention: Duration, now_ms: u64) {
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

/// Deletes files until a stream is below its own limit and all streams together are below
/// `max_bytes`, or says which group needs them.
pub(crate) fn make_room(
    config: &StorageConfig,
    streams: &Streams,
    (name, held): (&str, &FullWarning),
) -> Result<(), Error> {
    make_room_in(config, streams, name)?;
    let holder = held.look(config, streams);
    if let (Some(holder), true) = (&holder, config.is_spool) {
        warn!(
            directory = %config.directory.display(),
            waiting = %ByteSize::b(holder.bytes),
            max_bytes = %ByteSize::b(config.max_bytes),
            "the spool will be full: the server takes less than is reported, or nothing; when it \
             is full, what is reported has to wait"
        );
    } else if let Some(holder) = holder {
        warn!(
            held = %ByteSize::b(holder.bytes),
            max_bytes = %ByteSize::b(config.max_bytes),
            group = holder.group.name,
            stream = holder.stream,
            has_member = holder.group.has_member,
            "the log will be full: this group is the furthest behind; {REMEDY}"
        );
    }
    while bytes(streams) >= config.max_bytes {
        let closed = streams
            .values()
            .filter_map(|stream| oldest_closed(stream).map(|oldest| (stream, oldest)));
        // Files that nobody needs go first.
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

/// Deletes files of a stream until it is below its own limit.
fn make_room_in(config: &StorageConfig, streams: &Streams, name: &str) -> Result<(), Error> {
    let (Some(stream), (_, Some(max_bytes))) = (streams.get(name), config.limits_of(name)) else {
        return Ok(());
    };
    while bytes_of(stream) >= max_bytes {
        match oldest_closed(stream) {
            Some(oldest) if !oldest.is_needed => {}
            Some(_) if config.on_full == OnFull::DropOldest => {
                warn!(stream = name, "deleting records that a group has not read");
            }
            _ => return Err(full_alone(name, stream, max_bytes)),
        }
        delete_oldest(stream, "the size of its stream")?;
    }
    Ok(())
}

/// Why the next append to a stream would be refused for want of room. Deletes nothing.
pub(crate) fn refusal(config: &StorageConfig, streams: &Streams, name: &str) -> Option<Error> {
    if config.on_full == OnFull::DropOldest {
        return None;
    }
    let kept = |stream: &Arc<SharedStream>| bytes_of(stream).saturating_sub(deletable(stream));
    if let (Some(stream), (_, Some(max_bytes))) = (streams.get(name), config.limits_of(name))
        && kept(stream) >= max_bytes
    {
        return Some(full_alone(name, stream, max_bytes));
    }
    let all: u64 = streams.values().map(kept).sum();
    (all >= config.max_bytes).then(|| full(config, streams))
}

/// The bytes of the closed files of a stream that no group needs.
fn deletable(stream: &Arc<SharedStream>) -> u64 {
    let slowest = stream.groups.slowest();
    let segments = stream.segments();
    let is_needed =
        |next: &Segment| slowest.as_ref().is_some_and(|slow| slow.committed < next.first_offset);
    let closed = segments.iter().zip(segments.iter().skip(1));
    closed.take_while(|(_, next)| !is_needed(next)).map(|(file, _)| file.bytes).sum()
}

fn bytes_of(stream: &Arc<SharedStream>) -> u64 {
    stream.segments().iter().map(|file| file.bytes).sum()
}

/// The bytes of the data files of all streams.
pub(crate) fn bytes(streams: &Streams) -> u64 {
    streams.values().map(bytes_of).sum()
}

/// Warns before the log is full, when most of its room is kept for groups.
#[derive(Debug, Default)]
pub(crate) struct FullWarning {
    is_told: AtomicBool,
}

impl FullWarning {
    /// It warns from this part of `max_bytes` on, in percent.
    const HIGH: u64 = 75;
    /// Below this part it may warn again.
    const LOW: u64 = 60;

    /// The group that needs most, when it is time to warn.
    fn look<'a>(&self, config: &StorageConfig, streams: &'a Streams) -> Option<Holder<'a>> {
        let part = |percent: u64| config.max_bytes / 100 * percent;
        let is_told = self.is_told.load(Relaxed);
        if !is_told && bytes(streams) < part(Self::HIGH) {
            return None;
        }
        let holders: Vec<Holder<'_>> = streams.values().filter_map(Holder::of).collect();
        let held: u64 = holders.iter().map(|holder| holder.bytes).sum();
        if held < part(Self::LOW) {
            self.is_told.store(false, Relaxed);
        }
        let is_due = held >= part(Self::HIGH) && !self.is_told.swap(true, Relaxed);
        holders.into_iter().max_by_key(|holder| holder.bytes).filter(|_| is_due)
    }
}

/// The group of a stream that is furthest behind, and what is kept for it.
struct Holder<'a> {
    stream: &'a str,
    group: Slowest,
    bytes: u64,
}

impl<'a> Holder<'a> {
    fn of(stream: &'a Arc<SharedStream>) -> Option<Self> {
        let group = stream.groups.slowest()?;
        Some(Self { stream: &stream.name, bytes: stream.held_by(group.committed), group })
    }
}

fn full(config: &StorageConfig, streams: &Streams) -> Error {
    let held = streams.values().filter_map(behind);
    let holder = held.max_by_key(|(behind, _)| *behind).map(|(_, holder)| holder);
    let holder = holder.unwrap_or_else(|| "raise maxBytes".to_owned());
    Error::Full(format!("maxBytes = {} is reached; {holder}", ByteSize::b(config.max_bytes)))
}

fn full_alone(name: &str, stream: &Arc<SharedStream>, max_bytes: u64) -> Error {
    let holder = behind(stream).map(|(_, holder)| holder);
    let holder = holder.unwrap_or_else(|| "raise it".to_owned());
    let max_bytes = ByteSize::b(max_bytes);
    Error::Full(format!("maxBytes = {max_bytes} of stream {name} is reached; {holder}"))
}

/// How far the slowest group of a stream is behind, and what to do about it.
fn behind(stream: &Arc<SharedStream>) -> Option<(u64, String)> {
    let Slowest { name, committed, has_member } = stream.groups.slowest()?;
    let behind = stream.end().saturating_sub(committed);
    let nobody = if has_member { "" } else { ", and it has no member" };
    let stream = &stream.name;
    let said = format!(
        "group {name} of stream {stream} is the furthest behind, by {behind} offsets{nobody}: \
         {REMEDY}"
    );
    Some((behind, said))
}

/// The oldest file of a stream, if it is not the one that is written to.
struct OldestClosed {
    /// No record in it is newer.
    last_time_ms: u64,
    /// Whether a group has not finished it.
    is_needed: bool,
}

fn oldest_closed(stream: &Arc<SharedStream>) -> Option<OldestClosed> {
    let (oldest, next): (Segment, Segment) = {
        let segments = stream.segments();
        (*segments.first()?, *segments.get(1)?)
    };
    let slowest = stream.groups.slowest();
    Some(OldestClosed {
        // The next record may have come long after the day.
        last_time_ms: next.first_time_ms.min(oldest.id.day.next().begins_ms()),
        is_needed: slowest.is_some_and(|slowest| slowest.committed < next.first_offset),
    })
}

/// Deletes the oldest file of a stream. One at a time: a reader of files sees the oldest go first.
fn delete_oldest(stream: &Arc<SharedStream>, reason: &str) -> Result<(), Error> {
    let _deleting = stream.deleting.lock().unwrap_or_else(PoisonError::into_inner);
    let mut segments = stream.segments();
    if segments.len() < 2 {
        return Ok(());
    }
    let oldest = segments.remove(0);
    let file = oldest.id.data(&stream.directory);
    drop(segments);
    info!(file = %file.display(), reason, "deleting a data file");
    let removed = data_files::remove(&stream.directory, oldest.id);
    if removed.is_err() && file.exists() {
        stream.segments().insert(0, oldest);
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Append, Log, NewHeaders, NewRecord, Stream, StreamLimits};

    async fn append(stream: &Stream) {
        let (payload, headers) = (vec![b'x'; 500], NewHeaders::Text(&[]));
        let record = NewRecord { kind: 1001, topic: "t", key: b"k", headers, payload: &payload };
        let append = Append { producer: None, records: [record], checkpoint: &[] };
        stream.append(append).await.unwrap();
    }

    #[tokio::test]
    async fn a_group_that_has_nearly_finished_a_file_is_not_told_to_hold_all_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(StorageConfig::new(directory.path())).unwrap();
        let stream = log.stream("s").unwrap();
        for _ in 0..400 {
            append(&stream).await;
        }
        stream.reset_group("close", stream.state().next_offset - 3).await.unwrap();
        let (held, all) = (stream.state().groups[0].held_bytes, stream.state().bytes);
        assert!(held > 0 && held < all / 2, "{held} of {all}");
    }

    #[tokio::test]
    async fn a_stream_with_a_limit_of_its_own_is_full_alone_and_keeps_its_own_time() {
        let directory = tempfile::tempdir().unwrap();
        let limits =
            StreamLimits { retention: Some(Duration::from_hours(1)), max_bytes: Some(10_000) };
        let streams = [("small-*".to_owned(), limits), ("*".to_owned(), StreamLimits::default())];
        let new = StorageConfig::new(directory.path());
        let config = StorageConfig { segment_bytes: 2000, streams: streams.into(), ..new };
        assert_eq!(config.limits_of("small-1"), (Duration::from_hours(1), Some(10_000)));
        assert_eq!(config.limits_of("other"), (config.retention, None));
        let log = Log::open(config).unwrap();
        let (small, other) = (log.stream("small-1").unwrap(), log.stream("other").unwrap());
        for _ in 0..100 {
            append(&small).await;
        }
        let state = small.state();
        assert!(state.bytes < 12_000 && state.first_offset > 0, "{state:?}");
        small.reset_group("slow", state.first_offset).await.unwrap();
        let headers = NewHeaders::Text(&[]);
        let record = NewRecord { kind: 1001, topic: "t", key: b"k", headers, payload: &[0; 500] };
        let refused = loop {
            let append = Append { producer: None, records: [record], checkpoint: &[] };
            if let Err(error) = small.append(append).await {
                break error.to_string();
            }
        };
        let part = "of stream small-1 is reached; group slow of stream small-1 is the furthest";
        assert!(refused.contains(part), "{refused}");
        assert!(small.state().full.is_some_and(|full| full.contains(part)));
        append(&other).await;
        assert_eq!(other.state().full, None);
        small.remove_group("slow").await.unwrap();
        assert_eq!(small.state().full, None);
        append(&small).await;
    }

    #[tokio::test]
    async fn a_group_that_fills_the_log_is_told_once_before_it_is_full() {
        let directory = tempfile::tempdir().unwrap();
        let storage = StorageConfig { segment_bytes: 2000, ..StorageConfig::new(directory.path()) };
        let log = Log::open(storage.clone()).unwrap();
        let stream = log.stream("s").unwrap();
        let (held, config) =
            (FullWarning::default(), StorageConfig { max_bytes: 20_000, ..storage });
        let streams = Streams::from([("s".to_owned(), Arc::clone(&stream.shared))]);
        let look = || held.look(&config, &streams).map(|holder| (holder.group.name, holder.bytes));
        append(&stream).await;
        stream.reset_group("ghost", 0).await.unwrap();
        let mut told = Vec::new();
        while bytes(&streams) < config.max_bytes {
            told.extend(look());
            append(&stream).await;
        }
        let [(group, held_bytes)] = &told[..] else { panic!("{told:?}") };
        assert!(group == "ghost" && (15_000..17_000).contains(held_bytes), "{told:?}");
        assert_eq!(stream.state().groups[0].held_bytes, bytes(&streams));

        stream.reset_group("ghost", stream.state().next_offset).await.unwrap();
        assert_eq!((look(), stream.state().groups[0].held_bytes), (None, 0));
        stream.reset_group("ghost", 0).await.unwrap();
        assert!(look().is_some(), "it is told again");
    }
}
