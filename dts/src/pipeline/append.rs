//! The publishing end of the corridor: appends one batch while the next is being decoded.

use std::time::{Instant, SystemTime};

use event_bus::{Batch, Producer};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    error::{Error, Result},
    position::{POSITION_KEY, Saved},
    status::Appended,
};

/// A batch to append, and the checkpoint that covers it.
pub(super) struct Job {
    pub(super) batch: Batch,
    pub(super) saved: Saved,
    /// Commit time of the newest transaction in it.
    pub(super) newest_commit: Option<SystemTime>,
}

/// A finished job: its batch, empty again, and what to report.
pub(super) struct Done {
    pub(super) batch: Batch,
    pub(super) saved: Saved,
    pub(super) appended: Appended,
}

/// The task that owns the producer. At most one job is under way.
pub(super) struct Appender {
    jobs: mpsc::Sender<Job>,
    done: mpsc::Receiver<Done>,
    task: JoinHandle<Result<()>>,
}

impl Appender {
    pub(super) fn start(producer: Box<dyn Producer>) -> Self {
        let (jobs, next_job) = mpsc::channel(1);
        let (report, done) = mpsc::channel(1);
        Self { jobs, done, task: tokio::spawn(append_all(producer, next_job, report)) }
    }

    /// Gives it a job; to be called only while it is idle. An error comes out of [`Self::done`].
    pub(super) fn append(&self, job: Job) {
        let _ = self.jobs.try_send(job);
    }

    /// The job under way, if it has just finished.
    pub(super) fn try_done(&mut self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    /// Waits for the job under way. Cancel-safe.
    pub(super) async fn done(&mut self) -> Result<Done> {
        match self.done.recv().await {
            Some(done) => Ok(done),
            None => Err(self.failure().await),
        }
    }

    async fn failure(&mut self) -> Error {
        match (&mut self.task).await {
            Ok(Ok(())) => Error::Internal("the appending task ended by itself".to_owned()),
            Ok(Err(error)) => error,
            Err(panic) => Error::Internal(format!("the appending task failed: {panic}")),
        }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn append_all(
    mut producer: Box<dyn Producer>,
    mut jobs: mpsc::Receiver<Job>,
    report: mpsc::Sender<Done>,
) -> Result<()> {
    while let Some(Job { mut batch, saved, newest_commit }) = jobs.recv().await {
        let begun = Instant::now();
        append(&mut *producer, &batch, &saved).await?;
        let appended = Appended {
            records: batch.len(),
            bytes: batch.bytes(),
            newest_commit,
            took: begun.elapsed(),
        };
        batch.clear();
        if report.send(Done { batch, saved, appended }).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Appends a batch together with the checkpoint that covers it.
pub(super) async fn append(
    producer: &mut dyn Producer,
    batch: &Batch,
    saved: &Saved,
) -> Result<()> {
    let change = (POSITION_KEY.to_owned(), Some(saved.to_bytes()));
    Ok(producer.append(batch, &[change]).await?)
}
