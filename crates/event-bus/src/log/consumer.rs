//! A consumer over a log: a member of a group that joins again by itself.

use std::{
    future::ready,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use event_log::{Error as LogError, Event, Header, Record, RemoteSubscription, Subscribe};
use service::{Backoff, BackoffConfig, clock::since_epoch_ms};
use tokio::time::Instant;

use super::{Access, LogBus, StreamAddress, kept::LogTable, membership::Membership};
use crate::{
    Assignment, Committing, Consumer, Delivery, Error, Headers, KeptChange, LookingUp, Partition,
    Polled, Result, Start, Subscription,
};

const BACKOFF: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(200), max: Duration::from_secs(5), factor: 2.0 };

pub(super) struct LogConsumer {
    access: Access,
    address: StreamAddress,
    wanted: Subscription,
    table: Option<LogTable>,
    joined: JoinState,
    /// Owned, and not yet told to be lost.
    member: Option<u64>,
    paused: bool,
    /// What came while paused.
    held: Option<Event>,
    /// Set when a commit of this membership was told that the place is another's.
    is_superseded: Arc<AtomicBool>,
    backoff: Backoff,
    /// No attempt to join before this.
    not_before: Option<Instant>,
    topics: TopicNames,
    /// Of the record before.
    headers: Headers,
}

type Joining = Pin<Box<dyn Future<Output = std::result::Result<JoinState, LogError>> + Send>>;

/// How far the way into the group is.
enum JoinState {
    Not,
    Joining(Joining),
    Local(Box<event_log::Subscription>),
    Network(Box<RemoteSubscription>),
}

impl JoinState {
    /// The next event, or `None` for a step on the way in.
    async fn next(&mut self) -> std::result::Result<Option<Event>, LogError> {
        match self {
            Self::Not => Ok(None),
            Self::Joining(joining) => {
                *self = joining.await?;
                Ok(None)
            }
            Self::Local(subscription) => subscription.next().await.map(Some),
            Self::Network(subscription) => subscription.next().await.map(Some),
        }
    }
}

/// The names of the topics that came lately, each kept once.
#[derive(Default)]
pub(super) struct TopicNames(Vec<Arc<str>>);

impl TopicNames {
    const MAX_KEPT: usize = 64;

    fn of(&mut self, topic: &str) -> Arc<str> {
        if let Some(at) = self.0.iter().position(|known| **known == *topic) {
            self.0.swap(0, at);
        } else {
            self.0.truncate(Self::MAX_KEPT - 1);
            self.0.insert(0, topic.into());
        }
        Arc::clone(&self.0[0])
    }
}

impl LogConsumer {
    pub(super) fn new(access: Access, address: StreamAddress, wanted: Subscription) -> Self {
        let bus = LogBus { access: access.clone(), address: address.clone() };
        let table = wanted.table.as_ref().map(|table| LogTable::new(bus, table));
        Self {
            access,
            address,
            wanted,
            table,
            joined: JoinState::Not,
            member: None,
            paused: false,
            held: None,
            is_superseded: Arc::default(),
            backoff: Backoff::new(BACKOFF),
            not_before: None,
            topics: TopicNames::default(),
            headers: Headers::default(),
        }
    }

    /// Waits its turn and asks to be let in. Kept between polls, since a poll may be dropped.
    fn join(&self) -> Joining {
        let (access, stream) = (self.access.clone(), Arc::clone(&self.address.stream));
        let (wanted, not_before) = (self.subscribe(), self.not_before);
        Box::pin(async move {
            if let Some(not_before) = not_before {
                tokio::time::sleep_until(not_before).await;
            }
            Ok(match access {
                Access::Local(stream) => JoinState::Local(Box::new(stream.subscribe(wanted)?)),
                Access::Network(client) => {
                    JoinState::Network(Box::new(client.subscribe(&stream, wanted).await?))
                }
            })
        })
    }

    fn subscribe(&self) -> Subscribe {
        let start = match self.wanted.start {
            Start::Earliest => event_log::Start::Earliest,
            Start::Latest => event_log::Start::Latest,
            Start::Time(time) => event_log::Start::Time(since_epoch_ms(time)),
        };
        let addressee = self.wanted.addressee.clone();
        Subscribe {
            group: self.wanted.group.clone(),
            start,
            topics: self.wanted.topics.patterns().to_vec(),
            kinds: Vec::new(),
            origins: Vec::new(),
            addressee: addressee.map(|(header, name)| (header, name.into())),
            max_bytes: 0,
            client: self.wanted.client.clone(),
        }
    }

    fn membership(&self) -> Option<Membership> {
        Some(Membership {
            access: self.access.clone(),
            address: self.address.clone(),
            group: self.wanted.group.clone(),
            member: self.member?,
            is_superseded: Arc::clone(&self.is_superseded),
        })
    }

    fn take(&mut self, event: Event) -> Polled {
        let partition = self.address.partition();
        match event {
            Event::Assigned { member, position, .. } => {
                (self.member, self.paused) = (Some(member), false);
                self.backoff.reset();
                self.not_before = None;
                Polled::Assigned(vec![Assignment { partition, position }])
            }
            Event::Records { records, next_offset, .. } => {
                let (topics, headers) = (&mut self.topics, &mut self.headers);
                let deliver = |record| delivery_of(record, &partition, topics, headers);
                let deliveries = records.into_iter().map(deliver).collect();
                Polled::Records { deliveries, scanned: vec![(partition, next_offset)] }
            }
        }
    }

    /// The subscription is over, for whatever reason; the next attempt comes later.
    fn left(&mut self, error: LogError) -> Result<Polled> {
        self.joined = JoinState::Not;
        (self.held, self.is_superseded) = (None, Arc::default());
        self.not_before = Some(Instant::now() + self.backoff.next_wait());
        let was_member = self.member.take().is_some();
        match error {
            LogError::OffsetGone { offset, first } => Err(Error::OffsetGone {
                group: self.wanted.group.clone(),
                partition: self.address.partition(),
                committed: offset,
                first,
            }),
            LogError::NotMember(_) | LogError::Unavailable(_) if was_member => {
                tracing::warn!(group = self.wanted.group, %error, "lost the place in the group");
                Ok(Polled::Lost(vec![self.address.partition()]))
            }
            LogError::NotMember(_) => Err(self.address.error(LogError::Unavailable(
                "the log took this member out of the group while it was waiting".to_owned(),
            ))),
            error => Err(self.address.error(error)),
        }
    }
}

/// Key and value stay parts of the response that they came in.
pub(super) fn delivery_of(
    record: Record,
    partition: &Partition,
    topics: &mut TopicNames,
    headers: &mut Headers,
) -> Delivery {
    Delivery {
        partition: partition.clone(),
        offset: record.offset,
        topic: topics.of(record.topic()),
        headers: headers_of(&record, headers),
        key: record.key,
        value: record.payload,
    }
}

fn has_records(event: &Event) -> bool {
    matches!(event, Event::Records { records, .. } if !records.is_empty())
}

/// Headers of a record, most often those of the one before: then they are the same in memory.
fn headers_of(record: &Record, before: &mut Headers) -> Headers {
    let is_same = |(one, other): (&Header, &(String, String))| {
        one.name() == other.0 && one.value == other.1.as_bytes()
    };
    let headers = &record.headers;
    if headers.len() != before.len() || !headers.iter().zip(before.iter()).all(is_same) {
        let text = |header: &Header| {
            (header.name().to_owned(), String::from_utf8_lossy(&header.value).into_owned())
        };
        *before = headers.iter().map(text).collect();
    }
    Arc::clone(before)
}

#[async_trait]
impl Consumer for LogConsumer {
    async fn poll(&mut self) -> Result<Polled> {
        loop {
            if matches!(self.joined, JoinState::Not) {
                self.joined = JoinState::Joining(self.join());
            }
            if self.is_superseded.load(Relaxed) {
                return self.left(LogError::NotMember(self.wanted.group.clone()));
            }
            if self.held.is_some() && self.paused {
                // The subscription stays open; its flow control holds the rest back.
                std::future::pending::<()>().await;
            }
            if let Some(event) = self.held.take() {
                return Ok(self.take(event));
            }
            match self.joined.next().await {
                Ok(Some(event)) if self.paused && has_records(&event) => self.held = Some(event),
                Ok(Some(event)) => return Ok(self.take(event)),
                Ok(None) => {}
                Err(error) => return self.left(error),
            }
        }
    }

    fn commit_with(
        &mut self,
        offsets: &[(Partition, u64)],
        changes: Vec<KeptChange>,
    ) -> Committing {
        let own = self.address.partition();
        let of_changes = changes.iter().map(|change| &change.partition);
        let mut named = offsets.iter().map(|(partition, _)| partition).chain(of_changes);
        if let Some(other) = named.find(|partition| **partition != own) {
            return Box::pin(ready(Err(Error::PartitionLost(other.clone()))));
        }
        let Some(&(_, offset)) = offsets.last() else { return Box::pin(ready(Ok(()))) };
        let Some(membership) = self.membership() else {
            return Box::pin(ready(Err(Error::PartitionLost(own))));
        };
        let table = self.table.clone().filter(|_| !changes.is_empty());
        Box::pin(async move {
            if let Some(table) = table {
                table.change(&membership, changes).await?;
            }
            membership.commit(offset).await
        })
    }

    fn kept(&mut self, _: &[Partition]) -> LookingUp {
        match (self.table.clone(), self.membership()) {
            (Some(table), Some(membership)) => Box::pin(table.entries(membership)),
            (Some(_), None) => Box::pin(ready(Err(Error::PartitionLost(self.address.partition())))),
            (None, _) => Box::pin(ready(Ok(Vec::new()))),
        }
    }

    fn pause(&mut self, partitions: &[Partition]) {
        self.paused |= partitions.contains(&self.address.partition());
    }

    fn resume(&mut self, partitions: &[Partition]) {
        self.paused &= !partitions.contains(&self.address.partition());
    }

    async fn close(self: Box<Self>) {}
}
