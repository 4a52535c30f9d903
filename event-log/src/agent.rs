//! Follows files as lines are added to them, and brings each line to a stream exactly once.
//!
//! The files themselves are the spool. How far each is in the log stands in the checkpoint of the
//! agent's producer, saved in the same batch as its lines: whoever of both is killed, the agent
//! goes on there. The streams are independent of each other, and so are the files of a stream: one
//! that cannot be read, or whose lines the server rejects, holds up no other.

mod batch;
mod config;
mod copies;
mod file;
mod follower;
mod paths;
mod pieces;
mod place;

use std::{collections::BTreeMap, time::Duration};

use bytesize::ByteSize;
use service::Backoff;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    Client, Error, RemoteProducer,
    link::{Link, RETRY, needs_human},
};
use batch::Batch;
pub use config::{AgentConfig, FileSet, FileStart};
use follower::Follower;

/// Follows the files until it is told to stop.
///
/// # Errors
///
/// [`Error::Refused`], [`Error::Rejected`]: the server refuses a stream from the beginning. After
/// that the agent only tells, and tries again.
pub async fn run_agent(config: AgentConfig, stop: CancellationToken) -> Result<(), Error> {
    let client = Client::new(&config.server)?;
    let mut by_stream: BTreeMap<String, Vec<FileSet>> = BTreeMap::new();
    for set in config.files.iter().cloned() {
        by_stream.entry(set.stream.clone()).or_default().push(set);
    }
    let mut following = JoinSet::new();
    for (stream, sets) in by_stream {
        let link = Link::new(client.clone(), &stream, &config.name);
        let follower = Follower::new(&config, sets);
        let status = Status { interval: config.status_interval, ..Status::default() };
        let poll_interval = config.poll_interval;
        let agent = StreamAgent { link, follower: Some(follower), poll_interval, status };
        following.spawn(agent.run());
    }
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = following.join_next() => match ended {
            Some(Ok(error)) => Err(error),
            Some(Err(panic)) => Err(Error::Failed(panic.to_string())),
            None => Err(Error::Rejected("there are no files to follow".to_owned())),
        },
    }
}

/// Brings the files of one stream there.
struct StreamAgent {
    link: Link,
    /// `None` while a thread that may wait for the disk has it.
    follower: Option<Follower>,
    poll_interval: Duration,
    status: Status,
}

/// What is told from time to time.
#[derive(Default)]
struct Status {
    interval: Duration,
    last: Option<Instant>,
    sent_records: u64,
}

impl StreamAgent {
    /// Runs for ever, unless the server refuses it from the beginning.
    async fn run(mut self) -> Error {
        let mut backoff = Backoff::new(RETRY);
        let mut was_connected = false;
        loop {
            let sent = self.status.sent_records;
            let error = match self.link.open().await {
                Ok((producer, checkpoint)) => {
                    was_connected = true;
                    let resumed = self.blocking(move |follower| follower.resume(&checkpoint));
                    let followed = match resumed.await {
                        Ok(()) => self.follow(producer).await,
                        Err(error) => Err(error),
                    };
                    match followed {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                Err(error) if !was_connected && needs_human(&error) => return error,
                Err(error) => error,
            };
            if self.status.sent_records > sent {
                backoff.reset();
            }
            self.link.failed(&error);
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Sends what is in the files until something fails; `Ok` when the producer is only to be
    /// opened again.
    async fn follow(&mut self, mut producer: RemoteProducer) -> Result<(), Error> {
        loop {
            let batch = self.blocking(Follower::next_batch).await?;
            let Batch { records, changes, token, is_more } = batch;
            if !records.is_empty() || !changes.is_empty() {
                let count = records.len() as u64;
                match producer.append(records, changes).await {
                    Ok(_) => {
                        self.status.sent_records += count;
                        self.blocking(move |follower| follower.sent(token)).await?;
                    }
                    Err(Error::Rejected(reason)) => {
                        let told = reason.clone();
                        let find = move |follower: &mut Follower| follower.rejected(token, &told);
                        let is_found = self.blocking(find).await?;
                        return if is_found { Ok(()) } else { Err(Error::Rejected(reason)) };
                    }
                    Err(error) => return Err(error),
                }
            }
            self.link.connected();
            self.tell_status();
            if !is_more {
                tokio::time::sleep(self.poll_interval).await;
            }
        }
    }

    fn tell_status(&mut self) {
        let Some(follower) = &self.follower else { return };
        let Status { interval, last, sent_records } = &mut self.status;
        if last.is_some_and(|last| last.elapsed() < *interval) {
            return;
        }
        *last = Some(Instant::now());
        let state = follower.state();
        info!(
            stream = self.link.stream,
            files = state.files,
            behind = %ByteSize::b(state.behind_bytes),
            unreadable = state.unreadable,
            rejected = state.rejected,
            sent = *sent_records,
            "following files"
        );
    }

    /// Does what waits for the disk.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Follower) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let lost = || Error::Failed("a thread that read files has panicked".to_owned());
        let mut follower = self.follower.take().ok_or_else(lost)?;
        let done = tokio::task::spawn_blocking(move || {
            let value = work(&mut follower);
            (follower, value)
        });
        let (follower, value) = done.await.map_err(|_| lost())?;
        self.follower = Some(follower);
        Ok(value)
    }
}
