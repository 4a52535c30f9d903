//! Looks whether the last records of the book came: those after which no mark comes.
//!
//! This happens only while the listener is idle, once after each time that it was not: the book is
//! read from the bus, and a while later, if still nothing came, what is in the book must be here.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use event_bus::{Bus, Partition, Subscription, TopicLines, lines_in};
use tokio::time::timeout;
use tracing::debug;

use super::{
    Listener,
    books::{Difference, Seam},
    ledger::Missing,
    status::{ListenerState, Status},
};

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// So many looks in a row must show that the same records are missing: a bus may be slow.
const MIN_LOOKS: u32 = 3;

/// How long the bus may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

pub(super) struct Audit {
    listener: String,
    bus: Arc<dyn Bus>,
    subscription: Subscription,
    status: Arc<Status>,
    every: Duration,
}

/// The book as it was at one moment, by topic.
type ReadBook = BTreeMap<String, TopicLines>;

/// Records that did not come, by partition and topic.
type Shortage = Vec<(Partition, Arc<str>, Missing)>;

impl Audit {
    pub(super) fn new(listener: &Listener) -> Self {
        Self {
            listener: listener.id.clone(),
            bus: Arc::clone(&listener.bus),
            subscription: listener.subscription.clone(),
            status: listener.status(),
            every: LOOK_EVERY,
        }
    }

    /// The same, looking more often.
    #[cfg(test)]
    pub(super) fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    pub(super) async fn run(self) -> Infallible {
        let mut audited = 0;
        loop {
            tokio::time::sleep(self.every).await;
            let Some(counted) = self.idle() else { continue };
            if counted != audited && self.look(counted).await {
                audited = counted;
            }
        }
    }

    /// How many records were counted, if there is nothing to do at the moment.
    fn idle(&self) -> Option<u64> {
        let report = self.status.report();
        let is_idle = report.state == ListenerState::Running && report.buffered_events == 0;
        is_idle.then(|| self.status.ledger().counted())
    }

    /// Reads the book, and compares again and again for a while; `false` if something came, or the
    /// bus did not answer.
    async fn look(&self, counted: u64) -> bool {
        let book = match timeout(ANSWER_DEADLINE, self.read()).await {
            Ok(Ok(Some(book))) => book,
            Ok(Ok(None)) => return false,
            Ok(Err(error)) => {
                debug!(%error, "the book cannot be read now");
                return false;
            }
            Err(_) => return false,
        };
        let mut short = Shortage::new();
        for _ in 0..MIN_LOOKS {
            tokio::time::sleep(self.every).await;
            if self.idle() != Some(counted) {
                return false;
            }
            let found =
                self.status.ledger().short_of(&self.listener, |topic| book.get(topic).cloned());
            if found.is_empty() {
                return true;
            }
            short = found;
        }
        // The bus must still answer, in all partitions.
        if !matches!(timeout(ANSWER_DEADLINE, self.read()).await, Ok(Ok(Some(_)))) {
            return false;
        }
        short.into_iter().for_each(|missing| self.tell(missing));
        true
    }

    /// The books of all `dts`; `None` while an open transaction holds records back.
    async fn read(&self) -> event_bus::Result<Option<ReadBook>> {
        let Subscription { group, topics, .. } = &self.subscription;
        let progress = self.bus.progress(group, topics).await?;
        if progress.iter().any(|at| at.high > at.end) {
            return Ok(None);
        }
        let mut book = ReadBook::new();
        for name in self.bus.producers().await? {
            book.extend(lines_in(&self.bus.checkpoint(&name).await?)?);
        }
        Ok(Some(book))
    }

    fn tell(&self, (partition, topic, missing): (Partition, Arc<str>, Missing)) {
        self.status.ledger().accept(&partition, &topic, missing);
        let place = format!("after offset {}, at the end of its partition", missing.after);
        let seam = (Seam::Bus, missing.records);
        self.status.differ(Difference::new(seam, &*topic, Some(&partition), place));
    }
}
