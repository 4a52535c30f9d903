//! Which files a verb reads: by the command line, or by the config of the server.

use std::path::{Path, PathBuf};

use clap::Args;
use event_log::files;

use super::{Failure, connect};

/// The directory of a log.
#[derive(Args)]
pub(crate) struct LogDirectory {
    /// The directory of the log; by default `directory` of [storage] in the config.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl LogDirectory {
    pub(crate) fn path(&self, config: &Path) -> Result<PathBuf, Failure> {
        match &self.directory {
            Some(directory) => Ok(directory.clone()),
            None => Ok(connect::read(config)?.storage.directory),
        }
    }

    /// The directory of a log that is there: what holds none is not right, it is the wrong one.
    pub(crate) fn existing(&self, config: &Path) -> Result<PathBuf, Failure> {
        let directory = self.path(config)?;
        files::check_log(&directory)?;
        Ok(directory)
    }
}

/// One stream in the directory of a log.
#[derive(Args)]
pub(crate) struct StreamAt {
    #[command(flatten)]
    pub(crate) log: LogDirectory,
    /// The stream; its name is `topicPrefix` in the config of dts.
    #[arg(long, default_value = "dbevents")]
    pub(crate) stream: String,
}

impl StreamAt {
    /// The directory of the stream.
    pub(crate) fn path(&self, config: &Path) -> Result<PathBuf, Failure> {
        Ok(files::stream_directory(&self.log.existing(config)?, &self.stream)?)
    }
}
