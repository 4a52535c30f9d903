//! The publishing end of the corridor: appends one batch while the next is being decoded.

use std::time::{Instant, SystemTime};

use event_bus::{Batch, CheckpointChange, Durability, Producer};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    checkpoint::{POSITION_KEY, Saved},
    error::{Error, Result},
    status::Appended,
};

/// A batch to append, and the checkpoint that covers it.
pub(super) struct Job {
    pub(super) batch: Batch,
    pub(super) saved: Saved,
    /// Commit time of the newest transaction in it.
    pub(super) newest_commit: Option<SystemTime>,
    pub(super) pace: AppendPace,
    /// What else the checkpoint is to have.
    pub(super) changes: Vec<CheckpointChange>,
    /// The full syncs of which a chunk is complete with it.
    pub(super) full_syncs: Vec<String>,
}

/// What the bus may do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppendPace {
    /// Make it durable now: nothing else comes for the moment.
    Settle,
    /// Leave it open, so that one commit covers what comes next too.
    MoreComes,
}

/// A finished job: its batch, empty again.
pub(super) struct Done {
    pub(super) batch: Batch,
    /// What is durable now, if this made anything durable.
    pub(super) durable: Option<Durable>,
}

/// A checkpoint that is durable, and what was appended since the one before it.
pub(super) struct Durable {
    pub(super) saved: Saved,
    pub(super) appended: Appended,
    /// The full syncs of which a chunk is durable now.
    pub(super) full_syncs: Vec<String>,
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

    /// Lets another take over. The job under way is to be waited for before.
    pub(super) async fn close(mut self) {
        self.jobs = mpsc::channel(1).0;
        // Whatever it failed with came out of `done` before.
        let _ = (&mut self.task).await;
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
    let (mut open, mut open_full_syncs) = (Appended::default(), Vec::new());
    while let Some(job) = jobs.recv().await {
        let Job { mut batch, saved, newest_commit, pace, changes, full_syncs } = job;
        let begun = Instant::now();
        let durability = append(&mut *producer, &batch, (&saved, changes, pace)).await?;
        open_full_syncs.extend(full_syncs);
        let took = begun.elapsed();
        open += Appended {
            records: batch.len(),
            bytes: batch.bytes(),
            newest_commit,
            took,
            settled_in: took,
        };
        batch.clear();
        let durable = (durability == Durability::Durable).then(|| Durable {
            saved,
            appended: std::mem::take(&mut open),
            full_syncs: std::mem::take(&mut open_full_syncs),
        });
        if report.send(Done { batch, durable }).await.is_err() {
            break;
        }
    }
    producer.close().await;
    Ok(())
}

/// Appends a batch together with the checkpoint that covers it.
pub(super) async fn append(
    producer: &mut dyn Producer,
    batch: &Batch,
    (saved, mut changes, pace): (&Saved, Vec<CheckpointChange>, AppendPace),
) -> Result<Durability> {
    changes.push((POSITION_KEY.to_owned(), Some(saved.to_bytes())));
    match pace {
        AppendPace::MoreComes => Ok(producer.append_more(batch, &changes).await?),
        AppendPace::Settle => {
            producer.append(batch, &changes).await?;
            Ok(Durability::Durable)
        }
    }
}
