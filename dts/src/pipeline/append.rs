//! The publishing end of the corridor: appends one batch while the next is decoded.

use std::time::{Instant, SystemTime};

use event_bus::{Batch, CheckpointChange, Durability, Producer};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    books::{Difference, compare},
    checkpoint::{POSITION_KEY, Saved, SourcePosition},
    error::{Error, Result},
    publish::Tally,
    status::Appended,
};

/// A batch to append, and the checkpoint that covers it.
pub(super) struct Job {
    pub(super) batch: Batch,
    pub(super) saved: Saved,
    /// Commit time of the newest transaction in the batch.
    pub(super) newest_commit: Option<SystemTime>,
    pub(super) pace: AppendPace,
    /// Other changes of the checkpoint.
    pub(super) changes: Vec<CheckpointChange>,
    /// The full syncs whose chunk is complete with this batch.
    pub(super) full_syncs: Vec<String>,
    /// What the publisher counted of the batch.
    pub(super) tally: Tally,
}

/// How quickly the bus must finish a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppendPace {
    /// Make the batch durable now: nothing else comes at the moment.
    Settle,
    /// Leave the append open, so that one commit covers the next batches too.
    MoreComes,
}

/// A finished job: its batch, empty again.
pub(super) struct Done {
    pub(super) batch: Batch,
    /// What became durable, if the job made anything durable.
    pub(super) durable: Option<Durable>,
    /// Where the bus got something else than the batch.
    pub(super) differences: Vec<Difference>,
}

/// A checkpoint that is durable, and what was appended since the checkpoint before.
pub(super) struct Durable {
    pub(super) saved: Saved,
    pub(super) appended: Appended,
    /// The full syncs with a chunk that is durable now.
    pub(super) full_syncs: Vec<String>,
    /// What the publisher counted.
    pub(super) tally: Tally,
}

/// The task that owns the producer. There is at most one job at a time.
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

    /// Gives the appender a job; to be called only while it is idle. [`Self::done`] returns errors.
    pub(super) fn append(&self, job: Job) {
        let _ = self.jobs.try_send(job);
    }

    /// The current job, if it has just finished.
    pub(super) fn try_done(&mut self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    /// Waits for the current job. Cancel-safe.
    pub(super) async fn done(&mut self) -> Result<Done> {
        match self.done.recv().await {
            Some(done) => Ok(done),
            None => Err(self.failure().await),
        }
    }

    /// Gives the lead up, so that another can take over. The current job must be finished before.
    pub(super) async fn close(mut self) {
        self.jobs = mpsc::channel(1).0;
        // `done` returned any error before.
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
    let mut open_tally = Tally::default();
    while let Some(job) = jobs.recv().await {
        let Job { mut batch, saved, newest_commit, pace, changes, full_syncs, tally } = job;
        let begun = Instant::now();
        let durability = append(&mut *producer, &batch, (&saved, changes, pace)).await?;
        open_full_syncs.extend(full_syncs);
        open_tally.merge(&tally);
        let SourcePosition { file, pos, .. } = &saved.position;
        let differences = compare(&tally, &producer.take_booked(), &format!("{file}:{pos}"));
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
            tally: std::mem::take(&mut open_tally),
        });
        if report.send(Done { batch, durable, differences }).await.is_err() {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use event_bus::{Book, Bus as _, MemoryBus};

    use super::*;
    use crate::publish::{CountedTable, TableCounts};

    /// Drops the last record of each batch on its way to the bus.
    struct Lossy(Box<dyn Producer>);

    #[async_trait]
    impl Producer for Lossy {
        async fn append(
            &mut self,
            batch: &Batch,
            checkpoint: &[CheckpointChange],
        ) -> event_bus::Result<()> {
            let mut rest = Batch::default();
            for record in batch.records().take(batch.len() - 1) {
                rest.push_copy(record.topic, record.key, record.value);
            }
            self.0.append(&rest, checkpoint).await
        }

        fn keep_book(&mut self, book: Book) {
            self.0.keep_book(book);
        }

        fn take_booked(&mut self) -> Vec<(String, u64)> {
            self.0.take_booked()
        }
    }

    /// What is found when three records go through the appender.
    async fn found(is_lossy: bool) -> Vec<String> {
        let (mut producer, _) = MemoryBus::new(2).producer("a").await.unwrap();
        producer.keep_book(Book::default());
        if is_lossy {
            producer = Box::new(Lossy(producer));
        }
        let mut appender = Appender::start(producer);
        let (mut batch, mut tally) = (Batch::default(), Tally::default());
        let table = Arc::new(CountedTable { name: "s.a".into(), topic: "t".into() });
        for key in ["1", "2", "3"] {
            batch.push_copy("t", key.as_bytes(), b"{}");
            let counts = TableCounts { read: 1, published: 1, ..TableCounts::default() };
            tally.add(&table, counts);
        }
        let position = SourcePosition { file: "b.000001".into(), pos: 4, gtids: None };
        appender.append(Job {
            batch,
            saved: Saved::new("uuid".to_owned(), position),
            newest_commit: None,
            pace: AppendPace::Settle,
            changes: Vec::new(),
            full_syncs: Vec::new(),
            tally,
        });
        let done = appender.done().await.unwrap();
        done.differences.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn a_record_that_is_lost_between_the_publisher_and_the_bus_is_named() {
        assert_eq!(found(false).await, [""; 0]);
        let told = "1 record is missing between the publisher and the bus: of s.a, from b.000001:4 \
                    on";
        assert_eq!(found(true).await, [told]);
    }
}
