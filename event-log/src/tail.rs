//! The end of a stream, where batches are put: computes their bytes, and does no I/O.

use crate::{
    Error,
    copy::{batches::WholeBatches, epoch},
    disk::{
        data_files::{Segment, SegmentId},
        day::Day,
        end_and_state::{self, Checkpoint, CheckpointChange, End, ProducerState, Producers},
        frame::{self, Stamp},
        index::{IndexEntry, Steps},
    },
    record::NewRecord,
};

/// No batch is longer, all its records together.
pub const MAX_BATCH_BYTES: usize = 128 << 20;
const MAX_PRODUCERS: usize = 1000;
const MAX_NAME_BYTES: usize = 249;
/// The checkpoint of one producer; each data file begins with a copy.
const MAX_CHECKPOINT_BYTES: usize = 16 << 20;
/// All checkpoints of the stream: their copy is one record.
const MAX_STATE_BYTES: usize = 48 << 20;
/// As many checkpoints as there may be have room beside the larger ones when they are so small.
const SMALL_CHECKPOINT_BYTES: usize = 8 << 10;

/// Which append of which producer.
#[derive(Clone, Copy, Debug)]
pub struct ProducerSequence<'a> {
    /// The producer's name.
    pub name: &'a str,
    /// The one that opening the producer gave.
    pub epoch: u64,
    /// 1, 2, 3 … within the epoch.
    pub sequence: u64,
}

/// A batch to append.
#[derive(Clone, Copy, Debug)]
pub struct Append<'a, R> {
    /// `None`: no deduplication, and no checkpoint.
    pub producer: Option<ProducerSequence<'a>>,
    /// The records, in order; may be none.
    pub records: R,
    /// Changes of the producer's checkpoint.
    pub checkpoint: &'a [CheckpointChange],
}

/// An appended batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the first record; `next_offset` when there was none.
    pub first_offset: u64,
    /// The offset of the last record; `next_offset` when there was none.
    pub last_offset: u64,
    /// The offset after the batch.
    pub next_offset: u64,
    /// It was appended earlier, and not again now. The offsets are then not known: all are
    /// `next_offset`.
    pub duplicate: bool,
}

/// Bytes to be written with one write and one fsync.
#[derive(Debug, Default)]
pub(crate) struct WriteGroup {
    /// The file that this group begins, if it does.
    pub(crate) opens: Option<SegmentId>,
    /// Where it begins in its file.
    pub(crate) start: u64,
    pub(crate) first_offset: u64,
    pub(crate) first_time_ms: u64,
    pub(crate) next_offset: u64,
    pub(crate) data: Vec<u8>,
    pub(crate) index: Vec<u8>,
}

impl WriteGroup {
    /// The data file after this write group; `last` is the data file before it.
    pub(crate) fn segment_after(&self, last: Option<&Segment>) -> Option<Segment> {
        let bytes = self.start + self.data.len() as u64;
        match self.opens {
            Some(id) => Some(Segment {
                id,
                first_offset: self.first_offset,
                first_time_ms: self.first_time_ms,
                bytes,
            }),
            None => last.map(|last| Segment { bytes, ..*last }),
        }
    }
}

/// What the next batch needs to know of all before it.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) origin: u32,
    /// The last file; `None` in a new stream.
    pub(crate) segment: Option<SegmentId>,
    /// Its length.
    pub(crate) position: u64,
    pub(crate) next_offset: u64,
    /// The time of the last record.
    pub(crate) time_ms: u64,
    pub(crate) producers: Producers,
    pub(crate) steps: Steps,
    /// The day of the last file is over: nothing is put there any more.
    pub(crate) is_day_over: bool,
}

impl Tail {
    /// The end of an empty stream.
    pub(crate) fn new(origin: u32) -> Self {
        Self {
            origin,
            segment: None,
            position: 0,
            next_offset: 0,
            time_ms: 0,
            producers: Producers::new(),
            steps: Steps::default(),
            is_day_over: false,
        }
    }

    /// Ends the day of the last file, if that is over; gives it.
    pub(crate) fn end_day(&mut self, now_ms: u64) -> Option<Day> {
        let last = self.segment.filter(|last| !self.is_day_over && Day::of(now_ms) > last.day)?;
        self.is_day_over = true;
        Some(last.day)
    }

    /// The file that a batch at this time must begin, if it must begin one. When the clock goes
    /// back, the day stays the last one.
    pub(crate) fn next_segment(&self, now_ms: u64, segment_bytes: u64) -> Option<SegmentId> {
        let today = Day::of(now_ms.max(self.time_ms));
        match self.segment {
            Some(last) if self.is_day_over => {
                Some(SegmentId { day: today.max(last.day.next()), number: 0 })
            }
            Some(last) if today > last.day => Some(SegmentId { day: today, number: 0 }),
            Some(last) if self.position < segment_bytes => {
                debug_assert!(self.position > 0, "{last:?} has no state");
                None
            }
            Some(last) => Some(SegmentId { number: last.number + 1, ..last }),
            None => Some(SegmentId { day: today, number: 0 }),
        }
    }

    /// Begins a group, and with it a file when one is given.
    pub(crate) fn begin_group(
        &mut self,
        group: &mut WriteGroup,
        now_ms: u64,
        opens: Option<SegmentId>,
    ) {
        self.time_ms = self.time_ms.max(now_ms);
        self.begin_bare_group(group, opens);
        if opens.is_some() {
            let (stamp, at) = (self.stamp(), group.data.len());
            self.note(group, at);
            let producers = &self.producers;
            frame::encode_own(&mut group.data, stamp, end_and_state::STATE, |out| {
                end_and_state::encode_producers(producers, out);
            });
            self.advance(group, at);
        }
    }

    /// Begins a group for a copy, in which the file's STATE comes with the rest.
    pub(crate) fn begin_copy(&mut self, group: &mut WriteGroup, piece: &WholeBatches) {
        (self.next_offset, self.time_ms) = piece.first();
        self.begin_bare_group(group, (piece.position == 0).then_some(piece.file));
    }

    fn begin_bare_group(&mut self, group: &mut WriteGroup, opens: Option<SegmentId>) {
        if opens.is_some() {
            (self.segment, self.position, self.is_day_over) = (opens, 0, false);
            // The first file of a day has the number of the first file of the day before.
            self.steps = Steps::default();
        }
        group.opens = opens;
        group.start = self.position;
        group.first_offset = self.next_offset;
        group.first_time_ms = self.time_ms;
        group.next_offset = self.next_offset;
    }

    /// What is missing before a piece that begins a file is gone for good.
    pub(crate) fn skip_to(&mut self, piece: &WholeBatches) {
        if piece.position == 0 {
            self.next_offset = self.next_offset.max(piece.first().0);
        }
    }

    /// Refuses a piece of a copy that does not stand at the end.
    pub(crate) fn check_follows(&self, piece: &WholeBatches) -> Result<(), Error> {
        let (first_offset, first_time_ms) = piece.first();
        let begins_file = piece.position == 0 && self.segment.is_none_or(|last| last < piece.file);
        let goes_on = self.segment == Some(piece.file) && self.position == piece.position;
        let is_next = self.segment.is_none()
            || (first_offset == self.next_offset && first_time_ms >= self.time_ms);
        if (begins_file || goes_on) && is_next {
            return Ok(());
        }
        Err(Error::Failed(format!(
            "the server sent byte {} of {:?} with offset {first_offset}, but the copy ends with \
             byte {} of {:?} before offset {}: this is a fault of one of both programs",
            piece.position, piece.file, self.position, self.segment, self.next_offset
        )))
    }

    /// Puts a piece of a copy, that was checked, at the end of the group.
    pub(crate) fn copy(&mut self, group: &mut WriteGroup, piece: WholeBatches) {
        let mut rest = piece.data;
        for record in &piece.records {
            (self.next_offset, self.time_ms) = (record.offset, record.time_ms);
            let at = group.data.len();
            self.note(group, at);
            group.data.extend_from_slice(&rest.split_to(record.bytes));
            self.advance(group, at);
        }
        if let Some(state) = piece.state {
            self.producers = state;
        }
        for end in piece.ends {
            end.apply(&mut self.producers);
        }
    }

    /// Begins the next epoch, and says which it is.
    pub(crate) fn begin_epoch(&mut self, group: &mut WriteGroup) -> u64 {
        let next = epoch::of(&self.producers) + 1;
        let producer = ProducerSequence { name: epoch::EPOCH, epoch: next, sequence: 1 };
        self.put_end(group, End::of(Some(producer), &[epoch::change_to(next)]));
        next
    }

    /// Puts a batch at the end of the group; on error nothing is changed.
    pub(crate) fn append<'a>(
        &mut self,
        group: &mut WriteGroup,
        now_ms: u64,
        append: Append<'_, impl IntoIterator<Item = NewRecord<'a>>>,
    ) -> Result<Appended, Error> {
        if let Some(producer) = append.producer
            && self.is_duplicate(producer)?
        {
            return Ok(self.nothing_appended(true));
        }
        self.check_checkpoint(append.producer, append.checkpoint)?;
        self.time_ms = self.time_ms.max(now_ms);
        let before = self.mark(group);
        match self.put_records(group, append.records) {
            Ok(first_offset) => {
                let end = End::of(append.producer, append.checkpoint);
                let records = self.next_offset - first_offset;
                self.put_end(group, End { records: count(records), ..end });
                Ok(self.appended(first_offset, records))
            }
            Err(error) => {
                self.reset(group, before);
                Err(error)
            }
        }
    }

    /// Opens a producer: every older epoch of it is refused from now on.
    pub(crate) fn open_producer(
        &mut self,
        group: &mut WriteGroup,
        name: &str,
    ) -> Result<(u64, Checkpoint), Error> {
        self.check_name(name)?;
        let known = self.producers.get(name).cloned();
        let ProducerState { epoch, checkpoint, .. } = known.unwrap_or_default();
        let producer = ProducerSequence { name, epoch: epoch + 1, sequence: 0 };
        self.put_end(group, End::of(Some(producer), &[]));
        Ok((epoch + 1, checkpoint))
    }

    fn check_name(&self, name: &str) -> Result<(), Error> {
        let is_own = name == epoch::EPOCH;
        if is_own || name.is_empty() || name.len() > MAX_NAME_BYTES {
            let reason = format!("the name of a producer has 1 to {MAX_NAME_BYTES} bytes");
            return Err(Error::Rejected(reason));
        }
        if !self.producers.contains_key(name) && self.producers.len() >= MAX_PRODUCERS {
            let reason = format!("the stream has {MAX_PRODUCERS} producers, the most there can be");
            return Err(Error::Rejected(reason));
        }
        Ok(())
    }

    /// Changes a checkpoint that no producer writes.
    pub(crate) fn change_table(
        &mut self,
        group: &mut WriteGroup,
        name: &str,
        changes: &[CheckpointChange],
    ) -> Result<(), Error> {
        self.check_name(name)?;
        let known = self.producers.get(name).map(|known| (known.epoch, known.sequence));
        let (epoch, sequence) = known.unwrap_or_default();
        let producer = ProducerSequence { name, epoch, sequence: sequence + 1 };
        self.check_checkpoint(Some(producer), changes)?;
        self.put_end(group, End::of(Some(producer), changes));
        Ok(())
    }

    fn is_duplicate(&self, producer: ProducerSequence<'_>) -> Result<bool, Error> {
        let ProducerSequence { name, epoch, sequence } = producer;
        let known = self.producers.get(name).filter(|known| known.epoch == epoch);
        let Some(known) = known else { return Err(Error::Fenced(name.to_owned())) };
        let expected = known.sequence + 1;
        if sequence > expected {
            let producer = name.to_owned();
            return Err(Error::SequenceGap { producer, sent: sequence, expected });
        }
        Ok(sequence < expected)
    }

    fn check_checkpoint(
        &self,
        producer: Option<ProducerSequence<'_>>,
        changes: &[CheckpointChange],
    ) -> Result<(), Error> {
        let Some(producer) = producer else {
            return if changes.is_empty() {
                Ok(())
            } else {
                Err(Error::Rejected("an anonymous producer has no checkpoint".to_owned()))
            };
        };
        let size = |key: &str, value: &[u8]| 8 + key.len() + value.len();
        let added = changes.iter().map(|(key, value)| size(key, value.as_deref().unwrap_or(b"")));
        let state = self.producers.get(producer.name);
        let kept = state.into_iter().flat_map(|state| &state.checkpoint);
        let kept = kept.filter(|(key, _)| !changes.iter().any(|(changed, _)| changed == *key));
        let bytes = added.chain(kept.map(|(key, value)| size(key, value))).sum::<usize>();
        let refused = |whose: &str, bytes: usize, limit: usize| {
            let reason = format!("{whose} would take {bytes} bytes of at most {limit}");
            Err(Error::Rejected(reason))
        };
        if bytes > MAX_CHECKPOINT_BYTES {
            let whose = format!("the checkpoint of {}", producer.name);
            return refused(&whose, bytes, MAX_CHECKPOINT_BYTES);
        }
        if bytes <= SMALL_CHECKPOINT_BYTES {
            return Ok(());
        }
        let others = self.producers.iter().filter(|(name, _)| *name != producer.name);
        let others = others.flat_map(|(_, state)| &state.checkpoint);
        let all = bytes + others.map(|(key, value)| size(key, value)).sum::<usize>();
        if all > MAX_STATE_BYTES {
            return refused("all checkpoints of the stream", all, MAX_STATE_BYTES);
        }
        Ok(())
    }

    fn put_records<'a>(
        &mut self,
        group: &mut WriteGroup,
        records: impl IntoIterator<Item = NewRecord<'a>>,
    ) -> Result<u64, Error> {
        let (first_offset, start) = (self.next_offset, group.data.len());
        for record in records {
            let at = group.data.len();
            frame::encode(&mut group.data, self.stamp(), &record)?;
            if group.data.len() - start > MAX_BATCH_BYTES {
                let reason = format!("the batch takes more than {MAX_BATCH_BYTES} bytes");
                return Err(Error::Rejected(reason));
            }
            self.note(group, at);
            self.advance(group, at);
        }
        Ok(first_offset)
    }

    fn put_end(&mut self, group: &mut WriteGroup, end: End) {
        let end = End { group_start: group.start, ..end };
        let (stamp, at) = (self.stamp(), group.data.len());
        self.note(group, at);
        frame::encode_own(&mut group.data, stamp, end_and_state::END, |out| end.encode(out));
        self.advance(group, at);
        end.apply(&mut self.producers);
    }

    fn stamp(&self) -> Stamp {
        Stamp { offset: self.next_offset, time_ms: self.time_ms, origin: self.origin }
    }

    /// Gives the record that begins at `at` its entry in the index, if it gets one.
    fn note(&mut self, group: &mut WriteGroup, at: usize) {
        let file = self.segment.map_or(0, |segment| segment.number);
        let position = group.start + at as u64;
        if self.steps.wants(file, position) {
            let Stamp { offset, time_ms, .. } = self.stamp();
            IndexEntry { file, offset, time_ms, position }.encode(&mut group.index);
        }
    }

    /// A record was put from `at` on.
    fn advance(&mut self, group: &mut WriteGroup, at: usize) {
        self.next_offset += 1;
        self.position += (group.data.len() - at) as u64;
        group.next_offset = self.next_offset;
    }

    fn appended(&self, first_offset: u64, records: u64) -> Appended {
        if records == 0 {
            return self.nothing_appended(false);
        }
        Appended {
            first_offset,
            last_offset: first_offset + records - 1,
            next_offset: self.next_offset,
            duplicate: false,
        }
    }

    fn nothing_appended(&self, duplicate: bool) -> Appended {
        let next_offset = self.next_offset;
        Appended { first_offset: next_offset, last_offset: next_offset, next_offset, duplicate }
    }

    fn mark(&self, group: &WriteGroup) -> TailMark {
        TailMark {
            data: group.data.len(),
            index: group.index.len(),
            position: self.position,
            next_offset: self.next_offset,
            steps: self.steps,
        }
    }

    fn reset(&mut self, group: &mut WriteGroup, mark: TailMark) {
        group.data.truncate(mark.data);
        group.index.truncate(mark.index);
        (self.position, self.next_offset) = (mark.position, mark.next_offset);
        self.steps = mark.steps;
        group.next_offset = self.next_offset;
    }
}

/// Where a batch began.
struct TailMark {
    data: usize,
    index: usize,
    position: u64,
    next_offset: u64,
    steps: Steps,
}

impl End {
    fn of(producer: Option<ProducerSequence<'_>>, changes: &[CheckpointChange]) -> Self {
        let changes = changes.to_vec();
        match producer {
            None => Self::default(),
            Some(ProducerSequence { name, epoch, sequence }) => {
                Self { producer: name.to_owned(), epoch, sequence, changes, ..Self::default() }
            }
        }
    }
}

/// A batch has far fewer records than this can hold, by its limit in bytes.
fn count(records: u64) -> u32 {
    u32::try_from(records).unwrap_or(u32::MAX)
}
