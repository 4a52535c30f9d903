//! Whose records a spool on disk holds. Those of one producer for one stream: sent by another, they
//! would be there twice, and sent to another, in the wrong stream.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{Error, disk::recovery};

const FILE: &str = "reports-to";

/// The producer that reports, and its stream.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpoolOwner {
    stream: String,
    producer: String,
}

impl SpoolOwner {
    pub(super) fn new(stream: &str, producer: &str) -> Self {
        Self { stream: stream.to_owned(), producer: producer.to_owned() }
    }

    /// Takes a spool that is new; refuses that of another.
    pub(super) fn check(&self, directory: &Path) -> Result<(), Error> {
        let path = directory.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return recovery::replace(&path, &serde_json::to_vec(self).unwrap_or_default());
            }
            Err(error) => return Err(Error::io("cannot read", path)(error)),
        };
        let known: Self = serde_json::from_slice(&text).map_err(|error| Error::Damaged {
            file: path,
            position: 0,
            problem: error.to_string(),
        })?;
        if known == *self {
            return Ok(());
        }
        Err(Error::Rejected(format!(
            "the spool {} holds what producer {} reports to stream {}, and this is producer {} of \
             stream {}: give each a spool of its own, or let the first one send what is in it",
            directory.display(),
            known.producer,
            known.stream,
            self.producer,
            self.stream
        )))
    }
}
