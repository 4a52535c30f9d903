//! Producers over a log.

use std::borrow::Cow;

use async_trait::async_trait;
use bytes::Bytes;
use event_log::{
    Append, DATABASE_CHANGE, NewHeaders, NewRecord, OpenedProducer, ProducerSequence,
    RemoteProducer, Stream, proto,
};

use super::StreamAddress;
use crate::{
    Batch, Book, CheckpointChange, Error, Producer, Record, Result,
    book::{self, Marked},
};

/// Appends to a log in this process: records go from the batch into the log's buffer.
pub(super) struct LocalProducer {
    stream: Stream,
    name: String,
    /// Its lead makes others wait.
    opened: OpenedProducer,
    sequence: u64,
    failed: bool,
    address: StreamAddress,
    book: Option<Book>,
}

impl LocalProducer {
    pub(super) fn new(
        stream: Stream,
        name: &str,
        opened: OpenedProducer,
        address: StreamAddress,
    ) -> Self {
        let name = name.to_owned();
        Self { stream, name, opened, sequence: 0, failed: false, address, book: None }
    }
}

#[async_trait]
impl Producer for LocalProducer {
    async fn append(&mut self, batch: &Batch, checkpoint: &[CheckpointChange]) -> Result<()> {
        if self.failed {
            return Err(Error::Rejected(format!("producer {} failed: open it again", self.name)));
        }
        // Also when this call is dropped half-way.
        self.failed = true;
        let sequence = self.sequence + 1;
        let producer = ProducerSequence { name: &self.name, epoch: self.opened.epoch, sequence };
        let (marks, checkpoint) = enter(&mut self.book, batch, checkpoint);
        let records = book::marked(batch, &marks).map(new_record);
        let append = Append { producer: Some(producer), records, checkpoint: &checkpoint };
        let appended = self.stream.append(append).await;
        appended.map_err(|error| self.address.error(error))?;
        (self.sequence, self.failed) = (sequence, false);
        Ok(())
    }

    fn keep_book(&mut self, book: Book) {
        self.book = Some(book);
    }

    fn take_booked(&mut self) -> Vec<(String, u64)> {
        self.book.as_mut().map(Book::take_fresh).unwrap_or_default()
    }
}

/// Counts a batch in the book, if there is one; gives the marks, and the checkpoint with the book.
fn enter<'a>(
    book: &mut Option<Book>,
    batch: &Batch,
    checkpoint: &'a [CheckpointChange],
) -> (Vec<Marked>, Cow<'a, [CheckpointChange]>) {
    let Some(book) = book else { return (Vec::new(), Cow::Borrowed(checkpoint)) };
    let marks = book.enter_all(batch, |_| 0);
    let changes = book.take_changes();
    (marks, Cow::Owned([&changes, checkpoint].concat()))
}

fn new_record(record: Record<'_>) -> NewRecord<'_> {
    NewRecord {
        kind: DATABASE_CHANGE,
        topic: record.topic,
        key: record.key,
        headers: NewHeaders::Text(record.headers),
        payload: record.value,
    }
}

/// Appends over the network.
pub(super) struct NetworkProducer {
    remote: RemoteProducer,
    address: StreamAddress,
    book: Option<Book>,
}

impl NetworkProducer {
    pub(super) fn new(remote: RemoteProducer, address: StreamAddress) -> Self {
        Self { remote, address, book: None }
    }
}

#[async_trait]
impl Producer for NetworkProducer {
    async fn append(&mut self, batch: &Batch, checkpoint: &[CheckpointChange]) -> Result<()> {
        let (marks, checkpoint) = enter(&mut self.book, batch, checkpoint);
        let records = book::marked(batch, &marks).map(|record| proto::NewRecord {
            r#type: DATABASE_CHANGE,
            topic: record.topic.to_owned(),
            key: Bytes::copy_from_slice(record.key),
            payload: Bytes::copy_from_slice(record.value),
            headers: record.headers.iter().map(header).collect(),
        });
        let appended = self.remote.append(records.collect(), checkpoint.into_owned()).await;
        appended.map(|_| ()).map_err(|error| self.address.error(error))
    }

    fn keep_book(&mut self, book: Book) {
        self.book = Some(book);
    }

    fn take_booked(&mut self) -> Vec<(String, u64)> {
        self.book.as_mut().map(Book::take_fresh).unwrap_or_default()
    }
}

fn header((name, value): &(String, String)) -> proto::Header {
    proto::Header { name: name.clone(), value: Bytes::copy_from_slice(value.as_bytes()) }
}
