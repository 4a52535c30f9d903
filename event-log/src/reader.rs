//! Reads a stream from an offset on, across its files, up to its durable end.

use std::sync::Arc;

use crate::{
    Error, Record,
    copy::mark,
    disk::{
        data_files::{FilePlace, Segment, SegmentId},
        index::{self, Sought},
        scan::Scan,
    },
    filter::RecordFilter,
    shared::SharedStream,
};

/// A read that finds nothing that passes returns after so much.
const MAX_SCANNED_BYTES: usize = 8 << 20;

/// What one read gave.
#[derive(Debug, Default)]
pub(crate) struct ReadChunk {
    pub(crate) records: Vec<Record>,
    /// All below was scanned.
    pub(crate) next_offset: u64,
}

/// What one read may still take.
struct Budget {
    left: usize,
    scan_left: usize,
}

impl Budget {
    fn is_left(&self) -> bool {
        self.left > 0 && self.scan_left > 0
    }
}

#[derive(Debug)]
pub(crate) struct StreamReader {
    stream: Arc<SharedStream>,
    filter: RecordFilter,
    /// The next offset that is wanted.
    offset: u64,
    open: Option<(SegmentId, Scan)>,
    /// Where it begins, as another reader knew it.
    place: Option<FilePlace>,
}

impl StreamReader {
    pub(crate) fn new(stream: &Arc<SharedStream>, filter: RecordFilter, offset: u64) -> Self {
        Self::at(stream, filter, offset, None)
    }

    /// The same, at a place that a reader with this offset had.
    pub(crate) fn at(
        stream: &Arc<SharedStream>,
        filter: RecordFilter,
        offset: u64,
        place: Option<FilePlace>,
    ) -> Self {
        Self { stream: Arc::clone(stream), filter, offset, open: None, place }
    }

    /// Where its next record stands, if that is in the file of the last one.
    pub(crate) fn place(&self) -> Option<FilePlace> {
        self.open.as_ref().map(|(id, scan)| (*id, scan.position()))
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads on, until so many bytes have passed the filter or the durable end is reached.
    pub(crate) fn read(&mut self, max_bytes: usize) -> Result<ReadChunk, Error> {
        let mut budget = Budget { left: max_bytes, scan_left: MAX_SCANNED_BYTES };
        let mut records = Vec::new();
        while budget.is_left() && self.offset < self.stream.end() {
            let segment = self.segment()?;
            let at_before = self.offset;
            let Some(mut scan) = self.scan(segment)? else { continue };
            self.read_segment(&mut scan, segment, &mut budget, &mut records)?;
            if self.offset == at_before {
                self.check_gaps()?;
                let problem = format!("offset {at_before} is missing");
                return Err(scan.damage(segment.bytes, &problem));
            }
            self.open = Some((segment.id, scan));
        }
        Ok(ReadChunk { records, next_offset: self.offset })
    }

    fn read_segment(
        &mut self,
        scan: &mut Scan,
        segment: Segment,
        budget: &mut Budget,
        records: &mut Vec<Record>,
    ) -> Result<(), Error> {
        while budget.is_left()
            && let Some((position, record)) = scan.next(segment.bytes)?
        {
            if record.offset > self.offset {
                let problem = format!("offset {} is missing", self.offset);
                return Err(scan.damage(position, &problem));
            }
            if record.offset < self.offset {
                continue;
            }
            self.offset += 1;
            let bytes = record.topic.len() + record.key.len() + record.payload.len();
            budget.scan_left = budget.scan_left.saturating_sub(bytes);
            if self.filter.passes(&record) {
                budget.left = budget.left.saturating_sub(bytes);
                records.push(record);
            }
        }
        Ok(())
    }

    /// The open file, or that of the segment; `None` when retention has just deleted it.
    fn scan(&mut self, segment: Segment) -> Result<Option<Scan>, Error> {
        if let Some((id, scan)) = self.open.take()
            && id == segment.id
        {
            return Ok(Some(scan));
        }
        match self.seek(segment) {
            Ok(scan) => Ok(Some(scan)),
            Err(_) if self.segment()?.id != segment.id => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The file that the next offset stands in.
    fn segment(&self) -> Result<Segment, Error> {
        let segments = self.stream.segments();
        let after = segments.partition_point(|segment| segment.first_offset <= self.offset);
        match after.checked_sub(1).and_then(|at| segments.get(at)) {
            Some(segment) => Ok(*segment),
            None => {
                let first = segments.first().map_or(0, |first| first.first_offset);
                Err(Error::OffsetGone { offset: self.offset, first })
            }
        }
    }

    /// A copy may lack what its original had deleted.
    fn check_gaps(&self) -> Result<(), Error> {
        let gaps = mark::gaps(&self.stream.directory)?;
        let gap = gaps.iter().find(|gap| (gap.from..gap.to).contains(&self.offset));
        match gap {
            Some(gap) => Err(Error::OffsetGone { offset: self.offset, first: gap.to }),
            None => Ok(()),
        }
    }

    fn seek(&self, segment: Segment) -> Result<Scan, Error> {
        let directory = &self.stream.directory;
        let known = self.place.filter(|(id, _)| *id == segment.id).map(|(_, position)| position);
        let position = known
            .unwrap_or_else(|| index::seek(directory, segment.id, Sought::Offset(self.offset)));
        Scan::open(&segment.id.data(directory), position.min(segment.bytes))
    }
}

/// The first offset of a record that was taken in at `time_ms` or later.
pub(crate) fn offset_at(stream: &Arc<SharedStream>, time_ms: u64) -> Result<u64, Error> {
    let end = stream.end();
    let segment = {
        let segments = stream.segments();
        let after = segments.partition_point(|segment| segment.first_time_ms < time_ms);
        match after.checked_sub(1) {
            Some(at) => segments[at],
            None => return Ok(segments.first().map_or(end, |first| first.first_offset)),
        }
    };
    let position = index::seek(&stream.directory, segment.id, Sought::Time(time_ms));
    let mut scan = Scan::open(&segment.id.data(&stream.directory), position.min(segment.bytes))?;
    let mut next = segment.first_offset;
    while let Some((_, record)) = scan.next(segment.bytes)? {
        if record.time_ms >= time_ms {
            return Ok(record.offset);
        }
        next = record.offset + 1;
    }
    Ok(next)
}
