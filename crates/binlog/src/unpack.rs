//! The TRANSACTION_PAYLOAD event: a compressed transaction, unpacked one event at a time
//! ("Transaction_payload_event" in the MySQL source documentation).
//!
//! Only the current event is in memory, since a compressed transaction may unpack to a thousand
//! times its size. The inner events have no checksum and no position of their own.

use zstd::stream::raw::{Decoder, Operation};

use super::{
    error::{Fault, corrupt},
    header::EventHeader,
    reader::FieldReader,
};

/// The raw type of the event.
pub const TRANSACTION_PAYLOAD: u8 = 40;

/// Bytes unpacked in one step.
const CHUNK_BYTES: usize = 64 << 10;

/// No event is larger than this (`max_allowed_packet`).
const MAX_EVENT_BYTES: u64 = 1 << 30;

/// No transaction is larger than this: it is more than any `max_binlog_cache_size` in use.
const MAX_UNPACKED_BYTES: u64 = 1 << 40;

/// zstd unpacks four bytes to at most 128 KiB. A payload that claims more is not zstd's.
const MAX_RATIO: u64 = 33_000;

/// Unpacks compressed transactions, one after the other.
#[derive(Default)]
pub struct Unpacker {
    /// Kept between transactions: making one takes longer than unpacking a small transaction.
    zstd: Option<Decoder<'static>>,
    is_compressed: bool,
    /// How much of the event's body was unpacked.
    at: usize,
    /// The unpacked bytes, and how many of them were taken.
    plain: Vec<u8>,
    taken: usize,
    /// The number of bytes that must still come.
    left: u64,
}

/// The fields before the payload.
struct Head {
    is_compressed: bool,
    unpacked_bytes: u64,
    start: usize,
}

impl Unpacker {
    /// Begins with the body of a TRANSACTION_PAYLOAD event.
    ///
    /// # Errors
    ///
    /// When the compression is unknown, or the claimed size is impossible.
    pub fn begin(&mut self, body: &[u8]) -> Result<(), Fault> {
        let head = Head::read(body)?;
        let packed = body.len().saturating_sub(head.start) as u64;
        if head.unpacked_bytes > MAX_UNPACKED_BYTES.min(packed.saturating_mul(MAX_RATIO)) {
            return Err(corrupt("the compressed transaction claims an impossible size"));
        }
        match &mut self.zstd {
            Some(zstd) => zstd.reinit().map_err(|_| not_unpacked())?,
            None => self.zstd = Some(Decoder::new().map_err(|_| not_unpacked())?),
        }
        self.is_compressed = head.is_compressed;
        self.at = head.start;
        self.plain.clear();
        self.taken = 0;
        self.left = head.unpacked_bytes;
        Ok(())
    }

    /// The next event inside; `None` after the last. `body` is the same as for [`Self::begin`].
    ///
    /// # Errors
    ///
    /// When the bytes cannot be unpacked, are more or fewer than the event says, or are not events
    /// of a transaction.
    pub fn next(&mut self, body: &[u8]) -> Result<Option<(EventHeader, Vec<u8>)>, Fault> {
        if !self.fill(body, EventHeader::LEN)? {
            return if self.left == 0 && self.waiting().is_empty() {
                Ok(None)
            } else {
                Err(cut_short())
            };
        }
        let mut header = EventHeader::read(self.waiting())?;
        let size = header.size as usize;
        if size < EventHeader::LEN || u64::from(header.size) > MAX_EVENT_BYTES {
            return Err(corrupt("an event in a compressed transaction has an impossible size"));
        }
        if never_inside(header.kind) {
            return Err(corrupt("a compressed transaction has an event that none may have"));
        }
        if !self.fill(body, size)? {
            return Err(cut_short());
        }
        header.log_pos = 0;
        let event = self.waiting().get(EventHeader::LEN..size).ok_or_else(cut_short)?.to_vec();
        self.taken = self.taken.saturating_add(size);
        Ok(Some((header, event)))
    }

    /// The unpacked bytes that were not taken.
    fn waiting(&self) -> &[u8] {
        self.plain.get(self.taken..).unwrap_or_default()
    }

    /// Moves the remaining bytes to the front: once for each chunk, and not for each event.
    fn drop_taken(&mut self) {
        self.plain.drain(..self.taken.min(self.plain.len()));
        self.taken = 0;
        if self.plain.capacity() > 16 * CHUNK_BYTES && self.plain.len() < CHUNK_BYTES {
            self.plain.shrink_to(CHUNK_BYTES);
        }
    }

    /// Unpacks until there are this many bytes, or no more.
    fn fill(&mut self, body: &[u8], wanted: usize) -> Result<bool, Fault> {
        while self.waiting().len() < wanted {
            self.drop_taken();
            let packed = body.get(self.at..).unwrap_or_default();
            let before = self.plain.len();
            self.plain.resize(before.saturating_add(CHUNK_BYTES), 0);
            let room = self.plain.get_mut(before..).unwrap_or_default();
            let (read, written) = match &mut self.zstd {
                Some(zstd) if self.is_compressed => {
                    let status = zstd.run_on_buffers(packed, room).map_err(|_| not_unpacked())?;
                    (status.bytes_read, status.bytes_written)
                }
                _ => {
                    let copied = packed.len().min(room.len());
                    room.iter_mut().zip(packed).for_each(|(to, from)| *to = *from);
                    (copied, copied)
                }
            };
            self.plain.truncate(before.saturating_add(written));
            self.at = self.at.saturating_add(read);
            let left = self.left.checked_sub(written as u64);
            self.left = left.ok_or_else(|| {
                corrupt("the compressed transaction unpacks to more than it says")
            })?;
            if read == 0 && written == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Head {
    fn read(body: &[u8]) -> Result<Self, Fault> {
        const END: u64 = 0;
        const PAYLOAD_BYTES: u64 = 1;
        const COMPRESSION: u64 = 2;
        const UNPACKED_BYTES: u64 = 3;
        let mut reader = FieldReader::new(body);
        let (mut payload, mut compression, mut unpacked) = (None, None, None);
        loop {
            let field = reader.length_encoded()?;
            if field == END {
                break;
            }
            let mut value = FieldReader::new(reader.string()?);
            match field {
                PAYLOAD_BYTES => payload = Some(value.length_encoded()?),
                COMPRESSION => compression = Some(value.length_encoded()?),
                UNPACKED_BYTES => unpacked = Some(value.length_encoded()?),
                _ => {}
            }
        }
        let rest = reader.rest().len();
        if payload != Some(rest as u64) {
            return Err(corrupt("the compressed transaction has another size than it says"));
        }
        Ok(Self {
            is_compressed: is_compressed(compression)?,
            unpacked_bytes: unpacked
                .ok_or_else(|| corrupt("the compressed transaction does not say its size"))?,
            start: body.len().saturating_sub(rest),
        })
    }
}

fn is_compressed(algorithm: Option<u64>) -> Result<bool, Fault> {
    const ZSTD: u64 = 0;
    const NONE: u64 = 255;
    match algorithm {
        Some(ZSTD) => Ok(true),
        Some(NONE) => Ok(false),
        Some(other) => Err(Fault::NotHandled(format!("the compression {other} is"))),
        None => Err(corrupt("the compressed transaction does not say how it is compressed")),
    }
}

/// Whether an event frames transactions or files: a compressed transaction never has such an event.
fn never_inside(kind: u8) -> bool {
    const STOP: u8 = 3;
    const ROTATE: u8 = 4;
    const FORMAT_DESCRIPTION: u8 = 15;
    const HEARTBEAT: u8 = 27;
    const HEARTBEAT_V2: u8 = 41;
    const GTID_TAGGED: u8 = 42;
    matches!(
        kind,
        STOP | ROTATE | FORMAT_DESCRIPTION | HEARTBEAT | 33
            ..=35 | TRANSACTION_PAYLOAD | HEARTBEAT_V2 | GTID_TAGGED
    )
}

#[cold]
fn not_unpacked() -> Fault {
    corrupt("the compressed transaction cannot be unpacked")
}

#[cold]
fn cut_short() -> Fault {
    corrupt("the compressed transaction is cut short")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u8, body: &[u8]) -> Vec<u8> {
        let size = (EventHeader::LEN + body.len()) as u32;
        let header = EventHeader { kind, size, log_pos: 77, ..EventHeader::default() };
        [&header.write(), body].concat()
    }

    fn length(n: u64) -> Vec<u8> {
        [&[0xfe][..], &n.to_le_bytes()].concat()
    }

    fn payload(algorithm: u8, packed: &[u8], unpacked: u64) -> Vec<u8> {
        let (size, unpacked) = (length(packed.len() as u64), length(unpacked));
        let compression: &[u8] = if algorithm == 255 { &[0xfc, 255, 0] } else { &[algorithm] };
        let mut body = Vec::new();
        for (field, value) in [(1, size.as_slice()), (2, compression), (9, b"new"), (3, &unpacked)]
        {
            body.extend_from_slice(&[field, value.len() as u8]);
            body.extend_from_slice(value);
        }
        body.push(0);
        body.extend_from_slice(packed);
        body
    }

    fn zstd(plain: &[u8]) -> Vec<u8> {
        zstd::encode_all(plain, 3).unwrap()
    }

    fn unpack(body: &[u8], unpacker: &mut Unpacker) -> Result<Vec<(u8, usize)>, Fault> {
        unpacker.begin(body)?;
        let mut found = Vec::new();
        while let Some((header, event)) = unpacker.next(body)? {
            assert_eq!(header.log_pos, 0);
            found.push((header.kind, event.len()));
        }
        Ok(found)
    }

    #[test]
    fn events_come_one_by_one_however_they_are_packed() {
        let events = [event(2, b"BEGIN"), event(19, &[7; 300_000]), event(16, &[0; 8])].concat();
        let expected = [(2, 5), (19, 300_000), (16, 8)];
        let mut unpacker = Unpacker::default();
        for (algorithm, packed) in [(0, zstd(&events)), (255, events.clone())] {
            let body = payload(algorithm, &packed, events.len() as u64);
            assert_eq!(unpack(&body, &mut unpacker).unwrap(), expected);
        }
        let (head, tail) = events.split_at(100);
        let two_frames = [zstd(head), zstd(tail)].concat();
        let body = payload(0, &two_frames, events.len() as u64);
        assert_eq!(unpack(&body, &mut unpacker).unwrap(), expected);
    }

    #[test]
    fn a_bomb_and_what_is_cut_are_refused() {
        let events = event(19, &[0; 1_000_000]);
        let packed = zstd(&events);
        let whole = events.len() as u64;
        let cases = [
            (payload(0, &packed, 1 << 39), "claims an impossible size"),
            (payload(0, &packed, whole - 1), "unpacks to more than it says"),
            (payload(0, &packed, whole + 1), "cut short"),
            (payload(0, &packed[..packed.len() - 4], whole), "cut short"),
            (payload(0, b"not zstd at all", whole), "claims an impossible size"),
            (payload(0, &[7; 600], whole), "cannot be unpacked"),
            (payload(7, &packed, whole), "the compression 7 is not handled yet"),
            (payload(255, &event(40, b""), 19), "an event that none may have"),
            (payload(255, &[0; 19], 19), "an impossible size"),
        ];
        let mut unpacker = Unpacker::default();
        for (body, expected) in cases {
            let error = unpack(&body, &mut unpacker).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} instead of {expected}");
        }
        assert_eq!(unpack(&payload(0, &packed, whole), &mut unpacker).unwrap().len(), 1);
    }

    #[test]
    fn only_the_current_event_is_in_memory() {
        let events = event(19, &[1; 5000]).repeat(20_000);
        let body = payload(0, &zstd(&events), events.len() as u64);
        let mut unpacker = Unpacker::default();
        unpacker.begin(&body).unwrap();
        while unpacker.next(&body).unwrap().is_some() {
            assert!(unpacker.plain.capacity() < 4 * CHUNK_BYTES);
        }
    }
}
