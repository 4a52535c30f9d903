//! What a stream's directory says about copies: that it is one, and where one has a gap.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Error,
    disk::{change, data_files, recovery},
};

pub(crate) const COPY_OF: &str = "copy-of";
/// Of a stream that was promoted: what it had been a copy of.
const PROMOTED_FROM: &str = "promoted-from";
pub(crate) const GAPS: &str = "gaps";

/// Which stream of which server a copy is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CopyOf {
    /// `host:port`, as it was last reached.
    pub address: String,
    /// The name of the stream there.
    pub stream: String,
}

/// Offsets that a copy has not got, since the server had deleted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Gap {
    /// The first of them.
    pub(crate) from: u64,
    /// The first that is there again.
    pub(crate) to: u64,
}

/// What the stream in a directory is a copy of, if it is one.
pub(crate) fn read(stream: &Path) -> Result<Option<CopyOf>, Error> {
    from_file(&stream.join(COPY_OF))
}

/// Makes the stream in a directory a copy. Durable when it returns.
pub(crate) fn write(stream: &Path, copy_of: &CopyOf) -> Result<(), Error> {
    data_files::create_directory(stream)?;
    to_file(&stream.join(COPY_OF), copy_of)
}

/// The stream in a directory is no copy any more. Durable when it returns. What it was is kept, so
/// that a mirror that is started as before does not take it for a stream of somebody else.
pub(crate) fn promote(stream: &Path) -> Result<(), Error> {
    change::rename(&stream.join(COPY_OF), &stream.join(PROMOTED_FROM))?;
    change::sync_directory(stream)
}

/// What the stream in a directory was a copy of, if it was one and is one no more.
pub(crate) fn promoted_from(stream: &Path) -> Result<Option<CopyOf>, Error> {
    match read(stream)? {
        Some(_) => Ok(None),
        None => from_file(&stream.join(PROMOTED_FROM)),
    }
}

/// The gaps of the stream in a directory, in order.
pub(crate) fn gaps(stream: &Path) -> Result<Vec<Gap>, Error> {
    Ok(from_file(&stream.join(GAPS))?.unwrap_or_default())
}

/// Notes a gap. Durable when it returns.
pub(crate) fn add_gap(stream: &Path, gap: Gap) -> Result<(), Error> {
    let mut gaps = gaps(stream)?;
    // After a crash the same one may be noted again.
    gaps.retain(|known| known.from != gap.from);
    gaps.push(gap);
    to_file(&stream.join(GAPS), &gaps)
}

fn from_file<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("cannot read", path)(error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| Error::Damaged {
        file: path.to_owned(),
        position: 0,
        problem: error.to_string(),
    })
}

fn to_file(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    recovery::replace(path, &serde_json::to_vec_pretty(value).unwrap_or_default())
}
