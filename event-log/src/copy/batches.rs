//! Whole batches as they came from another server: each record is checked before anything is
//! written.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use bytes::Bytes;

use crate::{
    disk::{
        data_files::SegmentId,
        end_and_state::{self, End, Producers},
        frame,
    },
    record::Record,
};

/// A piece of a data file that is made of whole batches.
#[derive(Debug)]
pub(crate) struct WholeBatches {
    pub(crate) file: SegmentId,
    /// Where it stands in the file.
    pub(crate) position: u64,
    pub(crate) data: Bytes,
    pub(crate) records: Vec<CopiedRecord>,
    /// What STATE says, where the piece begins its file.
    pub(crate) state: Option<Producers>,
    pub(crate) ends: Vec<End>,
}

/// What the index and the end of the stream need of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopiedRecord {
    pub(crate) bytes: usize,
    pub(crate) offset: u64,
    pub(crate) time_ms: u64,
}

/// What is wrong with a piece, and at which of its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) at: usize,
    pub(crate) problem: &'static str,
}

impl WholeBatches {
    /// Checks every record: its CRC, its length, its offset and time after those of the one before,
    /// and that the batches are whole.
    pub(crate) fn read(file: SegmentId, position: u64, data: Bytes) -> Result<Self, Flaw> {
        let (records, ends) = (Vec::new(), Vec::new());
        let mut piece = Self { file, position, data: data.clone(), records, state: None, ends };
        let (mut rest, mut open_records) = (data, 0_u32);
        while !rest.is_empty() {
            let at = piece.data.len().saturating_sub(rest.len());
            let flaw = |problem| Flaw { at, problem };
            let length = frame::length(&rest).filter(|&length| length <= rest.len());
            let length = length.ok_or_else(|| flaw("a record is cut short"))?;
            let record = frame::decode(rest.split_to(length)).map_err(flaw)?;
            piece.take(length, &record, &mut open_records).map_err(flaw)?;
        }
        let at = piece.data.len();
        if piece.records.is_empty() || open_records > 0 {
            return Err(Flaw { at, problem: "the last batch has no end" });
        }
        Ok(piece)
    }

    fn take(
        &mut self,
        bytes: usize,
        record: &Record,
        open_records: &mut u32,
    ) -> Result<(), &'static str> {
        let Record { offset, time_ms, kind, .. } = *record;
        if let Some(last) = self.records.last() {
            if last.offset.checked_add(1) != Some(offset) {
                return Err("an offset does not follow the one before it");
            }
            if time_ms < last.time_ms {
                return Err("a record is older than the one before it");
            }
        }
        let begins_file = self.position == 0 && self.records.is_empty();
        if begins_file != (kind == end_and_state::STATE) {
            return Err("the file does not begin with its state");
        }
        match kind {
            end_and_state::STATE => {
                let state = end_and_state::decode_producers(record.payload.clone());
                self.state = Some(state.ok_or("the state of the producers cannot be read")?);
            }
            end_and_state::END => {
                let end = End::decode(record.payload.clone());
                let end = end.ok_or("the end of a batch cannot be read")?;
                if end.records != *open_records {
                    return Err("a batch does not have as many records as its end says");
                }
                *open_records = 0;
                self.ends.push(end);
            }
            _ => *open_records = open_records.saturating_add(1),
        }
        self.records.push(CopiedRecord { bytes, offset, time_ms });
        Ok(())
    }

    /// The offset and the time of its first record.
    pub(crate) fn first(&self) -> (u64, u64) {
        self.records.first().map_or((0, 0), |first| (first.offset, first.time_ms))
    }
}

/// How many of these bytes, which begin at a record, are whole batches, and the offset after them.
/// Looks at lengths, offsets and types alone.
pub(crate) fn whole(data: &[u8]) -> (usize, u64) {
    let (mut at, mut whole, mut next_offset) = (0_usize, 0, 0);
    while let Some(rest) = data.get(at..)
        && let Some(length) = frame::length(rest)
        && length <= rest.len()
    {
        at = at.saturating_add(length);
        let own = |kind| frame::is_own(rest, kind);
        if own(end_and_state::END) || own(end_and_state::STATE) {
            let (_, offset) = frame::crc_and_offset(rest);
            (whole, next_offset) = (at, offset.saturating_add(1));
        }
    }
    (whole, next_offset)
}
