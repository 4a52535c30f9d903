//! Reading a stream from an offset on, across its files, up to its synced end.

use std::sync::Arc;

use regex::RegexSet;

use crate::{
    Error, Record,
    disk::{
        index::{self, Sought},
        scan::Scan,
        segment::{Segment, SegmentId},
    },
    record::FIRST_DATA_TYPE,
    stream::Shared,
};

/// A read that finds nothing that passes gives an account after so much.
const MAX_SCANNED_BYTES: u64 = 8 << 20;

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    topics: Option<RegexSet>,
    kinds: Vec<u32>,
    origins: Vec<u32>,
}

impl Filter {
    pub(crate) fn new(
        topics: &[String],
        kinds: Vec<u32>,
        origins: Vec<u32>,
    ) -> Result<Self, Error> {
        let whole = topics.iter().map(|topic| format!("^(?:{topic})$"));
        let set = RegexSet::new(whole)
            .map_err(|error| Error::Rejected(format!("the filter of topics is wrong: {error}")))?;
        Ok(Self { topics: (!topics.is_empty()).then_some(set), kinds, origins })
    }

    fn passes(&self, record: &Record) -> bool {
        let listed = |list: &[u32], value| list.is_empty() || list.contains(&value);
        record.kind >= FIRST_DATA_TYPE
            && listed(&self.kinds, record.kind)
            && listed(&self.origins, record.origin)
            && self.topics.as_ref().is_none_or(|topics| topics.is_match(record.topic()))
    }
}

/// What one read gave.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) records: Vec<Record>,
    /// All below was scanned.
    pub(crate) next_offset: u64,
}

#[derive(Debug)]
pub(crate) struct Reader {
    stream: Arc<Shared>,
    filter: Filter,
    /// The next offset that is wanted.
    offset: u64,
    open: Option<(SegmentId, Scan)>,
}

impl Reader {
    pub(crate) fn new(stream: &Arc<Shared>, filter: Filter, offset: u64) -> Self {
        Self { stream: Arc::clone(stream), filter, offset, open: None }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads on, until so many bytes have passed the filter or the synced end is reached.
    pub(crate) fn read(&mut self, max_bytes: usize) -> Result<Chunk, Error> {
        let (mut records, mut bytes, mut scanned) = (Vec::new(), 0, 0);
        while bytes < max_bytes && scanned < MAX_SCANNED_BYTES {
            let Some(record) = self.next()? else { break };
            let record_bytes = record.topic.len() + record.key.len() + record.payload.len();
            scanned += record_bytes as u64;
            if self.filter.passes(&record) {
                bytes += record_bytes;
                records.push(record);
            }
        }
        Ok(Chunk { records, next_offset: self.offset })
    }

    fn next(&mut self) -> Result<Option<Record>, Error> {
        while self.offset < self.stream.end() {
            let segment = self.segment()?;
            let scan = match &mut self.open {
                Some((id, scan)) if *id == segment.id => scan,
                _ => match self.seek(segment) {
                    Ok(found) => &mut self.open.insert(found).1,
                    // Retention may have deleted it since we looked.
                    Err(_) if self.segment()?.id != segment.id => continue,
                    Err(error) => return Err(error),
                },
            };
            while let Some((position, record)) = scan.next(segment.bytes)? {
                if record.offset > self.offset {
                    let problem = format!("offset {} is missing", self.offset);
                    return Err(scan.damage(position, &problem));
                }
                if record.offset == self.offset {
                    self.offset += 1;
                    return Ok(Some(record));
                }
            }
            let problem = format!("offset {} is missing", self.offset);
            let damage = scan.damage(segment.bytes, &problem);
            if self.segment()?.id == segment.id {
                return Err(damage);
            }
        }
        Ok(None)
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

    fn seek(&self, segment: Segment) -> Result<(SegmentId, Scan), Error> {
        let directory = &self.stream.directory;
        let position = index::seek(directory, segment.id, Sought::Offset(self.offset));
        let scan = Scan::open(&segment.id.data(directory), position.min(segment.bytes))?;
        Ok((segment.id, scan))
    }
}

/// The first offset of a record that was taken in at `time_ms` or later.
pub(crate) fn offset_at(stream: &Arc<Shared>, time_ms: u64) -> Result<u64, Error> {
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
