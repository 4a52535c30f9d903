//! A reader of a log that is in no group: it keeps its place itself.

use async_trait::async_trait;
use event_log::{Error as LogError, Event, Record, RemoteSubscription, Start, Subscribe};

use super::{
    Access, StreamAddress,
    consumer::{TopicNames, delivery_of},
};
use crate::{Committing, Consumer, Error, Headers, KeptChange, Partition, Polled, Result, outside};

pub(super) struct LogTail {
    access: Access,
    address: StreamAddress,
    patterns: Vec<String>,
    /// Where it goes on.
    from: u64,
    /// Whether a record that was deleted is told as such.
    rereads: bool,
    open: Option<OpenTail>,
    topics: TopicNames,
    /// Of the record before.
    headers: Headers,
}

enum OpenTail {
    Local(Box<event_log::Subscription>),
    Network(Box<RemoteSubscription>),
}

impl LogTail {
    pub(super) fn new(
        access: Access,
        address: StreamAddress,
        patterns: Vec<String>,
        from: u64,
    ) -> Self {
        let (topics, headers) = (TopicNames::default(), Headers::default());
        Self { access, address, patterns, from, rereads: false, open: None, topics, headers }
    }

    pub(super) fn that_rereads(self) -> Self {
        Self { rereads: true, ..self }
    }

    async fn subscribe(&self) -> std::result::Result<OpenTail, LogError> {
        let wanted = Subscribe {
            group: String::new(),
            start: Start::Offset(self.from),
            topics: self.patterns.clone(),
            kinds: Vec::new(),
            origins: Vec::new(),
            addressee: None,
            max_bytes: 0,
            client: String::new(),
        };
        Ok(match &self.access {
            Access::Local(stream) => OpenTail::Local(Box::new(stream.subscribe(wanted)?)),
            Access::Network(client) => {
                let opened = client.subscribe(&self.address.stream, wanted).await?;
                OpenTail::Network(Box::new(opened))
            }
        })
    }

    async fn next(&mut self) -> std::result::Result<Event, LogError> {
        if self.open.is_none() {
            self.open = Some(self.subscribe().await?);
        }
        match &mut self.open {
            Some(OpenTail::Local(subscription)) => subscription.next().await,
            Some(OpenTail::Network(subscription)) => subscription.next().await,
            None => std::future::pending().await,
        }
    }

    fn meaning(&self, error: LogError) -> Error {
        match error {
            LogError::OffsetGone { offset, first } if self.rereads => {
                outside::gone(self.address.partition(), offset, first)
            }
            error => self.address.error(error),
        }
    }

    fn take(&mut self, records: Vec<Record>, next_offset: u64) -> Polled {
        self.from = next_offset;
        let partition = self.address.partition();
        let (topics, headers) = (&mut self.topics, &mut self.headers);
        let deliver = |record| delivery_of(record, &partition, topics, headers);
        let deliveries = records.into_iter().map(deliver).collect();
        Polled::Records { deliveries, scanned: vec![(partition, next_offset)] }
    }
}

#[async_trait]
impl Consumer for LogTail {
    async fn poll(&mut self) -> Result<Polled> {
        loop {
            match self.next().await {
                Ok(Event::Assigned { position, .. }) => self.from = position,
                Ok(Event::Records { records, next_offset, .. }) => {
                    return Ok(self.take(records, next_offset));
                }
                Err(error) => {
                    self.open = None;
                    return Err(self.meaning(error));
                }
            }
        }
    }

    fn commit_with(&mut self, offsets: &[(Partition, u64)], _: Vec<KeptChange>) -> Committing {
        outside::commit(offsets)
    }

    fn pause(&mut self, _: &[Partition]) {}

    fn resume(&mut self, _: &[Partition]) {}

    async fn close(self: Box<Self>) {}
}
