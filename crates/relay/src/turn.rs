//! The turns of a relay: it reads, calls until all is done, saves, and reads on.

use std::{collections::HashSet, time::Duration};

use event_log::Record;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    Error,
    callback::{Answer, Callback},
    config::RelayConfig,
    course::Course,
    place::Mark,
    source::{Chunk, Done, Saved, Source},
};

/// A place at which nothing was given is saved at most so often.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// So long a stop waits for the place to be saved.
const MAX_SAVING: Duration = Duration::from_secs(10);

/// A relay. Its name is taken while this exists, where it reads a directory.
pub struct Relay {
    source: Source,
    course: Course,
    /// What was passed without a call, and is not saved.
    passed: Option<Done>,
    last_save: Instant,
}

impl Relay {
    /// Prepares a relay. One that reads a directory takes its name, and reads its place.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`], [`Error::Place`]; [`Error::Log`] for a wrong filter or address, or a
    /// stream that is not there.
    pub fn new(config: RelayConfig) -> Result<Self, Error> {
        let (source, course) = (Source::open(&config)?, Course::new(&config));
        Ok(Self { source, course, passed: None, last_save: Instant::now() })
    }

    /// Calls with every record, until it is told to stop: then it finishes the running call, saves
    /// its place, and ends. It waits for ever for a server that is away, and for a callback that
    /// fails.
    ///
    /// # Errors
    ///
    /// What trying again does not change: [`Error::Gone`], a refusal, a damaged file.
    pub async fn run(
        mut self,
        mut callback: impl Callback,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let ended = self.turns(&mut callback, stop).await;
        callback.end().await;
        if let (Ok(()), Some(passed)) = (&ended, self.passed.take()) {
            self.save(passed, stop).await?;
        }
        ended
    }

    async fn turns(
        &mut self,
        callback: &mut impl Callback,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        loop {
            let chunk = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                chunk = self.source.next() => chunk?,
            };
            if chunk.records.is_empty() {
                self.pass(chunk.through, stop).await?;
            } else {
                self.work(chunk, callback, stop).await?;
            }
        }
    }

    /// Calls until all of a chunk is done, or the stop comes, or the place is lost.
    async fn work(
        &mut self,
        Chunk { mut records, through }: Chunk,
        callback: &mut impl Callback,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        // So many at the front failed before: they come again, and nothing later with them.
        let mut failed = 0;
        while !records.is_empty() && !stop.is_cancelled() {
            let later = records.split_off(self.course.size_of(&records, failed));
            let answer = callback.call(&records, self.course.attempt()).await;
            let judged = self.judge(records, answer, callback.remedy());
            let left = failed.saturating_sub(judged.called);
            failed = judged.again.len() + left;
            records = judged.again;
            records.extend(later);
            let done = if records.is_empty() { Some(through) } else { judged.done };
            if let Some(done) = done
                && self.save(done, stop).await? == Saved::Lost
            {
                return Ok(());
            }
            if let Some(wait) = judged.wait {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
        Ok(())
    }

    /// What a call with these records was good for.
    fn judge(&mut self, records: Vec<Record>, answer: Answer, remedy: &str) -> Judged {
        let called = records.len();
        match answer {
            Answer::Done => {
                self.course.succeeded();
                let done = records.last().map(done);
                Judged { called, again: Vec::new(), done, wait: None }
            }
            Answer::Failed(failure) => {
                let wait = Some(self.course.failed(&records, &failure, remedy));
                // Those that come again alone are not those that failed: the size says how many.
                Judged { called, again: records, done: None, wait }
            }
            Answer::Partly { failed, failure } => {
                let (again, done) = come_again(records, &failed);
                if again.is_empty() {
                    self.course.succeeded();
                    return Judged { called, again, done, wait: None };
                }
                let wait = Some(self.course.failed_in_part(&again, &failure, remedy));
                Judged { called, again, done, wait }
            }
        }
    }

    /// Nothing of a chunk was to be given.
    async fn pass(&mut self, through: Done, stop: &CancellationToken) -> Result<(), Error> {
        if self.last_save.elapsed() < SAVE_INTERVAL {
            self.passed = Some(through);
            return Ok(());
        }
        self.save(through, stop).await.map(drop)
    }

    async fn save(&mut self, done: Done, stop: &CancellationToken) -> Result<Saved, Error> {
        (self.passed, self.last_save) = (None, Instant::now());
        let too_late = async {
            stop.cancelled().await;
            tokio::time::sleep(MAX_SAVING).await;
        };
        tokio::select! {
            saved = self.source.save(done) => saved,
            () = too_late => {
                warn!("the place could not be saved before the end: the last records come again");
                Ok(Saved::Lost)
            }
        }
    }
}

/// What a call was good for.
struct Judged {
    /// With how many records.
    called: usize,
    /// Those that are not done, in order.
    again: Vec<Record>,
    /// How far all is done now, if that is further than before.
    done: Option<Done>,
    /// How long to wait before the next call.
    wait: Option<Duration>,
}

fn done(last: &Record) -> Done {
    Done { next: last.offset + 1, mark: Some(Mark::of(last)) }
}

/// The records that failed, with the later ones of their topics and keys; and how far all is done.
fn come_again(records: Vec<Record>, failed: &[u64]) -> (Vec<Record>, Option<Done>) {
    let mut keys = HashSet::new();
    let mut before = None;
    let mut again = Vec::new();
    for record in records {
        let key = (record.topic().to_owned(), record.key.clone());
        let is_named = failed.contains(&record.offset);
        // Records without a key have no order among each other but that of the batch.
        if is_named && !record.key.is_empty() {
            keys.insert(key.clone());
        }
        if is_named || keys.contains(&key) {
            again.push(record);
        } else if again.is_empty() {
            before = Some(done(&record));
        }
    }
    (again, before)
}
