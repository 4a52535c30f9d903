//! Where other tools stopped, from what they stored: so that `dts` goes on there.
//!
//! Each tool's module reads its form into [`Stopped`]; [`settle`] asks the server what that is
//! there, and gives what to save.

mod canal;
mod debezium;
mod java_map;
mod maxwell;
mod settle;
mod skip;

use std::{io::Read as _, path::Path};

use binlog::GtidSet;

pub use canal::read_canal;
pub use debezium::read_debezium;
pub use maxwell::{MaxwellRow, read_maxwell};
pub use settle::settle;

use crate::error::{Error, Result};

/// A file that is larger than this is not what these tools write.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Where a tool stopped, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Who wrote it: each means something else by a position.
    pub tool: Tool,
    /// The binlog file.
    pub file: String,
    /// The offset in it.
    pub pos: u64,
    /// What the tool had read, where it goes by GTIDs.
    pub gtids: Option<GtidSet>,
    /// What it had sent of the transaction that begins at the position.
    pub sent: Sent,
}

/// The tools whose positions are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Stores where the transaction begins in which it is, and how much of it was sent.
    Debezium,
    /// Stores where the last row of the last whole transaction ends.
    Maxwell,
    /// Stores where the event begins that was acknowledged last: BEGIN, commit or DDL.
    Canal,
}

/// How much of a transaction was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Events that are done, counted from BEGIN, itself included.
    pub events: u64,
    /// Rows of the event after these; none counted means all of it.
    pub rows: u64,
}

impl Sent {
    /// Whether the tool stood in front of BEGIN.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// Reads a file, or standard input for `-`.
///
/// # Errors
///
/// Refused, when it cannot be read or is too large.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    let refuse = |reason: String| {
        Error::refused(format!("{} cannot be read: {reason}", path.display()), "name another file")
    };
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(refuse(format!("it has more than {} MiB", MAX_FILE_BYTES >> 20)));
    }
    Ok(bytes)
}

/// The one that was asked for by name, or the only one there is.
fn choose<T>(mut found: Vec<(String, T)>, name: Option<&str>, what: Choice) -> Result<T> {
    let Choice { kind, option } = what;
    let names = found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(name) = name {
        found.retain(|(known, _)| known == name);
    }
    match (found.len(), name) {
        (1, _) => Ok(found.remove(0).1),
        (0, Some(name)) if !names.is_empty() => Err(Error::refused(
            format!("there is no {kind} {name}"),
            format!("there is {names}: name one by {option}"),
        )),
        (0, _) => Err(Error::refused(
            format!("no {kind} with a position in a MySQL binlog is in it"),
            "name the file that the tool writes, once it has stored a position",
        )),
        _ => Err(Error::refused(
            format!("it has the positions of more than one {kind}: {names}"),
            format!("name one by {option}"),
        )),
    }
}

/// What is chosen among, and the option that chooses.
#[derive(Clone, Copy)]
struct Choice {
    kind: &'static str,
    option: &'static str,
}

/// A GTID set as these tools write it: empty where they do not go by GTIDs.
fn gtids_of(text: Option<&str>) -> Result<Option<GtidSet>> {
    match text.map(str::trim) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|error: binlog::InvalidGtidSet| {
            Error::refused(format!("the stored GTID set is none: {error}"), BY_HAND)
        }),
    }
}

/// The way out where a stored position cannot be used.
const BY_HAND: &str = "find the place yourself and save it by `dts position set`";
