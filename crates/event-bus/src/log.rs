//! The bus over an event log: one stream for all of one `dts`, in this process or over the network.
//!
//! A stream is one partition. A group has one active member; the others wait, and take over in the
//! order in which they came.

mod config;
mod consumer;
mod control;
mod embedded;
mod kept;
mod membership;
mod producer;
mod tail;

use std::{convert::Infallible, sync::Arc, time::Duration};

use async_trait::async_trait;
use event_log::{
    Client, ClientConfig, Compress, Error as LogError, GroupState, Start as LogStart, Stream,
};
use service::clock::since_epoch_ms;

use crate::{
    Batch, Bus, Checkpoint, Consumer, Control, ControlChange, Error, Kept, KnownGroup, Partition,
    Producer, Progress, Reset, ResetTo, Result, Room, Standing, Subscription, TopicFilter,
};
pub use config::LogConfig;
use consumer::LogConsumer;
use control::LogControl;
pub use embedded::EmbeddedLog;
use producer::{LocalProducer, NetworkProducer};
use tail::LogTail;

/// How often who waits to become a writer asks whether the log is there.
const LISTEN_EVERY: Duration = Duration::from_secs(5);

/// Reaches a log over the network.
pub(crate) fn open(config: &LogConfig, stream: &str) -> Result<Arc<dyn Bus>> {
    let client = Client::new(&ClientConfig {
        address: config.address.clone(),
        token: config.token.clone(),
        ca_file: config.ca_file.clone(),
        identity: config.identity.clone(),
        compress: Compress::Off,
    });
    let address = StreamAddress { server: config.address.as_str().into(), stream: stream.into() };
    let client = client.map_err(|error| address.error(error))?;
    Ok(Arc::new(LogBus { access: Access::Network(Box::new(client)), address }))
}

/// The bus over a log.
#[derive(Clone)]
struct LogBus {
    access: Access,
    address: StreamAddress,
}

/// Where the log is.
#[derive(Clone)]
enum Access {
    Local(Stream),
    Network(Box<Client>),
}

/// Which stream, and where, for messages.
#[derive(Clone)]
struct StreamAddress {
    /// `host:port`.
    server: Arc<str>,
    stream: Arc<str>,
}

impl StreamAddress {
    fn partition(&self) -> Partition {
        Partition { topic: Arc::clone(&self.stream), number: 0 }
    }

    /// What an error of the log means on the bus.
    fn error(&self, error: LogError) -> Error {
        let address = self.server.to_string();
        let reason = error.to_string();
        match error {
            LogError::Unavailable(reason) | LogError::NoStream(reason) => {
                Error::Unavailable { address, reason }
            }
            LogError::Full(reason) => Error::Full(reason),
            LogError::Fenced(producer) => Error::Fenced(producer),
            LogError::Rejected(reason) => Error::Rejected(reason),
            LogError::NotMember(_) => Error::PartitionLost(self.partition()),
            LogError::GroupActive { group, .. } => Error::GroupActive { group },
            LogError::Refused(reason) | LogError::Diverged(reason) => {
                Error::Refused { address, reason }
            }
            LogError::Held(_) | LogError::Unusable { .. } | LogError::Listen { .. } => {
                Error::Refused { address, reason }
            }
            LogError::OffsetGone { .. }
            | LogError::TakenBack { .. }
            | LogError::SequenceGap { .. }
            | LogError::Damaged { .. }
            | LogError::Poisoned(_)
            | LogError::Failed(_)
            | LogError::Io { .. } => Error::Internal(reason),
        }
    }
}

#[async_trait]
impl Bus for LogBus {
    async fn lead(
        &self,
        name: &str,
        standing: &Standing,
    ) -> Result<(Box<dyn Producer>, Checkpoint)> {
        let address = self.address.clone();
        match &self.access {
            Access::Local(stream) => {
                standing.hear();
                let opened = stream.open_producer(name).await;
                let mut opened = opened.map_err(|error| address.error(error))?;
                let checkpoint = std::mem::take(&mut opened.checkpoint);
                let producer = LocalProducer::new(stream.clone(), name, opened, address);
                Ok((Box::new(producer), checkpoint))
            }
            Access::Network(client) => {
                let opened = tokio::select! {
                    opened = client.open_producer(&address.stream, name) => opened,
                    never = listen(client, &address, standing) => match never {},
                };
                let (producer, checkpoint) = opened.map_err(|error| address.error(error))?;
                Ok((Box::new(NetworkProducer::new(producer, address)), checkpoint))
            }
        }
    }

    async fn checkpoint(&self, name: &str) -> Result<Checkpoint> {
        match &self.access {
            Access::Local(stream) => Ok(stream.checkpoint(name)),
            Access::Network(client) => {
                let saved = client.checkpoint(&self.address.stream, name).await;
                saved.map_err(|error| self.address.error(error))
            }
        }
    }

    async fn producers(&self) -> Result<Vec<String>> {
        let named: Vec<String> = match &self.access {
            Access::Local(stream) => {
                stream.state().producers.into_iter().map(|(name, ..)| name).collect()
            }
            Access::Network(client) => {
                let answer = client.info(&self.address.stream).await;
                let answer = answer.map_err(|error| self.address.error(error))?;
                answer.producers.into_iter().map(|producer| producer.name).collect()
            }
        };
        Ok(named.into_iter().filter(|name| !control::is_own(name)).collect())
    }

    async fn put_control(&self, entries: &[ControlChange]) -> Result<()> {
        control::put(self, entries).await
    }

    async fn control(&self) -> Result<Box<dyn Control>> {
        Ok(Box::new(LogControl::new(self.clone())))
    }

    async fn consumer(&self, subscription: Subscription) -> Result<Box<dyn Consumer>> {
        let (access, address) = (self.access.clone(), self.address.clone());
        let consumer = LogConsumer::new(access, address, subscription);
        Ok(Box::new(consumer))
    }

    async fn kept(&self, table: &str) -> Result<Vec<Kept>> {
        Ok(kept::entries(self.checkpoint(&control::own_producer(table)).await?))
    }

    async fn clear_kept(&self, table: &str) -> Result<()> {
        let name = control::own_producer(table);
        let known = self.checkpoint(&name).await?;
        if known.is_empty() {
            return Ok(());
        }
        let removed: Vec<ControlChange> = known.into_keys().map(|key| (key, None)).collect();
        let (mut producer, _) = self.producer(&name).await?;
        producer.append(&Batch::default(), &removed).await
    }

    async fn progress(&self, group: &str, _topics: &TopicFilter) -> Result<Vec<Progress>> {
        let state = self.state().await?;
        let committed = state.groups.into_iter().find(|state| state.name == group);
        let committed = committed.and_then(|state| state.committed);
        let partition = self.address.partition();
        Ok(vec![Progress { partition, committed, end: state.end, high: state.end }])
    }

    async fn plan_reset(
        &self,
        group: &str,
        topics: &TopicFilter,
        to: ResetTo,
    ) -> Result<Vec<Reset>> {
        let to = self.locate(to).await?;
        let progress = self.progress(group, topics).await?;
        let reset = |at: Progress| Reset { partition: at.partition, from: at.committed, to };
        Ok(progress.into_iter().map(reset).collect())
    }

    async fn reset(&self, group: &str, resets: &[Reset]) -> Result<()> {
        let own = self.address.partition();
        let Some(reset) = resets.iter().rfind(|reset| reset.partition == own) else {
            return Ok(());
        };
        let set = match &self.access {
            Access::Local(stream) => stream.reset_group(group, reset.to).await,
            Access::Network(client) => {
                client.reset_group(&self.address.stream, group, reset.to).await
            }
        };
        set.map_err(|error| self.address.error(error))
    }

    async fn groups(&self) -> Result<Vec<KnownGroup>> {
        let known = |group: GroupState| KnownGroup {
            name: group.name,
            members: Some(group.client).filter(|client| !client.is_empty()).into_iter().collect(),
            waiting: group.waiting,
            held_bytes: Some(group.held_bytes),
        };
        Ok(self.state().await?.groups.into_iter().map(known).collect())
    }

    async fn forget_group(&self, group: &str) -> Result<()> {
        let forgotten = match &self.access {
            Access::Local(stream) => stream.remove_group(group).await,
            Access::Network(client) => client.remove_group(&self.address.stream, group).await,
        };
        forgotten.map_err(|error| self.address.error(error))
    }

    async fn room(&self) -> Result<Option<Room>> {
        Ok(Some(self.state().await?.room))
    }

    async fn tail(&self, topics: &TopicFilter, from: ResetTo) -> Result<Box<dyn Consumer>> {
        let from = self.locate(from).await?;
        let (access, address) = (self.access.clone(), self.address.clone());
        Ok(Box::new(LogTail::new(access, address, topics.patterns().to_vec(), from)))
    }

    async fn reread(
        &self,
        _: &Partition,
        topics: &TopicFilter,
        from: u64,
    ) -> Result<Box<dyn Consumer>> {
        let (access, address) = (self.access.clone(), self.address.clone());
        let tail = LogTail::new(access, address, topics.patterns().to_vec(), from);
        Ok(Box::new(tail.that_rereads()))
    }
}

/// What of a stream's state the bus is about.
struct LogState {
    groups: Vec<GroupState>,
    end: u64,
    room: Room,
}

impl LogBus {
    async fn locate(&self, to: ResetTo) -> Result<u64> {
        let start = match to {
            ResetTo::Earliest => LogStart::Earliest,
            ResetTo::Latest => LogStart::Latest,
            ResetTo::Time(time) => LogStart::Time(since_epoch_ms(time)),
            ResetTo::Offset(offset) => LogStart::Offset(offset),
        };
        let located = match &self.access {
            Access::Local(stream) => stream.locate(start),
            Access::Network(client) => client.locate(&self.address.stream, start).await,
        };
        located.map_err(|error| self.address.error(error))
    }

    async fn state(&self) -> Result<LogState> {
        Ok(match &self.access {
            Access::Local(stream) => {
                let state = stream.state();
                let room = Room { bytes: state.log_bytes, max_bytes: state.max_bytes };
                LogState { groups: state.groups, end: state.next_offset, room }
            }
            Access::Network(client) => {
                let answer = client.info(&self.address.stream).await;
                let answer = answer.map_err(|error| self.address.error(error))?;
                let room = Room { bytes: answer.log_bytes, max_bytes: answer.max_bytes };
                let groups = answer.groups.into_iter().map(group_state).collect();
                LogState { groups, end: answer.next_offset, room }
            }
        })
    }
}

/// Asks the log now and then, while something else is waited for: whether it is still there.
async fn listen(client: &Client, address: &StreamAddress, standing: &Standing) -> Infallible {
    loop {
        match client.info(&address.stream).await {
            Ok(_) => standing.hear(),
            Err(error) => standing.fail(&address.error(error).to_string()),
        }
        tokio::time::sleep(LISTEN_EVERY).await;
    }
}

fn group_state(group: event_log::proto::Group) -> GroupState {
    GroupState {
        name: group.name,
        committed: group.committed,
        committed_ms: group.committed_ms,
        client: group.client,
        waiting: group.waiting,
        held_bytes: group.held_bytes,
    }
}
