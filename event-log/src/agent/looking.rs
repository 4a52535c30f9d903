//! Looks at the files of one stream, also while nothing can be sent, and tells how they are.

use std::{pin::pin, time::Duration};

use bytesize::ByteSize;
use tokio::time::Instant;
use tracing::info;

use super::follower::Follower;
use crate::Error;

/// The files of one stream, on threads that may wait for the disk.
pub(super) struct Looking {
    /// `None` while such a thread has it.
    follower: Option<Follower>,
    stream: String,
    poll_interval: Duration,
    status_interval: Duration,
    /// When the status was told last.
    told: Option<Instant>,
    pub(super) sent_records: u64,
}

impl Looking {
    pub(super) fn new(
        follower: Follower,
        stream: &str,
        (poll_interval, status_interval): (Duration, Duration),
    ) -> Self {
        Self {
            follower: Some(follower),
            stream: stream.to_owned(),
            poll_interval,
            status_interval,
            told: None,
            sent_records: 0,
        }
    }

    /// Does what waits for the disk.
    pub(super) async fn blocking<T: Send + 'static>(
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

    /// Waits for what has to do with the server, and holds what comes meanwhile.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Error> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tokio::time::sleep(self.poll_interval) => {}
            }
            self.blocking(Follower::watch).await?;
            self.tell_status();
        }
    }

    /// Waits until the files are to be looked at again.
    pub(super) async fn pause(&self) {
        tokio::time::sleep(self.poll_interval).await;
    }

    pub(super) fn tell_status(&mut self) {
        let Some(follower) = &self.follower else { return };
        if self.told.is_some_and(|told| told.elapsed() < self.status_interval) {
            return;
        }
        self.told = Some(Instant::now());
        let state = follower.state();
        info!(
            stream = self.stream,
            files = state.files,
            behind = %ByteSize::b(state.behind_bytes),
            unreadable = state.unreadable,
            rejected = state.rejected,
            lost = %ByteSize::b(state.lost_bytes),
            sent = self.sent_records,
            "following files"
        );
    }
}
