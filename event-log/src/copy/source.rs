//! The server's side of a copy: sends the data files of a stream as they stand on disk.

use std::{fs::File, os::unix::fs::FileExt};

use bytes::Bytes;
use service::clock::now_ms;
use tokio::sync::watch;

use super::{batches, epoch};
use crate::{
    Error, Stream,
    disk::{
        data_files::{Segment, SegmentId},
        day::Day,
        scan::Scan,
    },
    group::Membership,
    shared::SharedStream,
};

/// One response holds about so much, unless asked otherwise.
const DEFAULT_RESPONSE_BYTES: usize = 1 << 20;
const MAX_RESPONSE_BYTES: usize = 8 << 20;

/// Where a copy ends, and the last record that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CopyEnd {
    pub(crate) file: SegmentId,
    pub(crate) position: u64,
    pub(crate) next_offset: u64,
    pub(crate) last_position: u64,
    pub(crate) last_crc: u32,
    pub(crate) epoch: u64,
}

/// Where sending begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyFrom {
    /// At the end of the copy.
    End(CopyEnd),
    /// With the first file of the day so many days before today.
    DaysBack(u32),
    /// With the file that begins with this offset.
    FileOffset(u64),
}

/// What a copy asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) group: String,
    pub(crate) client: String,
    pub(crate) from: CopyFrom,
    /// 0: 1 MiB.
    pub(crate) max_bytes: usize,
}

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    /// First of all.
    Begun { member: u64, epoch: u64 },
    /// Whole batches, as they stand in a file.
    Bytes { file: SegmentId, position: u64, data: Bytes, end_offset: u64 },
    /// All of this day was sent, and it is complete.
    Finished { day: Day },
}

/// One copy that is being sent. Dropping it leaves its group.
#[derive(Debug)]
pub(crate) struct Sending {
    stream: Stream,
    wanted: Wanted,
    membership: Option<Membership>,
    end: watch::Receiver<u64>,
    /// `None` until this copy is the active one of its group.
    place: Option<Place>,
}

/// What is sent next.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// `None` before the first file of an empty copy is there.
    file: Option<SegmentId>,
    position: u64,
    next_offset: u64,
    /// An empty copy begins with this day or a later one.
    from_day: Day,
    /// The day that was last said to be complete.
    finished: Option<Day>,
}

impl Stream {
    /// Begins to send a copy.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] for a name of a group that is not allowed.
    pub(crate) fn send_copy(&self, wanted: Wanted) -> Result<Sending, Error> {
        let groups = &self.shared.groups;
        let membership = (!wanted.group.is_empty())
            .then(|| Membership::join(groups, &wanted.group, &wanted.client))
            .transpose()?;
        let end = self.shared.watch_end();
        Ok(Sending { stream: self.clone(), wanted, membership, end, place: None })
    }
}

impl Sending {
    /// Waits for the next piece. After an error it is over; it must not be dropped while it is
    /// waited for, and used again.
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`], [`Error::OffsetGone`], [`Error::NotMember`], [`Error::Damaged`].
    pub(crate) async fn next(&mut self) -> Result<Sent, Error> {
        let Some(lost) = self.membership.as_ref().map(|membership| membership.lost.clone()) else {
            return self.advance().await;
        };
        tokio::select! {
            biased;
            () = lost.cancelled() => Err(Error::NotMember(self.wanted.group.clone())),
            sent = self.advance() => sent,
        }
    }

    async fn advance(&mut self) -> Result<Sent, Error> {
        let Some(mut place) = self.place else { return self.begin().await };
        loop {
            let end_offset = *self.end.borrow_and_update();
            let shared = std::sync::Arc::clone(&self.stream.shared);
            let max_bytes = match self.wanted.max_bytes {
                0 => DEFAULT_RESPONSE_BYTES,
                asked => asked.min(MAX_RESPONSE_BYTES),
            };
            // Reads on a thread that may wait for the disk.
            let read = tokio::task::spawn_blocking(move || {
                place.read(&shared, max_bytes).map(|read| (place, read))
            });
            let read = read.await.map_err(|error| Error::Unavailable(error.to_string()))?;
            let (after, read) = read?;
            self.place = Some(after);
            if let Some(FilePiece { file, position, data }) = read {
                return Ok(Sent::Bytes { file, position, data, end_offset });
            }
            if let Some(day) = self.finished_day(after) {
                return Ok(Sent::Finished { day });
            }
            // The sender lives as long as the stream, which we hold.
            let _ = self.end.changed().await;
            place = after;
        }
    }

    /// The day of the last file, when it is complete and nobody was told.
    fn finished_day(&mut self, after: Place) -> Option<Day> {
        let file = after.file.filter(|file| after.finished != Some(file.day))?;
        let shared = &self.stream.shared;
        let is_last = shared.last_segment() == Some(file);
        if !is_last || !file.finish(&shared.directory).exists() {
            return None;
        }
        self.place = Some(Place { finished: Some(file.day), ..after });
        Some(file.day)
    }

    async fn begin(&mut self) -> Result<Sent, Error> {
        if let Some(membership) = &self.membership {
            membership.active().await;
        }
        let shared = &self.stream.shared;
        let place = place_of(shared, self.wanted.from)?;
        let member = match &self.membership {
            Some(membership) => {
                let (group, id) = (&self.wanted.group, membership.id);
                self.stream.commit(group, id, place.next_offset).await?;
                id
            }
            None => 0,
        };
        self.place = Some(place);
        let epoch = self.stream.epoch();
        Ok(Sent::Begun { member, epoch })
    }
}

/// Where sending begins, if the copy is one of this stream.
fn place_of(shared: &SharedStream, from: CopyFrom) -> Result<Place, Error> {
    let beginning = |segment: Segment| Place {
        file: Some(segment.id),
        position: 0,
        next_offset: segment.first_offset,
        from_day: segment.id.day,
        finished: None,
    };
    match from {
        CopyFrom::End(end) => match check_end(shared, end)? {
            Some(next) => Ok(beginning(next)),
            None => {
                let (position, next_offset) = (end.position, end.next_offset);
                let (file, from_day) = (Some(end.file), end.file.day);
                Ok(Place { file, position, next_offset, from_day, finished: None })
            }
        },
        CopyFrom::DaysBack(days) => {
            let from_day = Day::of(now_ms()).before(days);
            let first = shared.segments().iter().find(|file| file.id.day >= from_day).copied();
            Ok(first.map_or_else(
                || {
                    let next_offset = shared.end();
                    Place { file: None, position: 0, next_offset, from_day, finished: None }
                },
                beginning,
            ))
        }
        CopyFrom::FileOffset(offset) => {
            let segments = shared.segments();
            let first = segments.iter().find(|file| file.first_offset >= offset).copied();
            drop(segments);
            let first = first.filter(|file| file.first_offset == offset);
            first.map(beginning).ok_or_else(|| gone(shared, offset))
        }
    }
}

fn gone(shared: &SharedStream, offset: u64) -> Error {
    let first = shared.segments().first().map_or(0, |first| first.first_offset);
    Error::OffsetGone { offset, first }
}

/// Refuses a copy whose last record is another one than that of this stream. Gives the file that
/// comes next, when the last one that the copy has was deleted here.
fn check_end(shared: &SharedStream, end: CopyEnd) -> Result<Option<Segment>, Error> {
    let epoch = shared.queue.with_tail(|tail| epoch::of(&tail.producers));
    if end.epoch > epoch {
        return Err(Error::Diverged(format!(
            "the copy is of epoch {}, this server's stream of epoch {epoch}: a copy was made the \
             original meanwhile, and this server was not told: follow the promoted server; or, if a \
             crash cut off the promotion of this very copy, run event-log promote again",
            end.epoch
        )));
    }
    let segments = shared.segments();
    let Some(segment) = segments.iter().find(|segment| segment.id == end.file).copied() else {
        let oldest = segments.first().copied();
        drop(segments);
        return match oldest {
            Some(oldest) if oldest.id > end.file && oldest.first_offset == end.next_offset => {
                Ok(Some(oldest))
            }
            Some(oldest) if oldest.id > end.file => Err(gone(shared, end.next_offset)),
            _ => Err(diverged(end, "has no such file")),
        };
    };
    drop(segments);
    if end.position > segment.bytes {
        return Err(diverged(end, "ends earlier"));
    }
    let mut scan = Scan::open(&segment.id.data(&shared.directory), end.last_position)?;
    let (crc, offset, length) = scan.peek(segment.bytes)?;
    let is_same = crc == end.last_crc
        && offset.checked_add(1) == Some(end.next_offset)
        && end.last_position.checked_add(length) == Some(end.position);
    if is_same { Ok(None) } else { Err(diverged(end, "has another record there")) }
}

fn diverged(end: CopyEnd, what: &str) -> Error {
    Error::Diverged(format!(
        "the copy ends before offset {} at byte {} of {}/data{:06}, and this server's stream {what}: \
         it is a copy of another stream, or this server lost records, or is not the one that was \
         promoted: follow the right server, or move the copy's directory away to begin an empty one",
        end.next_offset, end.position, end.file.day, end.file.number
    ))
}

/// Whole batches of a data file.
struct FilePiece {
    file: SegmentId,
    position: u64,
    data: Bytes,
}

impl Place {
    /// Reads on; `None` when all that is durable was sent.
    fn read(
        &mut self,
        shared: &SharedStream,
        max_bytes: usize,
    ) -> Result<Option<FilePiece>, Error> {
        let Some(segment) = self.segment(shared)? else { return Ok(None) };
        let left = segment.bytes.saturating_sub(self.position);
        let path = segment.id.data(&shared.directory);
        let opened = File::open(&path).map_err(Error::io("cannot open", &path))?;
        let mut wanted = max_bytes;
        loop {
            let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
            let mut data = vec![0; bytes];
            let read = opened.read_exact_at(&mut data, self.position);
            read.map_err(Error::io("cannot read", &path))?;
            let (whole, next_offset) = batches::whole(&data);
            if whole == 0 && (bytes as u64) < left {
                // A batch that is longer than what was asked for.
                wanted = wanted.saturating_mul(4);
                continue;
            }
            if whole == 0 {
                let problem = "the file does not end with a whole batch".to_owned();
                return Err(Error::Damaged { file: path, position: self.position, problem });
            }
            data.truncate(whole);
            let (file, position) = (segment.id, self.position);
            (self.file, self.position) = (Some(file), position + whole as u64);
            self.next_offset = next_offset;
            return Ok(Some(FilePiece { file, position, data: data.into() }));
        }
    }

    /// The file that has more, as it is now.
    fn segment(&mut self, shared: &SharedStream) -> Result<Option<Segment>, Error> {
        let segments = shared.segments();
        let next = match self.file {
            None => segments.iter().find(|segment| segment.id.day >= self.from_day),
            Some(file) => segments.iter().find(|segment| segment.id >= file),
        };
        let Some(mut next) = next.copied() else { return Ok(None) };
        let is_same = self.file == Some(next.id);
        if is_same && self.position < next.bytes {
            return Ok(Some(next));
        }
        if is_same {
            let after = segments.iter().find(|segment| segment.id > next.id);
            let Some(after) = after else { return Ok(None) };
            next = *after;
        }
        if self.file.is_some() && next.first_offset != self.next_offset {
            // Retention has deleted what comes next, here or where this stream is a copy of.
            return Err(Error::OffsetGone { offset: self.next_offset, first: next.first_offset });
        }
        self.position = 0;
        Ok(Some(next))
    }
}
