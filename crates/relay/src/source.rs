//! Where records come from, and where the place is kept.

mod files;
mod server;

use std::time::Duration;

use event_log::Record;
use service::BackoffConfig;
use tracing::{info, warn};

use self::{files::FileSource, server::ServerSource};
use crate::{
    Error,
    config::{RelayConfig, RelaySource},
    place::Mark,
};

/// How a source that is away is asked again.
pub(crate) const AWAY: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(100), max: Duration::from_secs(5), factor: 2.0 };

/// A source of records, in order.
pub(crate) enum Source {
    Server(Box<ServerSource>),
    Files(Box<FileSource>),
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Those that are given, in order; may be none.
    pub(crate) records: Vec<Record>,
    /// All of the chunk, also what is not given.
    pub(crate) through: Done,
}

/// How far all is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// All below is.
    pub(crate) next: u64,
    /// The last record below.
    pub(crate) mark: Option<Mark>,
}

/// Whether a place was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Saved {
    Yes,
    /// It was not: the source goes on where it was saved before.
    Lost,
}

impl Source {
    pub(crate) fn open(config: &RelayConfig) -> Result<Self, Error> {
        Ok(match &config.source {
            RelaySource::Server(client) => {
                Self::Server(Box::new(ServerSource::new(config, client)?))
            }
            RelaySource::Directory(directory) => {
                Self::Files(Box::new(FileSource::open(config, directory)?))
            }
        })
    }

    /// Waits for records. A dropped call loses nothing, if no other follows.
    pub(crate) async fn next(&mut self) -> Result<Chunk, Error> {
        match self {
            Self::Server(server) => server.next().await,
            Self::Files(files) => files.next().await,
        }
    }

    /// Saves how far all is done; durable when this returns.
    pub(crate) async fn save(&mut self, done: Done) -> Result<Saved, Error> {
        match self {
            Self::Server(server) => server.save(done).await,
            Self::Files(files) => files.save(done).await,
        }
    }
}

/// A trouble that is told once, until it is over.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Option<String>);

impl Trouble {
    /// It is there.
    pub(crate) fn is(&mut self, error: &dyn std::fmt::Display, what: &str) {
        let said = format!("{what}: {error}");
        if self.0.as_ref() != Some(&said) {
            warn!("{said}");
            self.0 = Some(said);
        }
    }

    /// It is over, if it was there.
    pub(crate) fn is_over(&mut self, what: &str) {
        if self.0.take().is_some() {
            info!("{what}");
        }
    }
}
