//! Reads little-endian fields from the front of a slice; too few bytes are an error.

use super::error::{Fault, corrupt};

#[derive(Clone, Copy, Debug)]
pub(super) struct FieldReader<'a> {
    rest: &'a [u8],
}

impl<'a> FieldReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(cut_short)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(cut_short)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u48(&mut self) -> Result<u64, Fault> {
        self.array().map(|[a, b, c, d, e, f]| u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    pub(super) fn u56(&mut self) -> Result<u64, Fault> {
        self.array().map(|[a, b, c, d, e, f, g]| u64::from_le_bytes([a, b, c, d, e, f, g, 0]))
    }

    /// A length-encoded integer ("Protocol::LengthEncodedInteger").
    pub(super) fn length_encoded(&mut self) -> Result<u64, Fault> {
        match self.u8()? {
            n @ 0..=0xfa => Ok(u64::from(n)),
            0xfc => self.u16().map(u64::from),
            0xfd => self.array().map(|[a, b, c]| u64::from(u32::from_le_bytes([a, b, c, 0]))),
            0xfe => self.u64(),
            _ => Err(corrupt("a length begins with a byte that no length has")),
        }
    }

    /// A length-encoded integer that counts things in memory.
    pub(super) fn length(&mut self) -> Result<usize, Fault> {
        usize::try_from(self.length_encoded()?).map_err(|_| cut_short())
    }

    /// A number of the server's serialization library: the one bits at the low end of its first
    /// byte count the bytes that follow (`variable_length_integers.h`).
    pub(super) fn varlen(&mut self) -> Result<u64, Fault> {
        let first = self.u8()?;
        let more = first.trailing_ones();
        if more == 8 {
            return self.u64();
        }
        let rest = self.take(more as usize)?;
        let all = rest.iter().rev().fold(0_u64, |all, byte| (all << 8) | u64::from(*byte));
        let own = u64::from(first).wrapping_shr(more.wrapping_add(1));
        Ok(own | all.wrapping_shl(7_u32.wrapping_sub(more)))
    }

    /// A signed number of that library, which must not be negative: its sign is the lowest bit.
    pub(super) fn signed_varlen(&mut self) -> Result<u64, Fault> {
        let both = self.varlen()?;
        if both & 1 == 0 { Ok(both >> 1) } else { Err(corrupt("a number is negative")) }
    }

    /// A string after its length-encoded length.
    pub(super) fn string(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.length()?;
        self.take(length)
    }
}

#[cold]
pub(super) fn cut_short() -> Fault {
    corrupt("it is cut short")
}
