//! `Records` of `proto/event_log.proto`: servers give its records encoded, since many subscribers
//! may get the same; clients find them decoded.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, message, skip_field, uint64},
};

use crate::Record;

const RECORDS: u32 = 1;
const NEXT_OFFSET: u32 = 2;
const END_OFFSET: u32 = 3;

/// Records of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// As a client finds them.
    pub(crate) records: Vec<Record>,
    /// As a server sends them: what [`encode`] made.
    pub(crate) encoded: Bytes,
    pub(crate) next_offset: u64,
    pub(crate) end_offset: u64,
}

/// Encodes the field `records`.
pub(crate) fn encode(records: &[Record], into: &mut impl BufMut) {
    message::encode_repeated(RECORDS, records, into);
}

/// How many bytes that takes.
pub(crate) fn encoded_len(records: &[Record]) -> usize {
    message::encoded_len_repeated(RECORDS, records)
}

impl Message for Records {
    fn encode_raw(&self, into: &mut impl BufMut) {
        into.put_slice(&self.encoded);
        encode(&self.records, into);
        // As all fields of their type, they are left out when they are zero.
        for (tag, offset) in [(NEXT_OFFSET, &self.next_offset), (END_OFFSET, &self.end_offset)] {
            if *offset != 0 {
                uint64::encode(tag, offset, into);
            }
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        from: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            RECORDS => message::merge_repeated(wire_type, &mut self.records, from, context),
            NEXT_OFFSET => uint64::merge(wire_type, &mut self.next_offset, from, context),
            END_OFFSET => uint64::merge(wire_type, &mut self.end_offset, from, context),
            // Of a newer server.
            _ => skip_field(wire_type, tag, from, context),
        }
    }

    fn encoded_len(&self) -> usize {
        let offsets = [(NEXT_OFFSET, &self.next_offset), (END_OFFSET, &self.end_offset)];
        let offsets = offsets.iter().filter(|(_, offset)| **offset != 0);
        self.encoded.len()
            + encoded_len(&self.records)
            + offsets.map(|(tag, offset)| uint64::encoded_len(*tag, offset)).sum::<usize>()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
