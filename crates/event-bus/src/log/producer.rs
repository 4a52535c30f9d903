//! Producers over a log.

use async_trait::async_trait;
use bytes::Bytes;
use event_log::{
    Append, DATABASE_CHANGE, NewHeaders, NewRecord, OpenedProducer, ProducerSequence,
    RemoteProducer, Stream, proto,
};

use super::StreamAddress;
use crate::{Batch, CheckpointChange, Error, Producer, Record, Result};

/// Appends to a log in this process: records go from the batch into the log's buffer.
pub(super) struct LocalProducer {
    stream: Stream,
    name: String,
    /// Its lead makes others wait.
    opened: OpenedProducer,
    sequence: u64,
    failed: bool,
    address: StreamAddress,
}

impl LocalProducer {
    pub(super) fn new(
        stream: Stream,
        name: &str,
        opened: OpenedProducer,
        address: StreamAddress,
    ) -> Self {
        Self { stream, name: name.to_owned(), opened, sequence: 0, failed: false, address }
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
        let records = batch.records().map(new_record);
        let append = Append { producer: Some(producer), records, checkpoint };
        let appended = self.stream.append(append).await;
        appended.map_err(|error| self.address.error(error))?;
        (self.sequence, self.failed) = (sequence, false);
        Ok(())
    }
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
}

impl NetworkProducer {
    pub(super) fn new(remote: RemoteProducer, address: StreamAddress) -> Self {
        Self { remote, address }
    }
}

#[async_trait]
impl Producer for NetworkProducer {
    async fn append(&mut self, batch: &Batch, checkpoint: &[CheckpointChange]) -> Result<()> {
        let records = batch.records().map(|record| proto::NewRecord {
            r#type: DATABASE_CHANGE,
            topic: record.topic.to_owned(),
            key: Bytes::copy_from_slice(record.key),
            payload: Bytes::copy_from_slice(record.value),
            headers: record.headers.iter().map(header).collect(),
        });
        let appended = self.remote.append(records.collect(), checkpoint.to_vec()).await;
        appended.map(|_| ()).map_err(|error| self.address.error(error))
    }
}

fn header((name, value): &(String, String)) -> proto::Header {
    proto::Header { name: name.clone(), value: Bytes::copy_from_slice(value.as_bytes()) }
}
