//! Reports records to a stream of a server: into a spool at once, and from there, in order, by a
//! task in the background.
//!
//! Each record comes to the log exactly once, also when either side is killed: with each batch the
//! reporter saves its place in the spool as the checkpoint of its producer, and begins there after
//! it has opened the producer again. A reporter that also reads uses the same [`Client`].

mod chunk;
mod disk;
mod memory;
mod owner;
mod sender;
mod spool;
mod state;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytesize::ByteSize;
use prost::Message as _;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{AppLog, Client, Error, NewRecord, disk::frame, link::Link, proto};
use owner::SpoolOwner;
use spool::Spool;
pub use state::ReporterState;

/// How often a full spool is tried again, when nothing else tells of room.
const FULL_RETRY: Duration = Duration::from_millis(500);
/// No spool is smaller.
const MIN_SPOOL_BYTES: u64 = 1 << 20;

/// What a reporter reports to, and where it keeps what is not there yet.
#[derive(Clone, Debug)]
pub struct ReporterConfig {
    /// The stream of the server.
    pub stream: String,
    /// Names this reporter at the stream: one at a time may have the name, and the stream never
    /// forgets it. So it should be the same after each restart.
    pub producer: String,
    /// Where records wait until the server has them.
    pub spool: SpoolConfig,
}

/// Where records wait until the server has them.
#[derive(Clone, Debug)]
pub struct SpoolConfig {
    /// A directory of this reporter alone: a record is on its disk when `report` returns. `None`:
    /// records wait in memory, and those that wait are lost with the process.
    pub directory: Option<PathBuf>,
    /// Not more may wait; at least 1 MiB. With a directory it is the size of its files, and up to
    /// an eighth of it may be records that the server has already.
    pub max_bytes: u64,
    /// What happens to a record that has no room.
    pub when_full: WhenFull,
}

/// What `report` does while the spool, or its disk, is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It waits.
    #[default]
    Block,
    /// It fails with [`Error::Full`].
    Error,
}

impl ReporterConfig {
    /// With a spool of 64 MiB in memory that blocks.
    pub fn new(stream: impl Into<String>, producer: impl Into<String>) -> Self {
        let when_full = WhenFull::default();
        let spool = SpoolConfig { directory: None, max_bytes: 64 << 20, when_full };
        Self { stream: stream.into(), producer: producer.into(), spool }
    }
}

/// Reports records. Share it in an `Arc`. When it is dropped, its task ends: call
/// [`Reporter::close`] first, or records that wait in memory are lost (and a warning says so).
#[derive(Debug)]
pub struct Reporter {
    shared: Arc<ReporterShared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What those that report and the task in the background share.
#[derive(Debug)]
struct ReporterShared {
    config: SpoolConfig,
    spool: Spool,
    link: Link,
    /// The server has all below this place of the spool.
    acknowledged: watch::Sender<u64>,
    /// The place after the last record that was reported.
    reported: AtomicU64,
    stop: CancellationToken,
}

impl Reporter {
    /// Opens the spool, and begins to send what it holds. Does not wait for the server. Must be
    /// called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Held`]: another process has the directory. [`Error::Unusable`], [`Error::Damaged`],
    /// [`Error::Io`]: the directory cannot be used. [`Error::Rejected`]: a setting cannot be.
    pub async fn open(client: Client, config: ReporterConfig) -> Result<Self, Error> {
        if config.spool.max_bytes < MIN_SPOOL_BYTES {
            let least = ByteSize::b(MIN_SPOOL_BYTES);
            let reason = format!("a spool of {} bytes is too small", config.spool.max_bytes);
            return Err(Error::Rejected(format!("{reason}: give it {least} or more")));
        }
        let owner = SpoolOwner::new(&config.stream, &config.producer);
        let spool = Spool::open(&config.spool, &owner).await?;
        let (first, end) = (spool.first(), spool.end());
        let shared = Arc::new(ReporterShared {
            link: Link::new(client, &config.stream, &config.producer),
            config: config.spool,
            spool,
            acknowledged: watch::Sender::new(first),
            reported: AtomicU64::new(end),
            stop: CancellationToken::new(),
        });
        let task = tokio::spawn(sender::run(Arc::clone(&shared)));
        Ok(Self { shared, task: Mutex::new(Some(task)) })
    }

    /// Reports a record: it is in the spool when this returns, after all that were reported before.
    ///
    /// # Errors
    ///
    /// Nothing was reported then. [`Error::Rejected`]: it is larger than records may be, or than
    /// half of the spool. [`Error::Full`]: see [`WhenFull`]. [`Error::Refused`]: the spool is full,
    /// and the server refuses what is in it. [`Error::Poisoned`]: the spool's disk fails.
    pub async fn report(&self, record: proto::NewRecord) -> Result<(), Error> {
        self.report_all(&[record]).await.map(drop)
    }

    /// Reports a line of this app's log.
    ///
    /// # Errors
    ///
    /// As [`Reporter::report`].
    pub async fn log(&self, topic: &str, log: &AppLog) -> Result<(), Error> {
        self.report(log.record(topic)).await
    }

    /// Reports several records, all or none; a spool on disk syncs them at once. Gives the place
    /// after them, for [`Reporter::acknowledged`].
    ///
    /// # Errors
    ///
    /// As [`Reporter::report`].
    pub async fn report_all(&self, records: &[proto::NewRecord]) -> Result<u64, Error> {
        if records.is_empty() {
            return Ok(self.shared.reported.load(SeqCst));
        }
        self.check(records)?;
        loop {
            // Before it is tried, so that no change is missed.
            let mut acknowledged = self.shared.acknowledged.subscribe();
            match self.shared.spool.put(records).await {
                Ok(place) => {
                    self.shared.reported.fetch_max(place, SeqCst);
                    return Ok(place);
                }
                Err(Error::Full(reason)) => self.full(reason, &mut acknowledged).await?,
                Err(error) => return Err(error),
            }
        }
    }

    fn check(&self, records: &[proto::NewRecord]) -> Result<(), Error> {
        records.iter().try_for_each(|record| frame::check_limits(&NewRecord::from(record)))?;
        let bytes: u64 = records.iter().map(spooled_bytes).sum();
        let max_bytes = self.shared.config.max_bytes;
        if bytes > max_bytes / 2 {
            let (bytes, max) = (ByteSize::b(bytes), ByteSize::b(max_bytes));
            let reason = format!("{bytes} at once are more than half of the spool, {max}");
            return Err(Error::Rejected(format!("{reason}: report less, or make it larger")));
        }
        Ok(())
    }

    /// Waits for room, if it should.
    async fn full(&self, reason: String, changed: &mut watch::Receiver<u64>) -> Result<(), Error> {
        if self.shared.config.when_full == WhenFull::Error {
            return Err(Error::Full(format!("{reason}; {}", self.state())));
        }
        tokio::select! {
            // The sender lives in `self`.
            _ = changed.changed() => Ok(()),
            () = tokio::time::sleep(FULL_RETRY) => Ok(()),
            refusal = self.refused() => Err(refusal),
            () = self.shared.stop.cancelled() => Err(closed()),
        }
    }

    /// Waits until the server has synced all that was reported before this call.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`]: the server refuses them until somebody changes something. They stay in
    /// the spool, and are tried again from time to time. [`Error::Unavailable`] after `close`.
    pub async fn flush(&self) -> Result<(), Error> {
        let reported = self.shared.reported.load(SeqCst);
        let mut acknowledged = self.shared.acknowledged.subscribe();
        tokio::select! {
            biased;
            // The sender lives in `self`.
            _ = acknowledged.wait_for(|place| *place >= reported) => Ok(()),
            refusal = self.refused() => Err(refusal),
            () = self.shared.stop.cancelled() => Err(closed()),
        }
    }

    /// Waits until the server refuses what only a human can change: a wrong token, a right that is
    /// missing, a record that is too large.
    pub async fn refused(&self) -> Error {
        self.shared.link.refused().await
    }

    /// The server has all records below this place durably.
    pub fn acknowledged(&self) -> u64 {
        *self.shared.acknowledged.borrow()
    }

    /// How the reporter stands now.
    pub fn state(&self) -> ReporterState {
        self.shared.state()
    }

    /// Whether what waits outlives the process.
    pub fn keeps_what_waits(&self) -> bool {
        self.shared.config.directory.is_some()
    }

    /// Ends the task in the background. Call [`Reporter::flush`] first to wait until the server has
    /// all; what waits in memory is lost, what waits in a directory is sent by the next reporter.
    pub async fn close(&self) {
        self.shared.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // A panic was reported where it happened.
            let _ = task.await;
        }
    }
}

impl ReporterShared {
    fn state(&self) -> ReporterState {
        ReporterState {
            link: self.link.state(),
            spooled_bytes: self.spool.bytes(*self.acknowledged.borrow()),
            max_bytes: self.config.max_bytes,
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        let left = self.shared.state().spooled_bytes;
        if left > 0 && self.shared.config.directory.is_none() {
            let producer = &self.shared.link.producer;
            warn!(producer, bytes = left, "the reporter ends, and records in its memory are lost");
        }
    }
}

fn closed() -> Error {
    Error::Unavailable("the reporter was closed".to_owned())
}

/// What a record takes in a spool.
fn spooled_bytes(record: &proto::NewRecord) -> u64 {
    (record.encoded_len() + frame::HEADER_BYTES) as u64
}

#[cfg(test)]
mod tests;
