//! How far the listener is, and how fast all may go.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use event_bus::{Bus, Partition, TopicFilter};
use tokio::time::Instant;

use crate::error::Result;

/// Follows one task's listener.
pub(super) struct Pace {
    bus: Arc<dyn Bus>,
    group: String,
    /// Those of the table, and of all tables.
    topics: TopicFilter,
    all_topics: TopicFilter,
    has_begun: bool,
    /// The chunks that are on their way, oldest first.
    chunks: VecDeque<OnItsWay>,
    /// How far the listener was when it was last looked at, and since when.
    committed: HashMap<Partition, u64>,
    moved_at: Instant,
}

/// How far a chunk is.
#[derive(Debug, PartialEq, Eq)]
enum OnItsWay {
    /// With the stream, which has not published it wholly.
    HandedOver,
    /// In the bus; where, is not known yet.
    Durable,
    /// In the bus, before these ends of its partitions.
    Before(HashMap<Partition, u64>),
}

impl Pace {
    pub(super) fn new(
        bus: Arc<dyn Bus>,
        group: &str,
        (topics, all_topics): (TopicFilter, TopicFilter),
        has_sent: bool,
    ) -> Self {
        let before = has_sent.then_some(OnItsWay::Durable);
        let (group, chunks) = (group.to_owned(), before.into_iter().collect());
        let (committed, moved_at) = (HashMap::new(), Instant::now());
        Self { bus, group, topics, all_topics, has_begun: false, chunks, committed, moved_at }
    }

    /// Whether the listener has ever been there. Before that it would not get what is sent.
    pub(super) async fn has_begun(&mut self) -> Result<bool> {
        if !self.has_begun {
            let all = self.bus.progress(&self.group, &self.all_topics).await?;
            self.has_begun =
                all.is_empty() || all.iter().any(|partition| partition.committed.is_some());
        }
        Ok(self.has_begun)
    }

    /// Whether all chunks are done but so many.
    pub(super) async fn are_done_but(&mut self, undone: usize) -> Result<bool> {
        if self.chunks.len() > undone {
            self.look().await?;
        }
        Ok(self.chunks.len() <= undone)
    }

    /// A chunk was handed over.
    pub(super) fn handed_over(&mut self) {
        self.chunks.push_back(OnItsWay::HandedOver);
    }

    /// The chunk that was handed over last is not sent.
    pub(super) fn dropped(&mut self) {
        self.chunks.pop_back();
    }

    /// The oldest chunk that was not is durable in the bus now.
    pub(super) fn durable(&mut self) {
        let first = self.chunks.iter_mut().find(|chunk| **chunk == OnItsWay::HandedOver);
        if let Some(chunk) = first {
            *chunk = OnItsWay::Durable;
        }
    }

    /// Asks the bus how far it and the listener are: finds where durable chunks end, and which are
    /// done. An error leaves all as it was.
    pub(super) async fn look(&mut self) -> Result<()> {
        let progress = self.bus.progress(&self.group, &self.topics).await?;
        for chunk in self.chunks.iter_mut().filter(|chunk| **chunk == OnItsWay::Durable) {
            let ends = progress.iter().map(|at| (at.partition.clone(), at.end));
            *chunk = OnItsWay::Before(ends.collect());
        }
        let committed: HashMap<Partition, u64> =
            progress.into_iter().filter_map(|at| Some((at.partition, at.committed?))).collect();
        // A marker of the bus counts as an offset, and may be the last one.
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

    /// For how long the listener was not seen to move.
    pub(super) fn stood_still(&self) -> Duration {
        self.moved_at.elapsed()
    }
}

/// Keeps all tasks together below a rate.
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
    pub(super) async fn wait(&self) {
        let free_at = *self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep_until(free_at).await;
    }

    /// So many rows were read.
    pub(super) fn read(&self, rows: usize) {
        if self.max_rate == 0 {
            return;
        }
        let takes = Duration::from_secs_f64(rows as f64 / f64::from(self.max_rate));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(Instant::now()) + takes;
    }
}
