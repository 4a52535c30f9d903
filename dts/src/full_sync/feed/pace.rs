//! How far the listener is, and the limit on the rate of all full syncs.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use event_bus::{Bus, Partition, TopicFilter, TopicName};
use full_sync::Task;
use service::{Backoff, BackoffConfig};
use tokio::time::Instant;

use crate::error::Result;

/// How often the bus is asked whether a listener has finished the chunks: less and less often.
const FOLLOW: BackoffConfig =
    BackoffConfig { min: Duration::from_millis(50), max: Duration::from_secs(2), factor: 1.5 };

/// Follows the progress of one task's listener.
pub(crate) struct ListenerPace {
    bus: Arc<dyn Bus>,
    group: String,
    /// The topics of the table, and of all tables.
    topics: TopicFilter,
    all_topics: TopicFilter,
    has_begun: bool,
    /// The chunks between feed and listener, oldest first.
    chunks: VecDeque<OnItsWay>,
    /// The listener's offsets when they were last read, and since when they are the same.
    committed: HashMap<Partition, u64>,
    moved_at: Instant,
}

/// How far a chunk is.
#[derive(Debug, PartialEq, Eq)]
enum OnItsWay {
    /// The stream has the chunk, and has not published all of it.
    HandedOver,
    /// In the bus, at an unknown place.
    Durable,
    /// In the bus, before these ends of its partitions.
    Before(HashMap<Partition, u64>),
}

impl ListenerPace {
    /// If the task `has_sent` chunks before, these count as being on their way.
    pub(crate) fn of(
        (bus, topics): (&Arc<dyn Bus>, &TopicName),
        task: &Task,
        has_sent: bool,
    ) -> Self {
        let of =
            |schema: &str, table: &str| topics.filter(&[(schema.to_owned(), table.to_owned())]);
        Self {
            bus: Arc::clone(bus),
            group: task.group.clone(),
            topics: of(&task.schema, &task.table),
            all_topics: of("*", "*"),
            has_begun: false,
            chunks: has_sent.then_some(OnItsWay::Durable).into_iter().collect(),
            committed: HashMap::new(),
            moved_at: Instant::now(),
        }
    }

    /// Whether the listener has ever run. Before that it would not get the rows.
    pub(crate) async fn has_begun(&mut self) -> Result<bool> {
        if !self.has_begun {
            let all = self.bus.progress(&self.group, &self.all_topics).await?;
            self.has_begun =
                all.is_empty() || all.iter().any(|partition| partition.committed.is_some());
        }
        Ok(self.has_begun)
    }

    /// Whether all but `undone` chunks are done.
    pub(crate) async fn are_done_but(&mut self, undone: usize) -> Result<bool> {
        if self.chunks.len() > undone {
            self.look().await?;
        }
        Ok(self.chunks.len() <= undone)
    }

    /// A chunk was given to the stream.
    pub(crate) fn handed_over(&mut self) {
        self.chunks.push_back(OnItsWay::HandedOver);
    }

    /// The last chunk that was given to the stream is not sent.
    pub(crate) fn dropped(&mut self) {
        self.chunks.pop_back();
    }

    /// The oldest chunk that was not durable is durable in the bus now.
    pub(crate) fn durable(&mut self) {
        let first = self.chunks.iter_mut().find(|chunk| **chunk == OnItsWay::HandedOver);
        if let Some(chunk) = first {
            *chunk = OnItsWay::Durable;
        }
    }

    /// Asks the bus for its ends and for the listener's offsets: finds where durable chunks end,
    /// and which chunks are done. An error changes nothing.
    pub(crate) async fn look(&mut self) -> Result<()> {
        let progress = self.bus.progress(&self.group, &self.topics).await?;
        for chunk in self.chunks.iter_mut().filter(|chunk| **chunk == OnItsWay::Durable) {
            let ends = progress.iter().map(|at| (at.partition.clone(), at.end));
            *chunk = OnItsWay::Before(ends.collect());
        }
        let committed: HashMap<Partition, u64> =
            progress.into_iter().filter_map(|at| Some((at.partition, at.committed?))).collect();
        // A marker of the bus takes an offset, too, and may be the last one.
        let is_done = |(partition, end): (&Partition, &u64)| {
            *end == 0 || committed.get(partition).is_some_and(|committed| committed + 1 >= *end)
        };
        while let Some(OnItsWay::Before(ends)) = self.chunks.front()
            && ends.iter().all(is_done)
        {
            self.chunks.pop_front();
        }
        if self.committed != committed {
            (self.committed, self.moved_at) = (committed, Instant::now());
        }
        Ok(())
    }

    /// For how long the listener's offsets have been the same.
    pub(crate) fn unmoved_for(&self) -> Duration {
        self.moved_at.elapsed()
    }
}

/// Waits until a task's listener has finished all events of its table that the bus has now. If the
/// bus does not answer, it is asked again.
pub(crate) async fn until_handled(bus: &Arc<dyn Bus>, topics: &TopicName, task: &Task) {
    let mut pace = ListenerPace::of((bus, topics), task, true);
    let mut poll = Backoff::new(FOLLOW);
    while !matches!(pace.are_done_but(0).await, Ok(true)) {
        tokio::time::sleep(poll.next_wait()).await;
    }
}

/// Keeps the rate of all tasks together below a limit.
#[derive(Debug)]
pub(crate) struct Throttle {
    max_rate: u32,
    free_at: Mutex<Instant>,
}

impl Throttle {
    pub(crate) fn new(max_rate: u32) -> Self {
        Self { max_rate, free_at: Mutex::new(Instant::now()) }
    }

    /// Waits until more may be read.
    pub(crate) async fn wait(&self) {
        let free_at = *self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep_until(free_at).await;
    }

    /// This many rows were read.
    pub(crate) fn read(&self, rows: usize) {
        if self.max_rate == 0 {
            return;
        }
        let takes = Duration::from_secs_f64(rows as f64 / f64::from(self.max_rate));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(Instant::now()) + takes;
    }
}
