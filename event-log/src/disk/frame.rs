//! One record's bytes: written, checked and read.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use bytes::{Buf, Bytes};

use crate::{
    Error,
    record::{FIRST_DATA_TYPE, Header, NewRecord, Record},
};

/// The fixed part of a record.
pub(crate) const HEADER_BYTES: usize = 44;
/// No record is longer, header and all.
pub(crate) const MAX_RECORD_BYTES: usize = 64 << 20;
const MAX_TOPIC_BYTES: usize = 249;
const MAX_KEY_BYTES: usize = 1 << 20;
const MAX_HEADERS_BYTES: usize = 64 << 10;

/// What the log adds to a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) offset: u64,
    pub(crate) time_ms: u64,
    pub(crate) origin: u32,
}

/// Appends a data record to `out`; on error `out` is as before.
pub(crate) fn encode(out: &mut Vec<u8>, stamp: Stamp, new: &NewRecord<'_>) -> Result<(), Error> {
    check_limits(new)?;
    let start = out.len();
    let headers_bytes = headers_bytes(new);
    put_header(out, stamp, [new.kind, narrow(new.key.len()), narrow(headers_bytes)]);
    out.extend_from_slice(&u16::try_from(new.topic.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(new.topic.as_bytes());
    out.extend_from_slice(new.key);
    new.headers.for_each(|name, value| {
        out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&narrow(value.len()).to_le_bytes());
        out.extend_from_slice(value);
    });
    out.extend_from_slice(new.payload);
    seal(out, start);
    Ok(())
}

/// Appends a record of the log's own, whose payload `write` puts there.
pub(crate) fn encode_own(
    out: &mut Vec<u8>,
    stamp: Stamp,
    kind: u32,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    put_header(out, stamp, [kind, 0, 0]);
    out.extend_from_slice(&[0; 4]);
    write(out);
    seal(out, start);
}

fn put_header(out: &mut Vec<u8>, stamp: Stamp, [kind, key, headers]: [u32; 3]) {
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&stamp.offset.to_le_bytes());
    out.extend_from_slice(&stamp.time_ms.to_le_bytes());
    for field in [kind, stamp.origin, key, headers] {
        out.extend_from_slice(&field.to_le_bytes());
    }
}

/// Fills in the length and the CRC of the record that begins at `start`.
fn seal(out: &mut [u8], start: usize) {
    let Some(record) = out.get_mut(start..) else { return };
    let length = narrow(record.len()).to_le_bytes();
    if let Some(field) = record.get_mut(4..8) {
        field.copy_from_slice(&length);
    }
    let crc = crc32c::crc32c(record.get(4..).unwrap_or_default()).to_le_bytes();
    if let Some(field) = record.get_mut(..4) {
        field.copy_from_slice(&crc);
    }
}

fn headers_bytes(new: &NewRecord<'_>) -> usize {
    let mut bytes = 0_usize;
    new.headers.for_each(|name, value| {
        bytes = bytes.saturating_add(6).saturating_add(name.len()).saturating_add(value.len());
    });
    bytes
}

fn check_limits(new: &NewRecord<'_>) -> Result<(), Error> {
    let NewRecord { kind, topic, key, payload, .. } = *new;
    if kind < FIRST_DATA_TYPE {
        let reason = format!("record type {kind} is the log's own: use {FIRST_DATA_TYPE} or more");
        return Err(Error::Rejected(reason));
    }
    let headers = headers_bytes(new);
    let rest = [topic.len(), key.len(), headers, HEADER_BYTES];
    let limits = [
        ("topic", topic.len(), MAX_TOPIC_BYTES),
        ("key", key.len(), MAX_KEY_BYTES),
        ("headers", headers, MAX_HEADERS_BYTES),
        ("record", rest.into_iter().fold(payload.len(), usize::saturating_add), MAX_RECORD_BYTES),
    ];
    match limits.into_iter().find(|(_, bytes, limit)| bytes > limit) {
        None => Ok(()),
        Some((part, bytes, limit)) => Err(Error::Rejected(format!(
            "a record of topic {topic:.249} is too large: its {part} takes {bytes} bytes of at most \
             {limit}"
        ))),
    }
}

/// A length that was checked to be small.
fn narrow(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The length of the record that begins so, if that can be.
pub(crate) fn length(header: &[u8]) -> Option<usize> {
    let length = header.get(4..)?.try_get_u32_le().ok()? as usize;
    (HEADER_BYTES..=MAX_RECORD_BYTES).contains(&length).then_some(length)
}

/// The CRC and the offset of the record that begins so; zeros when it is too short.
pub(crate) fn crc_and_offset(header: &[u8]) -> (u32, u64) {
    let crc = header.get(..4).and_then(|mut bytes| bytes.try_get_u32_le().ok());
    let offset = header.get(8..).and_then(|mut bytes| bytes.try_get_u64_le().ok());
    (crc.unwrap_or_default(), offset.unwrap_or_default())
}

/// Whether a record that begins so can be one of the log's own of this type.
pub(crate) fn is_own(header: &[u8], kind: u32) -> bool {
    let parts = header.get(32..HEADER_BYTES);
    header.get(24..28) == Some(&kind.to_le_bytes()[..]) && parts == Some(&[0; 12][..])
}

/// Reads a whole record.
pub(crate) fn decode(frame: Bytes) -> Result<Record, &'static str> {
    const SHORT: &str = "the record is too short";
    let mut header = frame.get(..HEADER_BYTES).ok_or(SHORT)?;
    let crc = header.get_u32_le();
    if crc != crc32c::crc32c(frame.get(4..).ok_or(SHORT)?) {
        return Err("the checksum does not fit");
    }
    if header.get_u32_le() as usize != frame.len() {
        return Err("the length does not fit");
    }
    let (offset, time_ms) = (header.get_u64_le(), header.get_u64_le());
    let (kind, origin) = (header.get_u32_le(), header.get_u32_le());
    let (key_bytes, headers_bytes) = (header.get_u32_le() as usize, header.get_u32_le() as usize);
    let topic_bytes = usize::from(header.get_u16_le());
    if header.get_u16_le() != 0 {
        return Err("the record is of a newer format");
    }
    let mut rest = frame;
    rest.advance(HEADER_BYTES);
    let topic = take(&mut rest, topic_bytes)?;
    let key = take(&mut rest, key_bytes)?;
    let headers = decode_headers(take(&mut rest, headers_bytes)?)?;
    let record = Record { offset, time_ms, kind, origin, topic, key, headers, payload: rest };
    record.check_texts()?;
    Ok(record)
}

fn take(rest: &mut Bytes, bytes: usize) -> Result<Bytes, &'static str> {
    if bytes > rest.len() {
        return Err("a part is longer than the record");
    }
    Ok(rest.split_to(bytes))
}

fn decode_headers(mut rest: Bytes) -> Result<Vec<Header>, &'static str> {
    const SHORT: &str = "the headers are too short";
    let mut headers = Vec::new();
    while !rest.is_empty() {
        let name_bytes = usize::from(rest.try_get_u16_le().map_err(|_| SHORT)?);
        let name = take(&mut rest, name_bytes)?;
        let value_bytes = rest.try_get_u32_le().map_err(|_| SHORT)? as usize;
        headers.push(Header { name, value: take(&mut rest, value_bytes)? });
    }
    Ok(headers)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests;
