//! Copies over the network.

use tonic::Streaming;

use super::{Client, within_limit};
use crate::{
    Error,
    copy::source::{Sent, Wanted},
    proto, wire,
};

/// A copy that comes over the network. Dropping it leaves its group.
#[derive(Debug)]
pub(crate) struct RemoteCopy {
    group: String,
    responses: Streaming<proto::ReplicateResponse>,
}

impl Client {
    /// Asks for the data files of a stream.
    pub(crate) async fn replicate(
        &self,
        stream: &str,
        wanted: Wanted,
    ) -> Result<RemoteCopy, Error> {
        let group = wanted.group.clone();
        let request = wire::replicate_request(stream, wanted);
        let answer = self.service.clone().replicate(request).await;
        let responses = answer.map_err(|status| wire::error_of(&status, &group))?.into_inner();
        Ok(RemoteCopy { group, responses })
    }

    /// Makes a copy at the server a stream of its own, and gives its epoch.
    ///
    /// # Errors
    ///
    /// As [`Stream::promote`](crate::Stream::promote); [`Error::Unavailable`].
    pub async fn promote(&self, stream: &str) -> Result<u64, Error> {
        let request = proto::PromoteRequest { stream: stream.to_owned() };
        let mut service = self.service.clone();
        within_limit(service.promote(request), "").await.map(|promoted| promoted.epoch)
    }
}

impl RemoteCopy {
    /// Waits for the next piece. A dropped call loses nothing. After an error it is over.
    pub(crate) async fn next(&mut self) -> Result<Sent, Error> {
        let answer = self.responses.message().await;
        match answer.map_err(|status| wire::error_of(&status, &self.group))? {
            Some(response) => wire::sent_of(response),
            None => Err(Error::Unavailable("the server ended the copy".to_owned())),
        }
    }
}
