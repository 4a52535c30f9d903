//! The positions of other tools, from their stored files: so that `dts` goes on there.
//!
//! Each tool's module reads its format into [`Stopped`]. [`settle`] asks the server what is at that
//! place, and returns what to save.

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

/// A larger file was not written by these tools.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Where a tool stopped, in its own form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The tool: a position means something different for each.
    pub tool: Tool,
    /// The binlog file.
    pub file: String,
    /// The offset in it.
    pub pos: u64,
    /// The transactions that the tool had read, if it uses GTIDs.
    pub gtids: Option<GtidSet>,
    /// The part that the tool had sent of the transaction that begins at the position.
    pub sent: Sent,
}

/// The tools whose positions are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Stores where its current transaction begins, and how much of this was sent.
    Debezium,
    /// Stores where the last row of the last whole transaction ends.
    Maxwell,
    /// Stores where the last acknowledged event begins: BEGIN, commit or DDL.
    Canal,
}

/// How much of a transaction was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Finished events, counted from BEGIN, which is included.
    pub events: u64,
    /// Rows of the next event that were sent; without a number, all of them.
    pub rows: u64,
}

impl Sent {
    /// Whether the tool was before BEGIN.
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

/// The one with this name, or the only one that exists.
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
            format!("there is {names}: name one with {option}"),
        )),
        (0, _) => Err(Error::refused(
            format!("it has no {kind} with a position in a MySQL binlog"),
            "name the file that the tool writes, once it has stored a position",
        )),
        _ => Err(Error::refused(
            format!("it has the positions of more than one {kind}: {names}"),
            format!("name one with {option}"),
        )),
    }
}

/// The kind of things to choose from, and the option that chooses.
#[derive(Clone, Copy)]
struct Choice {
    kind: &'static str,
    option: &'static str,
}

/// A GTID set as these tools write it: empty if they do not use GTIDs.
fn gtids_of(text: Option<&str>) -> Result<Option<GtidSet>> {
    match text.map(str::trim) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|error: binlog::InvalidGtidSet| {
            Error::refused(format!("the stored GTID set is invalid: {error}"), BY_HAND)
        }),
    }
}

/// What to do if a stored position cannot be used.
const BY_HAND: &str = "find the place yourself and save it with `dts position set`";
