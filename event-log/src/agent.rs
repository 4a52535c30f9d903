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
mod gone;
mod looking;
mod lost;
mod paths;
mod pieces;
mod place;

use std::collections::BTreeMap;

use service::Backoff;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    Client, ClientConfig, Error, RemoteProducer,
    link::{Link, RETRY, needs_human},
};
use batch::Batch;
pub use config::{AgentConfig, FileSet, FileStart};
use follower::Follower;
use looking::Looking;

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
        let link =
            Link::new(client.clone(), &stream, &config.name).with_token_from(&config.token_from);
        let intervals = (config.poll_interval, config.status_interval);
        let files = Looking::new(Follower::new(&config, sets), &stream, intervals);
        let agent = StreamAgent { server: config.server.clone(), link, files };
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
    server: ClientConfig,
    link: Link,
    files: Looking,
}

impl StreamAgent {
    /// Runs for ever, unless the server refuses it from the beginning.
    async fn run(mut self) -> Error {
        let mut backoff = Backoff::new(RETRY);
        let mut was_connected = false;
        loop {
            let sent = self.files.sent_records;
            let error = match self.open().await {
                Ok(producer) => {
                    was_connected = true;
                    match self.follow(producer).await {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                Err(error) if !was_connected && needs_human(&error) => return error,
                Err(error) => error,
            };
            if self.files.sent_records > sent {
                backoff.reset();
            }
            self.link.failed(&error);
            let wait = tokio::time::sleep(backoff.next_wait());
            if let Err(panic) = self.files.during(wait).await {
                return panic;
            }
            if needs_human(&error) {
                self.renew_client();
            }
        }
    }

    /// Becomes the producer, and takes the places that the server has.
    async fn open(&mut self) -> Result<RemoteProducer, Error> {
        let (producer, checkpoint) = self.files.during(self.link.open()).await??;
        self.files.blocking(move |follower| follower.resume(&checkpoint)).await?;
        Ok(producer)
    }

    /// Reads the token and the certificates again: they may be other ones by now.
    fn renew_client(&mut self) {
        let token = self.server.token.as_ref().map(service::Secret::renewed);
        self.server.token = token;
        match Client::new(&self.server) {
            Ok(client) => self.link.use_client(client),
            // The server says what it does not like about those that it got.
            Err(error) => debug!(%error, "keeping the token and the certificates as they were"),
        }
    }

    /// Sends what is in the files until something fails; `Ok` when the producer is only to be
    /// opened again.
    async fn follow(&mut self, mut producer: RemoteProducer) -> Result<(), Error> {
        loop {
            let batch = self.files.blocking(Follower::next_batch).await?;
            let Batch { records, changes, token, is_more } = batch;
            if !records.is_empty() || !changes.is_empty() {
                let count = records.len() as u64;
                match self.files.during(producer.append(records, changes)).await? {
                    Ok(_) => {
                        self.files.sent_records += count;
                        self.files.blocking(move |follower| follower.sent(token)).await?;
                    }
                    Err(Error::Rejected(reason)) => {
                        let told = reason.clone();
                        let find = move |follower: &mut Follower| follower.rejected(token, &told);
                        let is_found = self.files.blocking(find).await?;
                        return if is_found { Ok(()) } else { Err(Error::Rejected(reason)) };
                    }
                    Err(error) => return Err(error),
                }
            }
            self.link.connected();
            self.files.tell_status();
            if !is_more {
                self.files.pause().await;
            }
        }
    }
}
