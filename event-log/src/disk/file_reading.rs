//! What a data file says, record by record: its batches, its producers, its index.

use super::{
    data_files::SegmentId,
    end_and_state::{self, End, Producers},
    index::{IndexEntry, Steps},
};
use crate::record::Record;

/// What the whole batches of a file say.
pub(crate) struct WholeFile {
    /// Where the last one ends.
    pub(crate) bytes: u64,
    pub(crate) next_offset: u64,
    pub(crate) time_ms: u64,
    pub(crate) producers: Producers,
    pub(crate) steps: Steps,
    /// The index of the file as it should be.
    pub(crate) entries: Vec<u8>,
}

/// What was read so far of a data file.
pub(crate) struct FileReading {
    id: SegmentId,
    /// Whether `next_offset` says what comes next.
    is_placed: bool,
    first: Option<(u64, u64)>,
    /// Where the last whole batch ends, and the state after it.
    whole_bytes: u64,
    next_offset: u64,
    time_ms: u64,
    steps: Steps,
    whole_entries: usize,
    group_start: u64,
    producers: Producers,
    /// Of the batch that is being read.
    records: u32,
    reading_offset: Option<u64>,
    reading_steps: Steps,
    entries: Vec<u8>,
}

impl FileReading {
    /// From the beginning of the file.
    pub(crate) fn new(id: SegmentId) -> Self {
        Self {
            id,
            is_placed: false,
            first: None,
            whole_bytes: 0,
            next_offset: 0,
            time_ms: 0,
            steps: Steps::default(),
            whole_entries: 0,
            group_start: 0,
            producers: Producers::new(),
            records: 0,
            reading_offset: None,
            reading_steps: Steps::default(),
            entries: Vec::new(),
        }
    }

    /// From a place where a batch begins. What stands before it is not known.
    pub(crate) fn at(id: SegmentId, position: u64, next_offset: u64) -> Self {
        let mut reading = Self::new(id);
        (reading.whole_bytes, reading.next_offset) = (position, next_offset);
        reading.is_placed = true;
        reading.rewind();
        reading
    }

    /// Takes the next record, which stands from `position` to `end`.
    pub(crate) fn take(
        &mut self,
        position: u64,
        end: u64,
        record: &Record,
    ) -> Result<(), &'static str> {
        let Record { offset, time_ms, .. } = *record;
        if self.reading_offset.replace(offset + 1).is_some_and(|expected| expected != offset) {
            return Err("an offset does not follow the one before it");
        }
        if self.reading_steps.wants(self.id.number, position) {
            let entry = IndexEntry { file: self.id.number, offset, time_ms, position };
            entry.encode(&mut self.entries);
        }
        match (position, record.kind) {
            (0, end_and_state::STATE) => {
                let producers = end_and_state::decode_producers(record.payload.clone());
                self.producers = producers.ok_or("the state of the producers cannot be read")?;
                self.first = Some((offset, time_ms));
                self.batch_ended(end, record);
            }
            (0, _) | (_, end_and_state::STATE) => {
                return Err("the file does not begin with its state");
            }
            (_, end_and_state::END) => {
                let batch = End::decode(record.payload.clone());
                let batch = batch.ok_or("the end of a batch cannot be read")?;
                if batch.records != self.records {
                    return Err("a batch does not have as many records as its end says");
                }
                self.group_start = batch.group_start;
                batch.apply(&mut self.producers);
                self.batch_ended(end, record);
            }
            _ => self.records += 1,
        }
        Ok(())
    }

    fn batch_ended(&mut self, end: u64, record: &Record) {
        self.whole_bytes = end;
        (self.next_offset, self.is_placed) = (record.offset + 1, true);
        self.time_ms = record.time_ms;
        self.steps = self.reading_steps;
        self.whole_entries = self.entries.len();
        self.records = 0;
    }

    /// Forgets the batch that is being read: it is read again, from the end of the last whole one.
    pub(crate) fn rewind(&mut self) {
        self.reading_offset = self.is_placed.then_some(self.next_offset);
        self.reading_steps = self.steps;
        self.entries.truncate(self.whole_entries);
        self.records = 0;
    }

    pub(crate) fn id(&self) -> SegmentId {
        self.id
    }

    /// The offset of the record that comes next, where that is known.
    pub(crate) fn expected_offset(&self) -> Option<u64> {
        self.reading_offset
    }

    /// Where the write group of the last whole batch began.
    pub(crate) fn group_start(&self) -> u64 {
        self.group_start
    }

    /// Offset and time of the first record, once it was read.
    pub(crate) fn first(&self) -> Option<(u64, u64)> {
        self.first
    }

    /// Offset and time of the last record of the last whole batch, if one was read.
    pub(crate) fn last(&self) -> Option<(u64, u64)> {
        (self.time_ms > 0).then(|| (self.next_offset.saturating_sub(1), self.time_ms))
    }

    /// Where the last whole batch ends.
    pub(crate) fn whole_bytes(&self) -> u64 {
        self.whole_bytes
    }

    /// The offset after the last whole batch.
    pub(crate) fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// The producers after the last whole batch.
    pub(crate) fn producers(&self) -> &Producers {
        &self.producers
    }

    /// What the whole batches say.
    pub(crate) fn finish(mut self) -> WholeFile {
        self.entries.truncate(self.whole_entries);
        WholeFile {
            bytes: self.whole_bytes,
            next_offset: self.next_offset,
            time_ms: self.time_ms,
            producers: self.producers,
            steps: self.steps,
            entries: self.entries,
        }
    }
}
