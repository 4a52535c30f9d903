//! Rows that were read together and written as JSON: what a full sync holds in memory.

use std::ops::Range;

use change_event::FullSyncRow;
use source_table::{Cursor, Encoded};

use crate::checkpoint::BinlogPlace;

/// After this many bytes of events the key is noted: a batch may end there.
const SEGMENT_BYTES: usize = 64 << 10;

/// An event has about this many bytes beside its row.
const ENVELOPE_BYTES: usize = 320;

/// Rows of a table, read between two marks of the binlog.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) rows: Rows,
    /// No change that the rows show is after this place.
    pub(crate) high: BinlogPlace,
    /// When they were read, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// The `server_id` of the server.
    pub(crate) server_id: u32,
    pub(crate) kind: ChunkKind,
    /// How the table was defined. If the shape changes, the values may change, too.
    pub(crate) shape: String,
    /// Whether the table ends with this chunk.
    pub(crate) is_last: bool,
}

/// How a chunk belongs to its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkKind {
    /// The next rows in the order of the key.
    Page,
    /// Rows that are read once more.
    Again,
    /// A part of one read of the whole table. All parts are between the same marks.
    Part,
}

/// Rows as JSON, in their order.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    buffer: Vec<u8>,
    rows: Vec<Encoded>,
    segments: Vec<Segment>,
}

/// Rows that are published together.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Which of the rows.
    pub(crate) rows: Range<usize>,
    /// The key of the last one; `None` where there is no key to go on from.
    pub(crate) up_to: Option<Cursor>,
}

/// Into how large segments rows are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    ByBytes,
    EachRow,
}

impl Rows {
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Takes a row that was written to the buffer.
    pub(crate) fn push(&mut self, row: Encoded) {
        self.rows.push(row);
    }

    /// Whether to note the key of the last row that was taken.
    pub(crate) fn is_segment_due(&self, cut: Cut) -> bool {
        let open = self.open_rows();
        let Some(first) = self.rows.get(open.start) else { return false };
        let bytes = self.buffer.len() - first.data.start + open.len() * ENVELOPE_BYTES;
        cut == Cut::EachRow || bytes >= SEGMENT_BYTES
    }

    /// Ends a segment with the last row that was taken.
    pub(crate) fn end_segment(&mut self, up_to: Option<Cursor>) {
        let rows = self.open_rows();
        if !rows.is_empty() {
            self.segments.push(Segment { rows, up_to });
        }
    }

    /// Whether rows were taken since the last segment ended.
    pub(crate) fn has_open_segment(&self) -> bool {
        !self.open_rows().is_empty()
    }

    fn open_rows(&self) -> Range<usize> {
        let begun = self.segments.last().map_or(0, |segment| segment.rows.end);
        begun..self.rows.len()
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(crate) fn row(&self, at: usize) -> Option<FullSyncRow<'_>> {
        let Encoded { key, pk, data } = self.rows.get(at)?;
        Some(FullSyncRow {
            id: self.buffer.get(key.clone())?,
            key: self.buffer.get(pk.clone())?,
            data: self.buffer.get(data.clone())?,
            oversized: None,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// About how many bytes their events have.
    pub(crate) fn event_bytes(&self) -> usize {
        self.buffer.len() + self.rows.len() * ENVELOPE_BYTES
    }
}
