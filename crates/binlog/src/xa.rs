//! XA transactions: prepared in one group of events, committed or rolled back in another
//! ("XA_prepare_event" in the MySQL source documentation, and the manual's "XA Transactions").

use std::fmt;

use super::{
    error::{Fault, corrupt},
    reader::FieldReader,
};

/// The name that clients give to an XA transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Xid {
    format: u32,
    global: Box<[u8]>,
    branch: Box<[u8]>,
}

/// What happened to an XA transaction, at the end of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XaOutcome {
    /// Its rows were read, and count only when the transaction is committed.
    Prepared(Xid),
    /// Its rows were read, and the transaction is committed (XA COMMIT … ONE PHASE).
    CommittedAtOnce,
    /// A transaction that was prepared earlier is committed.
    Committed(Xid),
    /// A transaction that was prepared earlier is rolled back.
    RolledBack(Xid),
}

/// No part of a name is longer than this (`MAXGTRIDSIZE`, `MAXBQUALSIZE`).
const MAX_PART_BYTES: usize = 64;

impl XaOutcome {
    /// Reads the body of an XA_PREPARE event.
    pub(super) fn read(body: &[u8]) -> Result<Self, Fault> {
        let mut reader = FieldReader::new(body);
        let one_phase = reader.u8()?;
        let format = reader.u32()?;
        let (global, branch) = (reader.u32()? as usize, reader.u32()? as usize);
        if global > MAX_PART_BYTES || branch > MAX_PART_BYTES {
            return Err(corrupt("an XA transaction's name is too long"));
        }
        let (global, branch) = (reader.take(global)?.into(), reader.take(branch)?.into());
        Ok(match one_phase {
            0 => Self::Prepared(Xid { format, global, branch }),
            _ => Self::CommittedAtOnce,
        })
    }
}

impl Xid {
    /// Reads the text after `XA COMMIT`, as the server writes it: `X'6162',X'63',1`.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(text).map_err(|_| wrong())?;
        let mut parts = text.trim().splitn(3, ',');
        let mut hex = || parts.next().and_then(parse_hex);
        let (global, branch) = (hex().ok_or_else(wrong)?, hex().ok_or_else(wrong)?);
        let format = parts.next().and_then(|digits| digits.trim().parse::<i64>().ok());
        // The server prints the number with or without a sign.
        let format = format.ok_or_else(wrong)? as u32;
        Ok(Self { format, global, branch })
    }
}

fn parse_hex(text: &str) -> Option<Box<[u8]>> {
    let digits = text.trim().strip_prefix(['X', 'x'])?.strip_prefix('\'')?.strip_suffix('\'')?;
    let nibble = |digit: &u8| char::from(*digit).to_digit(16);
    let pairs = digits.as_bytes().chunks(2);
    if digits.len() > 2_usize.saturating_mul(MAX_PART_BYTES) {
        return None;
    }
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some((nibble(high)?.wrapping_mul(16) | nibble(low)?) as u8),
        _ => None,
    };
    pairs.map(byte).collect()
}

#[cold]
fn wrong() -> Fault {
    corrupt("an XA statement does not name its transaction")
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.global, &self.branch] {
            f.write_str("X'")?;
            part.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            f.write_str("',")?;
        }
        write!(f, "{}", self.format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_in_an_event_and_in_a_statement() {
        let event = [&[0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0][..], b"abc"].concat();
        let xid = Xid::parse(b"X'6162',X'63',1").unwrap();
        assert_eq!(XaOutcome::read(&event).unwrap(), XaOutcome::Prepared(xid.clone()));
        assert_eq!(xid.to_string(), "X'6162',X'63',1");
        let at_once = [&[1][..], &event[1..]].concat();
        assert_eq!(XaOutcome::read(&at_once).unwrap(), XaOutcome::CommittedAtOnce);
        for length in 0..event.len() {
            assert!(XaOutcome::read(&event[..length]).is_err());
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert!(Xid::parse(b" X'',X'',-1 ").is_ok());
        for text in ["", "X'61'", "X'6',X'',1", "X'61',X'',", "X'zz',X'',1", "'a','',1"] {
            assert!(Xid::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
