//! A producer over the network: one batch in flight, sent again after a broken connection.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::Client;
use crate::{
    Checkpoint, CheckpointChange, Error,
    proto::{AppendRequest, AppendResponse, NewRecord, OpenProducerRequest},
    wire,
};

/// The one writer of a name. While it lives, others that open the producer wait.
#[derive(Debug)]
pub struct RemoteProducer {
    client: Client,
    stream: String,
    name: String,
    epoch: u64,
    sequence: u64,
    /// `None` after a connection broke.
    call: Option<AppendCall>,
    failed: bool,
}

#[derive(Debug)]
struct AppendCall {
    requests: mpsc::Sender<AppendRequest>,
    responses: Streaming<AppendResponse>,
}

impl Client {
    /// Becomes the leader of a producer: waits while another leads, fences it when it is gone, and
    /// gives the checkpoint.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Full`], [`Error::Refused`], [`Error::Rejected`].
    pub async fn open_producer(
        &self,
        stream: &str,
        name: &str,
    ) -> Result<(RemoteProducer, Checkpoint), Error> {
        let request = OpenProducerRequest { stream: stream.to_owned(), producer: name.to_owned() };
        let opened = self.service.clone().open_producer(request).await;
        let opened = opened.map_err(|status| wire::error_of(&status, name))?.into_inner();
        let mut producer = RemoteProducer {
            client: self.clone(),
            stream: stream.to_owned(),
            name: name.to_owned(),
            epoch: opened.epoch,
            sequence: 0,
            call: None,
            failed: false,
        };
        // Shows at once that this one lives, so that others wait.
        let request = producer.request(Vec::new(), Vec::new());
        producer.send(AppendRequest { sequence: 0, ..request }).await?;
        let entries = opened.checkpoint.into_iter();
        let checkpoint = entries.map(|entry| (entry.key, entry.value.unwrap_or_default()));
        Ok((producer, checkpoint.collect()))
    }
}

impl RemoteProducer {
    /// Appends a batch and changes the checkpoint: both or neither. Durable when this returns. Sent
    /// once more when the connection breaks; the server takes it once.
    ///
    /// # Errors
    ///
    /// As [`Stream::append`](crate::Stream::append), and [`Error::Unavailable`]. After any error it
    /// is not known whether the batch was appended, and the producer has to be opened again.
    pub async fn append(
        &mut self,
        records: Vec<NewRecord>,
        changes: Vec<CheckpointChange>,
    ) -> Result<AppendResponse, Error> {
        if self.failed {
            let reason = format!("producer {} failed before: open it again", self.name);
            return Err(Error::Rejected(reason));
        }
        // Also when this call is dropped half-way.
        self.failed = true;
        let request = self.request(records, changes);
        let mut sent = self.send(request.clone()).await;
        if matches!(sent, Err(Error::Unavailable(_))) {
            sent = self.send(request).await;
        }
        let response = sent?;
        self.sequence += 1;
        self.failed = false;
        Ok(response)
    }

    fn request(&self, records: Vec<NewRecord>, changes: Vec<CheckpointChange>) -> AppendRequest {
        AppendRequest {
            stream: self.stream.clone(),
            producer: self.name.clone(),
            epoch: self.epoch,
            sequence: self.sequence + 1,
            records,
            checkpoint: changes.into_iter().map(wire::entry_of).collect(),
        }
    }

    async fn send(&mut self, request: AppendRequest) -> Result<AppendResponse, Error> {
        let mut call = match self.call.take() {
            Some(call) => call,
            None => self.connect().await?,
        };
        let gone = || Error::Unavailable("the connection is gone".to_owned());
        call.requests.send(request).await.map_err(|_| gone())?;
        let answer = call.responses.message().await;
        let answer = answer.map_err(|status| wire::error_of(&status, &self.name))?;
        self.call = Some(call);
        answer.ok_or_else(gone)
    }

    async fn connect(&self) -> Result<AppendCall, Error> {
        let (requests, receiver) = mpsc::channel(1);
        let call = self.client.service.clone().append(ReceiverStream::new(receiver)).await;
        let responses = call.map_err(|status| wire::error_of(&status, &self.name))?.into_inner();
        Ok(AppendCall { requests, responses })
    }
}
