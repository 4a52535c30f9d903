//! Global transaction identifiers of MySQL, `uuid[:tag]:number`, and of MariaDB,
//! `domain-server-sequence`.
//!
//! The text form is that of the manuals ("GTID Format and Storage", "Global Transaction ID"); tags
//! came with MySQL 8.3.

use std::{fmt, str::FromStr};

/// A global transaction identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gtid {
    /// One of MySQL.
    Mysql {
        /// The server that first committed the transaction.
        uuid: [u8; 16],
        /// The tag (MySQL 8.3+).
        tag: Option<Box<str>>,
        /// The number of the transaction among those of its server and tag.
        gno: u64,
    },
    /// One of MariaDB.
    Mariadb(DomainGtid),
}

/// A global transaction identifier of MariaDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainGtid {
    /// Its line of history.
    pub domain: u32,
    /// The server that first committed the transaction.
    pub server_id: u32,
    /// Its number in the domain.
    pub sequence: u64,
}

/// Who wrote a transaction: a server's UUID and, on servers that use them, a tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GtidOrigin {
    /// The server's UUID.
    pub uuid: [u8; 16],
    /// Lower case; empty when there is none.
    pub tag: String,
}

impl GtidOrigin {
    pub(super) fn is(&self, uuid: [u8; 16], tag: &str) -> bool {
        self.uuid == uuid && self.tag == tag
    }
}

impl fmt::Display for GtidOrigin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&format_uuid(self.uuid))?;
        if self.tag.is_empty() { Ok(()) } else { write!(out, ":{}", self.tag) }
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mysql { uuid, tag: Some(tag), gno } => {
                write!(out, "{}:{tag}:{gno}", format_uuid(*uuid))
            }
            Self::Mysql { uuid, tag: None, gno } => write!(out, "{}:{gno}", format_uuid(*uuid)),
            Self::Mariadb(gtid) => gtid.fmt(out),
        }
    }
}

impl fmt::Display for DomainGtid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}-{}", self.domain, self.server_id, self.sequence)
    }
}

/// A text that is not `domain-server-sequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a GTID of MariaDB (domain-server-sequence)")]
pub struct InvalidDomainGtid;

impl FromStr for DomainGtid {
    type Err = InvalidDomainGtid;

    fn from_str(text: &str) -> Result<Self, InvalidDomainGtid> {
        let numbers = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let mut fields = text.split('-');
        let mut next = || fields.next().ok_or(InvalidDomainGtid);
        let (domain, server_id, sequence) = (next()?, next()?, next()?);
        match (domain.parse(), server_id.parse(), sequence.parse()) {
            (Ok(domain), Ok(server_id), Ok(sequence)) if numbers && fields.next().is_none() => {
                Ok(Self { domain, server_id, sequence })
            }
            _ => Err(InvalidDomainGtid),
        }
    }
}

/// Writes a UUID as MySQL prints it.
fn format_uuid(uuid: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in uuid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text
}

/// Reads a UUID as MySQL accepts it.
pub(super) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let mut uuid = [0; 16];
    if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(uuid)
}

/// A tag: a letter or underscore, then up to 31 letters, digits and underscores.
pub(super) fn parse_tag(text: &str) -> Option<String> {
    let valid = text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    valid.then(|| text.to_ascii_lowercase())
}
